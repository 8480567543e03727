"""The lens: OpenCV's polynomial distortion, its inverse, and the radius up to which it is one-to-one.

Coefficients are in OpenCV's order ``k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4]]]``: 0, 4, 5, 8 or 12 numbers.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from touchline.errors import ConfigError

FloatArray = NDArray[np.float64]

DISTORTION_LENGTHS = (0, 4, 5, 8, 12)

SQUEEZE_MIN = 0.25
"""Least local magnification of a usable lens; the inverse gains a digit every three rounds there."""

RADIUS_MAX = 5.0
"""Ideal radii looked at: 5 is 79 degrees off the axis."""

_UNDISTORT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-6)
"""At most 60 fixed-point rounds, stop below a millionth of a pixel: 5 us for 25 points."""


def undistort(points: FloatArray, matrix: FloatArray, distortion: FloatArray) -> FloatArray:
    """Pixels (n, 2) to ideal image-plane coordinates (n, 2)."""
    if not distortion.size:
        flat: FloatArray = (points - matrix[:2, 2]) / (matrix[0, 0], matrix[1, 1])
        return flat
    solve = getattr(cv2, "undistortPointsIter", None)
    shaped = points.reshape(-1, 1, 2)
    if solve is not None:  # OpenCV 4
        ideal = solve(shaped, matrix, distortion, None, None, _UNDISTORT)
    else:
        ideal = cv2.undistortPoints(shaped, matrix, distortion, None, None, None, _UNDISTORT)
    return np.asarray(ideal, dtype=np.float64).reshape(-1, 2)


def radial(distortion: FloatArray, r2: FloatArray) -> FloatArray:
    """Ratio of distorted to ideal radius at ideal squared radii (any shape)."""
    k = np.zeros(8)
    k[: min(distortion.size, 8)] = distortion[:8]
    top = 1 + r2 * (k[0] + r2 * (k[1] + r2 * k[4]))
    bottom = 1 + r2 * (k[5] + r2 * (k[6] + r2 * k[7]))
    ratio: FloatArray = top / bottom
    return ratio


def distorted_r2(distortion: FloatArray, r2: float) -> float:
    """Squared distorted radius of the ideal squared radius ``r2`` (tangential terms left out)."""
    return float(r2 * radial(distortion, np.array([r2]))[0] ** 2)


def fold_radius(distortion: FloatArray) -> float:
    """Ideal radius up to which the lens can be inverted, or inf.

    Beyond it the polynomial squeezes the image to under ``SQUEEZE_MIN`` and soon turns back, so that several points
    share a pixel and the inverse no longer converges.
    """
    if not distortion.size:
        return float("inf")
    radius = np.linspace(0.0, RADIUS_MAX, 5001)
    slope = np.diff(radius * radial(distortion, radius**2)) / np.diff(radius)
    squeezed = np.flatnonzero(slope < SQUEEZE_MIN)
    return float(radius[squeezed[0]]) if squeezed.size else float("inf")


def check_intrinsics(matrix: FloatArray, distortion: FloatArray, size: tuple[int, int]) -> None:
    """Raises ConfigError when the numbers are no camera."""
    if min(size) < 1:
        raise ConfigError(f"image_size_px {size} is no image", hint="give width and height in pixels")
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise ConfigError("the focal length must be positive", hint="check intrinsics.fx_px and fy_px")
    if matrix[0, 1] or matrix[1, 0] or tuple(matrix[2]) != (0.0, 0.0, 1.0):
        raise ConfigError("the camera matrix must be [[fx,0,cx],[0,fy,cy],[0,0,1]]", hint="remove the skew")
    if distortion.size not in DISTORTION_LENGTHS:
        raise ConfigError(
            f"{distortion.size} lens coefficients", hint=f"OpenCV order, one of {DISTORTION_LENGTHS} numbers"
        )
