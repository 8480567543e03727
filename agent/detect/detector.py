"""One image in, people out: letterbox, engine, decoder, suppression, and what each of them cost."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.detect.engine import Engine, EngineInfo
from agent.detect.letterbox import Letterbox
from agent.detect.thresholds import CANDIDATE_SCORE, IOU_THRESHOLD, SCORE_THRESHOLD
from agent.detect.types import Detections
from calibration.detector.boxes import decode_yolov8, suppress
from touchline.errors import ConfigError
from touchline.timeline import monotonic_ns


@dataclass(frozen=True, slots=True)
class StageTimes:
    """What the last image cost, ms."""

    letterbox_ms: float = 0.0
    infer_ms: float = 0.0
    decode_ms: float = 0.0

    def plus(self, other: StageTimes) -> StageTimes:
        """Return the sum, stage by stage."""
        return StageTimes(
            self.letterbox_ms + other.letterbox_ms,
            self.infer_ms + other.infer_ms,
            self.decode_ms + other.decode_ms,
        )


class FrameDetector(Protocol):
    """Whatever finds people in a whole frame: :class:`Detector`, or the tiled one around it."""

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Return the people in an image (h, w, 3), RGB, uint8."""
        ...

    @property
    def timings(self) -> StageTimes:
        """Return what the last image cost."""
        ...

    @property
    def non_finite(self) -> int:
        """Return how many candidates were not finite since the start."""
        ...

    @property
    def info(self) -> EngineInfo:
        """Return the engine's description."""
        ...


class Detector:
    """Finds people in whole images of any size; the letterbox is planned when the size changes.

    Args:
        engine: a loaded engine.
        score_threshold: weakest candidate kept, 0..1.
        iou_threshold: overlap above which the weaker of two boxes of one class goes, 0..1.
        classes: class numbers kept; None = all.

    ``timings`` are of the last image; ``non_finite`` counts candidates with NaN or infinity since the start.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        score_threshold: float = SCORE_THRESHOLD,
        iou_threshold: float = IOU_THRESHOLD,
        classes: Collection[int] | None = None,
    ) -> None:
        self._engine = engine
        self.score_threshold = _fraction("score threshold", score_threshold)
        self.iou_threshold = _fraction("overlap threshold", iou_threshold)
        self._classes = _known_classes(classes, engine.info())
        self._box: Letterbox | None = None
        self.timings = StageTimes()
        self.non_finite = 0

    @property
    def info(self) -> EngineInfo:
        """Return the engine's description."""
        return self._engine.info()

    def letterbox(self, source_size_px: tuple[int, int]) -> Letterbox:
        """Return the letterbox for this size, planned only when the size differs from the last one."""
        if self._box is None or self._box.source_size_px != source_size_px:
            self._box = Letterbox(source_size_px, self.info.input_size_px)
        return self._box

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Return the people in an image (h, w, 3), RGB, uint8, in its own pixels."""
        self.place(image)
        return self.find()

    def place(self, image: NDArray[np.uint8]) -> None:
        """Do the first half of :meth:`detect`: afterwards the image's memory (a ring slot) is no longer needed."""
        start_ns = monotonic_ns()
        self.letterbox((image.shape[1], image.shape[0])).apply(image)
        self.timings = StageTimes(letterbox_ms=(monotonic_ns() - start_ns) / 1e6)

    def find(self) -> Detections:
        """Do the second half of :meth:`detect` on what :meth:`place` placed."""
        if self._box is None:
            raise RuntimeError("nothing was placed")
        start_ns = monotonic_ns()
        output = self._engine.infer(self._box.tensor)
        inferred_ns = monotonic_ns()
        found = self.decode(output, self._box)
        self.timings = StageTimes(
            self.timings.letterbox_ms, (inferred_ns - start_ns) / 1e6, (monotonic_ns() - inferred_ns) / 1e6
        )
        return found

    def decode(self, output: NDArray[np.float32], box: Letterbox) -> Detections:
        """Turn the engine's output into people in source pixels; candidates outside the picture vanish."""
        found = decode_yolov8(output, min(self.score_threshold, CANDIDATE_SCORE))
        self.non_finite += found.non_finite
        boxes, scores, classes = found.boxes, found.scores, found.classes
        if self._classes is not None:
            wanted = np.isin(classes, self._classes)
            boxes, scores, classes = boxes[wanted], scores[wanted], classes[wanted]
        kept, voted = suppress(boxes, scores, classes, self.iou_threshold)
        strong = scores[kept] >= self.score_threshold
        kept = kept[strong]
        people = Detections(box.to_source(voted[strong]), scores[kept], classes[kept])
        sides = people.boxes[:, 2:] - people.boxes[:, :2]
        return people.select(np.flatnonzero(sides.min(axis=1) > 0))


def _fraction(what: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"the {what} is {value:g}; it must lie in 0..1")
    return value


def _known_classes(classes: Collection[int] | None, info: EngineInfo) -> NDArray[np.int64] | None:
    if classes is None:
        return None
    highest = len(info.classes) - 1
    for number in classes:
        if not 0 <= number <= highest:
            raise ConfigError(f"the model has no class {number}", hint=f"its classes are 0..{highest}")
    return np.array(sorted(classes), np.int64)
