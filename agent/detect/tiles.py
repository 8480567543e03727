"""A large frame at its own resolution: overlapping tiles of the network's size, their findings merged.

A person cut by a tile's border is seen whole by the neighbour as long as the overlap is larger than the person.
Boxes that touch an inner border are therefore only fragments: a whole box absorbs them, and two fragments of a person
larger than the overlap are joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.detect.detector import Detector, StageTimes
from agent.detect.engine import EngineInfo
from agent.detect.types import Detections, joined
from calibration.detector.boxes import FloatArray, nms

OVERLAP_PX: Final = 192  # a person near the camera is 180 px tall in the 3072x1728 recordings
BORDER_PX: Final = 3.0  # a box that ends this near to an inner border counts as cut
FRAGMENT_SHARE: Final = 0.6  # share of a fragment that must lie within the box that absorbs it


@dataclass(frozen=True, slots=True)
class Tile:
    """A region of the frame, pixels."""

    x: int
    y: int
    width: int
    height: int


def cover(frame_size_px: tuple[int, int], tile_size_px: tuple[int, int], overlap_px: int = OVERLAP_PX) -> list[Tile]:
    """Return the fewest evenly spaced tiles that cover the frame, neighbours sharing ``overlap_px`` or more.

    A frame smaller than a tile in one direction gets one tile of its own size there.
    """
    columns = _spread(frame_size_px[0], tile_size_px[0], overlap_px)
    rows = _spread(frame_size_px[1], tile_size_px[1], overlap_px)
    width, height = min(frame_size_px[0], tile_size_px[0]), min(frame_size_px[1], tile_size_px[1])
    return [Tile(x, y, width, height) for y in rows for x in columns]


def _spread(length: int, tile: int, overlap: int) -> list[int]:
    if length <= tile:
        return [0]
    shared = min(overlap, tile - 1)
    count = -(-(length - shared) // (tile - shared))
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def cut_boxes(
    boxes: FloatArray, tile: Tile, frame_size_px: tuple[int, int], border_px: float = BORDER_PX
) -> NDArray[np.bool_]:
    """Which boxes (n, 4), in frame pixels, end at a border of the tile that is not a border of the frame."""
    width, height = frame_size_px
    low_x = (tile.x > 0) & (boxes[:, 0] <= tile.x + border_px)
    low_y = (tile.y > 0) & (boxes[:, 1] <= tile.y + border_px)
    high_x = (tile.x + tile.width < width) & (boxes[:, 2] >= tile.x + tile.width - border_px)
    high_y = (tile.y + tile.height < height) & (boxes[:, 3] >= tile.y + tile.height - border_px)
    return np.asarray(low_x | low_y | high_x | high_y, dtype=np.bool_)


def merge(found: Detections, tile_of: NDArray[np.int64], cut: NDArray[np.bool_], iou_threshold: float) -> Detections:
    """Merge the findings of all tiles, given in frame pixels with their tile's number and whether it cut them.

    Whole boxes first, best score first; each absorbs the fragments of other tiles that lie mostly within it, a
    fragment growing to the union. What is left goes through ordinary class-aware suppression.
    """
    order = np.lexsort((-found.scores, cut))
    boxes, scores = found.boxes[order].copy(), found.scores[order]
    classes, tiles, is_cut = found.classes[order], tile_of[order], cut[order]
    alive = np.ones(len(order), np.bool_)
    for rank in range(len(order)):
        if not alive[rank]:
            continue
        rivals = alive & is_cut & (tiles != tiles[rank]) & (classes == classes[rank])
        rivals[: rank + 1] = False
        candidates = np.flatnonzero(rivals)
        taken = candidates[_share_within(boxes[candidates], boxes[rank]) >= FRAGMENT_SHARE]
        if taken.size == 0:
            continue
        if is_cut[rank]:
            boxes[rank, :2] = np.minimum(boxes[rank, :2], boxes[taken, :2].min(axis=0))
            boxes[rank, 2:] = np.maximum(boxes[rank, 2:], boxes[taken, 2:].max(axis=0))
        alive[taken] = False
    left = Detections(boxes[alive], scores[alive], classes[alive])
    return left.select(nms(left.boxes, left.scores, left.classes, iou_threshold))


def _share_within(fragments: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Common area as a share of the smaller of the two, for each fragment (n, 4): 0..1."""
    low, high = np.maximum(fragments[:, :2], box[:2]), np.minimum(fragments[:, 2:], box[2:])
    common = np.clip(high - low, 0.0, None).prod(axis=1)
    own = np.clip(fragments[:, 2:] - fragments[:, :2], 0.0, None).prod(axis=1)
    smaller = np.minimum(own, np.clip(box[2:] - box[:2], 0.0, None).prod())
    share: NDArray[np.float32] = np.divide(common, smaller, out=np.zeros_like(common), where=smaller > 0)
    return share


class TiledDetector:
    """A detector run over the tiles of each frame; same calls as :class:`agent.detect.detector.Detector`."""

    def __init__(self, detector: Detector, overlap_px: int = OVERLAP_PX) -> None:
        self._detector = detector
        self._overlap_px = overlap_px
        self._tiles: list[Tile] = []
        self._frame_size_px = (0, 0)
        self.timings = StageTimes()

    @property
    def info(self) -> EngineInfo:
        """Return the engine's description."""
        return self._detector.info

    @property
    def non_finite(self) -> int:
        """Candidates with NaN or infinity since the start."""
        return self._detector.non_finite

    def tiles(self, frame_size_px: tuple[int, int]) -> list[Tile]:
        """Return the tiles of a frame of this size, planned once."""
        if frame_size_px != self._frame_size_px:
            self._tiles = cover(frame_size_px, self.info.input_size_px, self._overlap_px)
            self._frame_size_px = frame_size_px
        return self._tiles

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Return the people in an image (h, w, 3), RGB, uint8, in its own pixels; timings are sums over tiles."""
        size = (image.shape[1], image.shape[0])
        parts: list[Detections] = []
        cuts: list[NDArray[np.bool_]] = []
        times = StageTimes()
        for tile in self.tiles(size):
            view = image[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width]
            found = self._detector.detect(view).shifted(tile.x, tile.y)
            times = times.plus(self._detector.timings)
            parts.append(found)
            cuts.append(cut_boxes(found.boxes, tile, size))
        self.timings = times
        tile_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int64)
        return merge(joined(parts), tile_of, np.concatenate(cuts), self._detector.iou_threshold)
