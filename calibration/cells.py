"""How sure the calibration is, cell by cell of the pitch: one number per camera hides the far touchline (POS-1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.camera_model import CameraCalibration

FloatArray = NDArray[np.float64]

CELL_M = 7.5


@dataclass(frozen=True)
class Cell:
    """One pitch cell: its centre, and 1-sigma along the worst direction in metres.

    ``sigma_m`` is the calibration alone (a shift that every player there shares), ``sigma_1px_m`` adds a 1 px
    measurement. Both are None where the camera does not see the cell's centre.
    """

    x_m: float
    y_m: float
    width_m: float
    height_m: float
    sigma_m: float | None
    sigma_1px_m: float | None


def cells(calibration: CameraCalibration, size_m: float = CELL_M) -> list[Cell]:
    """The pitch in cells of about ``size_m``, row by row from y = 0."""
    length, width = calibration.pitch_m
    columns, rows = max(1, round(length / size_m)), max(1, round(width / size_m))
    xs = (np.arange(columns) + 0.5) * length / columns
    ys = (np.arange(rows) + 0.5) * width / rows
    centres = np.array([(x, y) for y in ys for x in xs])
    alone, with_pixel = _worst_sigma(calibration, centres, 0.0), _worst_sigma(calibration, centres, 1.0)
    return [
        Cell(float(x), float(y), length / columns, width / rows, _value(a), _value(b))
        for (x, y), a, b in zip(centres, alone, with_pixel, strict=True)
    ]


def _worst_sigma(calibration: CameraCalibration, places: FloatArray, sigma_px: float) -> FloatArray:
    px = calibration.pixels_from_pitch(places)
    inside = ((px >= 0) & (px <= calibration.image_size_px)).all(axis=1)
    px[~inside] = np.nan
    covariance = calibration.pitch_covariance(px, sigma_px)
    sigma = np.full(len(places), np.nan)
    seen = np.isfinite(covariance).all(axis=(1, 2))
    if seen.any():
        sigma[seen] = np.sqrt(np.maximum(np.linalg.eigvalsh(covariance[seen])[:, 1], 0.0))
    return sigma


def _value(sigma: float) -> float | None:
    return None if math.isnan(sigma) else float(sigma)
