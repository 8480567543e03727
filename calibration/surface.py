"""The grass is not flat: a drained pitch is a shallow dome, and from a low mast that matters more than the lens.

Modelled as one number, the crown: the height of the centre spot above the corners, falling as a product of two
parabolas to zero along the touchlines and goal lines (and flat outside). A crown of 0.2 m seen from a 7.7 m mast moves
the centre of the pitch by 1.3 m; see docs/calibration.md for the evidence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

TOLERANCE_M = 1e-4
ROUNDS_UNCHECKED = 4
"""Rounds always needed from a mast; checking for the end earlier costs more than it saves."""

ROUNDS_MAX = 30


def dome(xy_m: FloatArray, pitch_m: tuple[float, float]) -> FloatArray:
    """Relative height (n,) of the dome at grass points (n, 2): 1 at the centre, 0 at and beyond the edges."""
    half = np.array(pitch_m) / 2
    fall: FloatArray = np.maximum(1.0 - ((xy_m - half) / half) ** 2, 0.0)
    height: FloatArray = fall[:, 0] * fall[:, 1]
    return height


def dome_slope(xy_m: FloatArray, pitch_m: tuple[float, float]) -> FloatArray:
    """Gradient (n, 2) of ``dome``, per metre."""
    half = np.array(pitch_m) / 2
    offset = (xy_m - half) / half
    fall = np.maximum(1.0 - offset**2, 0.0)
    inside = (fall > 0).all(axis=1, keepdims=True)
    slope: FloatArray = np.where(inside, -2.0 * offset / half * fall[:, ::-1], 0.0)
    return slope


def meet_dome(flat_xy_m: FloatArray, eye_m: FloatArray, crown_m: float, pitch_m: tuple[float, float]) -> FloatArray:
    """Where rays that meet the flat plane at ``flat_xy_m`` (n, 2) meet the dome instead, (n, 2) metres.

    A ray from the eye (x, y, height) is at height ``h`` at ``eye + (flat - eye) * (1 - h / eye_height)``; the height
    there is found by repeated substitution, which shrinks the error by slope times range over mast height each round.
    """
    half = np.array(pitch_m) / 2
    start = (eye_m[:2] - half) / half
    reach = (flat_xy_m - eye_m[:2]) / half
    ratio = crown_m / eye_m[2]
    along = np.ones((len(flat_xy_m), 1))
    tolerance = TOLERANCE_M / float(np.hypot(*pitch_m))
    for turn in range(ROUNDS_MAX):
        fall = np.maximum(1.0 - (start + reach * along) ** 2, 0.0)
        before, along = along, 1.0 - ratio * (fall[:, :1] * fall[:, 1:])
        if turn >= ROUNDS_UNCHECKED and not (np.abs(along - before) > tolerance).any():
            break
    met: FloatArray = eye_m[:2] + (flat_xy_m - eye_m[:2]) * along
    return met
