"""What a detector returns: boxes, scores and classes as three arrays of one length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from touchline.errors import InputError


@dataclass(frozen=True, slots=True)
class Detections:
    """The people found in one frame, best score first.

    ``boxes``: float32 (n, 4), x1, y1, x2, y2 in pixels of the image given. ``scores``: float32 (n,), 0..1.
    ``classes``: int64 (n,), the model's class numbers.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]

    @staticmethod
    def empty() -> Detections:
        """Nobody."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def feet_px(self) -> NDArray[np.float32]:
        """Bottom centres (n, 2): where the people stand (POS-2)."""
        boxes = self.boxes
        return np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1)

    @property
    def heads_px(self) -> NDArray[np.float32]:
        """Top centres (n, 2)."""
        boxes = self.boxes
        return np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 1]], axis=1)

    def select(self, index: NDArray[Any]) -> Detections:
        """Return the rows of an index array or a boolean mask."""
        return Detections(self.boxes[index], self.scores[index], self.classes[index])

    def scaled(self, factor_x: float, factor_y: float) -> Detections:
        """Return the same people in an image scaled by these factors."""
        factors = np.array([factor_x, factor_y, factor_x, factor_y], np.float32)
        return Detections(self.boxes * factors, self.scores, self.classes)

    def shifted(self, dx_px: float, dy_px: float) -> Detections:
        """Return the same people in an image whose origin lies (dx, dy) pixels further up and left."""
        shift = np.array([dx_px, dy_px, dx_px, dy_px], np.float32)
        return Detections(self.boxes + shift, self.scores, self.classes)

    def validate(self) -> Detections:
        """Return self, or raise InputError when shapes, order of corners or finiteness are wrong."""
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.scores.shape != (count,) or self.classes.shape != (count,):
            shapes = f"{self.boxes.shape}, {self.scores.shape}, {self.classes.shape}"
            raise InputError(f"detections of shapes {shapes} do not belong together")
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise InputError("detections hold a value that is not finite")
        if (self.boxes[:, 2:] < self.boxes[:, :2]).any():
            raise InputError("a detection's box ends before it begins")
        return self


def joined(parts: list[Detections]) -> Detections:
    """Return all detections of ``parts`` as one, in their order."""
    if not parts:
        return Detections.empty()
    return Detections(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.classes for part in parts]),
    )
