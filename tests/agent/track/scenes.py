"""Small scenes for the tracker's tests: people on a plain ground, seen by a plain camera."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from agent.track import Located

F64 = npt.NDArray[np.float64]
PX_PER_M = 20.0


def located(
    xy_m: npt.ArrayLike,
    *,
    scores: npt.ArrayLike = 0.9,
    sigma_m: float = 0.05,
    cov_m2: F64 | None = None,
    height_m: npt.ArrayLike = 1.8,
    width_m: float = 0.7,
    classes: npt.ArrayLike = 0,
) -> Located:
    """People at ``xy_m`` (n, 2) seen from the side by a camera of 20 px/m; y is depth, which lifts the box."""
    xy = np.asarray(xy_m, dtype=np.float64).reshape(-1, 2)
    count = len(xy)
    feet_x, feet_y = PX_PER_M * xy[:, 0], PX_PER_M * xy[:, 1]
    tall = PX_PER_M * 1.8
    half = 0.5 * PX_PER_M * width_m
    boxes = np.column_stack((feet_x - half, feet_y - tall, feet_x + half, feet_y))
    cov = np.tile(np.eye(2) * sigma_m**2, (count, 1, 1)) if cov_m2 is None else cov_m2
    return Located(
        boxes.astype(np.float32),
        np.broadcast_to(np.asarray(scores, dtype=np.float32), (count,)).copy(),
        np.broadcast_to(np.asarray(classes, dtype=np.int64), (count,)).copy(),
        xy,
        cov,
        np.broadcast_to(np.asarray(height_m, dtype=np.float64), (count,)).copy(),
    )


def nobody() -> Located:
    """An empty frame."""
    return located(np.empty((0, 2)))


def straight(start_m: Sequence[float], speed_mps: Sequence[float], times_s: npt.ArrayLike) -> F64:
    """Positions (k, 2) of steady walking."""
    times = np.asarray(times_s, dtype=np.float64)
    return np.asarray(start_m, dtype=np.float64) + times[:, None] * np.asarray(speed_mps, dtype=np.float64)
