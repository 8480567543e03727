"""Two cameras on one mast, and where each pixel looks.

The cameras are ordinary :class:`calibration.camera_model.CameraCalibration` objects, the same that the agent reads from
its calibration file: one projection in the whole project.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.camera_model import CameraCalibration, Handedness
from calibration.lens import undistort
from hil.venue.pitch import LENGTH_M

SIDES = ("left", "right")
NATIVE_SIZE_PX = (1280, 720)
MAST_M = (LENGTH_M / 2, -26.0, 17.0)
FOCAL_PX = 890.0
"""At 1280 px width: 71 degrees across, so that half a pitch and the halfway line fit."""

LENS = (-0.085, 0.012, 0.0004, -0.0003)
_AIM_M = {"left": (27.5, 19.0, 0.0), "right": (LENGTH_M - 27.5, 19.0, 0.0)}

FloatImage = NDArray[np.float32]


def site_camera(side: str, size_px: tuple[int, int] = NATIVE_SIZE_PX) -> CameraCalibration:
    """The camera of ``side`` ("left" or "right") at an image size of any resolution.

    Raises:
        ValueError: unknown side.
    """
    if side not in SIDES:
        raise ValueError(f"side must be one of {', '.join(SIDES)}, not {side!r}")
    return look_at(MAST_M, _AIM_M[side], FOCAL_PX * size_px[0] / NATIVE_SIZE_PX[0], size_px, lens=LENS, name=side)


def look_at(
    position_m: tuple[float, float, float],
    target_m: tuple[float, float, float],
    focal_px: float,
    size_px: tuple[int, int],
    *,
    lens: tuple[float, ...] = (),
    name: str = "",
    roll_rad: float = 0.0,
) -> CameraCalibration:
    """A camera of the venue's right-handed pitch frame at ``position_m`` that looks at ``target_m``."""
    return CameraCalibration.from_look_at(
        size_px,
        focal_px,
        position_m,
        target_m,
        distortion=np.array(lens),
        roll_rad=roll_rad,
        handedness=Handedness.RIGHT,
        camera=name,
    )


def write_calibrations(folder: Path, size_px: tuple[int, int] = NATIVE_SIZE_PX) -> dict[str, Path]:
    """Write ``left.json`` and ``right.json`` into ``folder`` (made if missing); returns side -> path.

    Raises:
        ResourceError: the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {side: folder / f"{side}.json" for side in SIDES}
    for side, path in paths.items():
        site_camera(side, size_px).save(path)
    return paths


@dataclass(frozen=True)
class Rays:
    """Where every pixel centre looks: (h, w, 3) directions, not normalised, x, y, up from ``origin_m``."""

    origin_m: NDArray[np.float64]
    directions: FloatImage


def rays(camera: CameraCalibration) -> Rays:
    """Rays of every pixel; the lens is inverted on a coarse grid and interpolated (smooth: below 0.01 px)."""
    width, height = camera.image_size_px
    step = 8
    columns, rows = math.ceil(width / step) + 1, math.ceil(height / step) + 1
    u, v = np.meshgrid(np.arange(columns) * float(step), np.arange(rows) * float(step))
    flat = undistort(np.stack([u.ravel(), v.ravel()], axis=1), camera.camera_matrix, camera.distortion)
    world = np.column_stack([flat, np.ones(len(flat))]) @ camera.rotation
    world[:, 2] *= camera.handedness.up
    grid = world.reshape(rows, columns, 3).astype(np.float32)
    at_x, at_y = np.meshgrid((np.arange(width) + 0.5) / step, (np.arange(height) + 0.5) / step)
    fine = cv2.remap(grid, at_x.astype(np.float32), at_y.astype(np.float32), cv2.INTER_LINEAR)
    return Rays(camera.position_m, np.asarray(fine, np.float32))
