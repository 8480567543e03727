"""Training pictures and their boxes: one video with a box list, and folders of generated frames.

Frames are uint8 RGB arrays (h, w, 3).  A ``Scene`` is a set of frames that share a size and a scale; pixel
scale 1 is a camera of 1280 pixels across, the size the detector runs at (INF-1).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.detector.boxes import iou_matrix
from touchline.errors import InputError

WORK_WIDTH_PX = 1280
Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]
VAGUE_SCORE, SURE_SCORE = 0.45, 0.88
"""Scores of the labelling detector: its upper half lies above the second."""
STILL_SHARE = 0.3
"""A person whose box moves less than this share of its width stands still."""
NO_BOXES: Boxes = np.zeros((0, 4), dtype=np.float32)


@dataclass
class Scene:
    """Frames of one size with the people in them."""

    name: str
    frames: Sequence[Image]
    boxes: list[Boxes]
    """People of each frame, (n, 4) in the frame's own pixels."""
    trust: list[NDArray[np.float32]]
    """How far each label is believed, (n,) 0..1: what a perfect detector should score there."""
    unsure: list[Boxes]
    """Places of each frame that count neither as a person nor as background."""
    plate: Image | None = None
    """The scene without its moving people, when the camera stands still."""
    people: list[Image] = field(default_factory=list)
    """Cut-out people, RGBA."""
    people_scale: float = 1.0
    """Pixels of this scene for one pixel of a cut-out."""

    @property
    def work_scale(self) -> float:
        """Scale that brings this scene to a camera of 1280 pixels across."""
        return WORK_WIDTH_PX / int(self.frames[0].shape[1])


def read_boxes(path: Path) -> dict[int, Boxes]:
    """Read ``frame,x1,y1,x2,y2,score``: frame number to boxes (n, 4), in source pixels."""
    return {frame: rows[:, :4] for frame, rows in _read_columns(path, ("x1", "y1", "x2", "y2")).items()}


def read_scored(path: Path) -> dict[int, tuple[Boxes, NDArray[np.float32]]]:
    """Read ``frame,x1,y1,x2,y2,score``: frame number to boxes (n, 4) and scores (n,)."""
    table = _read_columns(path, ("x1", "y1", "x2", "y2", "score"))
    return {frame: (rows[:, :4], rows[:, 4]) for frame, rows in table.items()}


def _read_columns(path: Path, names: tuple[str, ...]) -> dict[int, NDArray[np.float32]]:
    rows: dict[int, list[list[float]]] = {}
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                box = [float(row[name]) for name in names]
                rows.setdefault(int(row["frame"]), []).append(box)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", hint="give a readable box list") from error
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not a box list ({error})", hint="its first line must be frame,x1,y1,x2,y2,score"
        ) from error
    return {frame: np.array(boxes, dtype=np.float32) for frame, boxes in rows.items()}


def frame_span(text: str) -> tuple[int, int]:
    """Read ``A:B``, both ends included as everywhere in Touchline; first frame and the one after the last."""
    try:
        first, last = (int(part) for part in text.split(":"))
    except ValueError as error:
        raise InputError(f"--frames {text}: not A:B", hint="for example --frames 200:249") from error
    if not 0 <= first <= last:
        raise InputError(f"--frames {text}: no frames", hint="A is the first frame, B the last")
    return first, last + 1


def read_video(path: Path, first: int, end: int) -> Iterator[Image]:
    """Decode frames ``first`` (included) to ``end`` (excluded) of a video, RGB, one after the other."""
    video = cv2.VideoCapture(str(path))
    try:
        for number in range(end):
            if number < first:
                good, picture = video.grab(), None
            else:
                good, picture = video.read()
            if not good:
                raise InputError(
                    f"{path}: frame {number} cannot be read", hint=f"the video must have at least {end} frames"
                )
            if picture is not None:
                yield _rgb(picture)
    finally:
        video.release()


def _rgb(picture: Any) -> Image:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def real_scene(video: Path, boxes: Path, first: int, end: int) -> Scene:
    """The labelled video's frames ``first..end``, with its clean plate and its cut-out people."""
    labels = read_scored(boxes)
    frames = list(read_video(video, first, end))
    nobody = (NO_BOXES, np.zeros(0, np.float32))
    people = [labels.get(number, nobody)[0] for number in range(first, end)]
    trust = [label_trust(labels.get(number, nobody)[1]) for number in range(first, end)]
    scene = Scene(video.name, frames, people, trust, find_gaps(people))
    scene.plate = clean_plate(frames)
    scene.people = cut_people(frames[::4], people[::4], scene.plate)
    return scene


def label_trust(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Target scores (n,) for labels that another detector made with ``scores`` (n,): sure ones 1, vague ones less.

    Squared, so that people whom the labels hold only now and then rank clearly behind those they always hold.
    """
    share: NDArray[np.float32] = np.clip((scores - VAGUE_SCORE) / (SURE_SCORE - VAGUE_SCORE), 0.5, 1.0)
    return np.square(share, dtype=np.float32)


def generated_scene(folder: Path) -> Scene:
    """A folder of numbered PNG or JPEG frames with ``boxes.csv`` beside them."""
    labels = read_boxes(folder / "boxes.csv")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg"})
    frames, boxes = [], []
    for path in files:
        number = re.search(r"(\d+)$", path.stem)
        picture = cv2.imread(str(path))
        if number is None or picture is None:
            raise InputError(f"{path}: not a numbered picture", hint="name frames like 000012.png")
        frames.append(_rgb(picture))
        boxes.append(labels.get(int(number.group(1)), NO_BOXES))
    if not frames or len({frame.shape for frame in frames}) != 1:
        raise InputError(f"{folder}: no frames, or of different sizes", hint="one folder per camera size")
    trust = [np.ones(len(found), np.float32) for found in boxes]
    return Scene(folder.name, frames, boxes, trust, [NO_BOXES for _ in frames])


def clean_plate(frames: Sequence[Image], samples: int = 31) -> Image:
    """The still background: the median over frames spread through the video."""
    picks = [frames[i] for i in np.linspace(0, len(frames) - 1, min(samples, len(frames))).astype(int)]
    plate = np.empty_like(frames[0])
    for top in range(0, plate.shape[0], 64):
        plate[top : top + 64] = np.median(np.stack([pick[top : top + 64] for pick in picks]), axis=0)
    return plate


def cut_people(frames: Sequence[Image], boxes: Sequence[Boxes], plate: Image) -> list[Image]:
    """Cut people out along their difference from the clean plate: RGBA pictures, box tight to the person.

    People who overlap another box are left out, and so are boxes whose difference is too small to cut along.
    """
    cuts = []
    for frame, frame_boxes in zip(frames, boxes, strict=True):
        lonely = iou_matrix(frame_boxes, frame_boxes).sum(axis=1) < 1.01
        for x1, y1, x2, y2 in frame_boxes[lonely].round().astype(int):
            patch, under = frame[max(y1, 0) : y2, max(x1, 0) : x2], plate[max(y1, 0) : y2, max(x1, 0) : x2]
            change = np.abs(patch.astype(np.int16) - under).max(axis=2).astype(np.float32)
            alpha = np.clip((cv2.GaussianBlur(change, (0, 0), 1.2) - 14) / 14, 0, 1)
            if patch.shape[0] >= 24 and patch.shape[1] >= 8 and 0.2 < alpha.mean() < 0.9:
                cuts.append(np.dstack([patch, (alpha * 255).astype(np.uint8)]))
    return cuts


def find_gaps(boxes: Sequence[Boxes], reach: int = 12, same_iou: float = 0.3) -> list[Boxes]:
    """People whom the labels lose for a few frames: where they must be, to count as unsure.

    A person of frame ``t`` found again within ``reach`` frames, and missing between, is placed on the
    straight line between the two boxes.  Only people unmatched in the next frame are looked for.  Whoever stood
    still meanwhile is left out: labels cleaned against the background drop such people by rule, not by chance.
    """
    gaps: list[list[NDArray[np.float32]]] = [[] for _ in boxes]
    for start, frame_boxes in enumerate(boxes[:-1]):
        for box in frame_boxes[~_found(frame_boxes, boxes[start + 1], same_iou)]:
            for later in range(start + 2, min(start + 1 + reach, len(boxes))):
                overlap = iou_matrix(box[None], boxes[later])[0]
                if overlap.size and overlap.max() > same_iou:
                    end_box = boxes[later][overlap.argmax()]
                    if np.abs(end_box - box).max() < STILL_SHARE * (box[2] - box[0]):
                        break
                    for between in range(start + 1, later):
                        share = np.float32((between - start) / (later - start))
                        gaps[between].append(box + share * (end_box - box))
                    break
    return [np.array(found, dtype=np.float32).reshape(-1, 4) for found in gaps]


def _found(boxes: Boxes, others: Boxes, same_iou: float) -> NDArray[np.bool_]:
    if not len(others):
        return np.zeros(len(boxes), dtype=bool)
    found: NDArray[np.bool_] = iou_matrix(boxes, others).max(axis=1) > same_iou
    return found
