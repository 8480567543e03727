"""From boxes to metres: feet are the bottom centre of the box, with the covariance that pixels have there (POS-2)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from agent.track.filter import F64
from agent.track.observe import Located


class GroundProjector(Protocol):
    """A calibrated camera over the pitch; ``calibration.CameraCalibration`` is one."""

    def ground(self, px: npt.ArrayLike, sigma_px: float | npt.ArrayLike) -> tuple[F64, F64]:
        """Ground positions (n, 2), metres, and their covariances (n, 2, 2), m2, of pixels (n, 2).

        ``sigma_px`` is the 1-sigma error of a pixel coordinate, one number or (n,). Rows are ``nan`` off the grass.
        """

    def heights_m(self, feet_px: npt.ArrayLike, heads_px: npt.ArrayLike) -> F64:
        """Heights above the grass (n,), metres, of upright people from foot and head pixels (n, 2); ``nan`` unknown."""


class FoundPeople(Protocol):
    """What a detector returns; ``agent.detect.Detections`` is one."""

    @property
    def boxes(self) -> npt.NDArray[np.float32]:
        """(n, 4) x1, y1, x2, y2 source pixels."""

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """(n,) 0..1."""

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """(n,) class numbers."""


def locate(
    detections: FoundPeople, ground: GroundProjector, *, sigma_px: float = 1.0, sigma_share: float = 0.02
) -> Located:
    """Detections with their places on the pitch.

    Args:
        detections: of one frame; values may be anything, the tracker drops and counts what is unusable.
        ground: the camera's calibration, at the size of the detections' picture.
        sigma_px: error of a box's lower edge that does not depend on its size.
        sigma_share: error of the lower edge as a share of the box's height; the two add as variances.
    """
    with np.errstate(all="ignore"):
        boxes = detections.boxes.astype(np.float64)
        middle = 0.5 * (boxes[:, 0] + boxes[:, 2])
        feet = np.column_stack((middle, boxes[:, 3]))
        heads = np.column_stack((middle, boxes[:, 1]))
        sigma = np.hypot(sigma_px, sigma_share * (boxes[:, 3] - boxes[:, 1]))
        xy_m, cov_m2 = ground.ground(feet, sigma)
        height_m = ground.heights_m(feet, heads)
    return Located(detections.boxes, detections.scores, detections.classes, xy_m, cov_m2, height_m)
