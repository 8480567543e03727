"""Can these landmarks determine a camera at all? Asked before solving, answered with the reason (POS-1)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.landmarks import LandmarkSet
from touchline.errors import InputError

FloatArray = NDArray[np.float64]

LANDMARKS_MIN = 12
"""POS-1: 20 parameters, 12 points give 24 equations."""

LINE_WIDTH_M = 1.0
"""Landmarks within this of one straight line count as on it; hand-made labels are up to a metre off."""

OFF_LINE_MIN = 3
"""Landmarks that must stand off the fullest line: two lines of points with fewer leave the homography loose."""

AREA_MIN_SHARE = 0.04
"""Share of the pitch that the landmarks' hull must cover; a penalty area is 9 %, a goal area 1.4 %."""

IMAGE_MIN_SHARE = 0.01
"""Share of the image that the clicks' hull must cover."""


def check_layout(landmarks: LandmarkSet, pitch_m: tuple[float, float]) -> None:
    """Refuse a degenerate layout.

    Raises:
        InputError: too few landmarks, (almost) all on one line, or all in one small part of pitch or image.
    """
    places = np.array([click.pitch_m for click in landmarks.clicks], dtype=np.float64).reshape(-1, 2)
    clicks = np.array([click.px for click in landmarks.clicks], dtype=np.float64).reshape(-1, 2)
    distinct = np.unique(places, axis=0)
    require_count(len(distinct), landmarks.source, "different landmarks")
    _check_line(distinct, landmarks.source)
    share = _hull_area(distinct) / (pitch_m[0] * pitch_m[1])
    if share < AREA_MIN_SHARE:
        raise InputError(
            f"{landmarks.source}: the landmarks are clustered: they span {share:.1%} of the pitch",
            hint=f"click landmarks that span at least {AREA_MIN_SHARE:.0%} of it, far and near",
        )
    width, height = landmarks.image_size_px
    share = _hull_area(clicks) / (width * height)
    if share < IMAGE_MIN_SHARE:
        raise InputError(
            f"{landmarks.source}: the clicks are clustered: they span {share:.2%} of the image",
            hint=f"click landmarks that span at least {IMAGE_MIN_SHARE:.0%} of the image",
        )


def require_count(found: int, source: str, what: str) -> None:
    """Raises InputError below ``LANDMARKS_MIN``."""
    if found < LANDMARKS_MIN:
        raise InputError(
            f"{source}: {found} {what}, {LANDMARKS_MIN} needed (POS-1)",
            hint=f"click at least {LANDMARKS_MIN - found} more, spread over the pitch",
        )


def fullest_line(places: FloatArray, width_m: float = LINE_WIDTH_M) -> NDArray[np.bool_]:
    """Mask (n,) of the largest subset of points (n, 2) within ``width_m`` of one straight line."""
    best = np.zeros(len(places), dtype=np.bool_)
    for index in range(len(places)):
        offset = places - places[index]
        length = np.hypot(offset[:, 0], offset[:, 1])
        for other in np.flatnonzero(length > 0):
            direction = offset[other] / length[other]
            near = np.abs(offset @ np.array([-direction[1], direction[0]])) <= width_m
            if near.sum() > best.sum():
                best = near
    return best


def _check_line(places: FloatArray, source: str) -> None:
    sample = places if len(places) <= 200 else places[:: len(places) // 200 + 1]
    off = int((~fullest_line(sample)).sum())
    if off < OFF_LINE_MIN:
        which = "all landmarks" if off == 0 else f"all landmarks but {off}"
        raise InputError(
            f"{source}: the landmarks are collinear: {which} lie on one straight line",
            hint=f"click at least {OFF_LINE_MIN} off that line, such as penalty area corners or the centre circle",
        )


def _hull_area(points: FloatArray) -> float:
    return float(cv2.contourArea(cv2.convexHull(points.astype(np.float32))))
