"""The lens from stills of a checkerboard: detect, calibrate, name and drop the bad stills.

Half-resolution detection with sub-pixel refinement on the full still takes 10 ms and found 24 of 25 real stills; the
sector-based finder (2 s a still) is asked only where that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from touchline.errors import ConfigError, InputError

FloatArray = NDArray[np.float64]

STILL_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}
STILLS_MAX = 500
STILLS_MIN = 5
"""Fewer views leave focal length and principal point tied to the board's tilt."""

RMS_LIMIT_PX = 2.0
RMS_LIMIT_RATIO = 2.0
"""A still is dropped above both 2 px and twice the median of the stills: blur, or a board that was bent."""


@dataclass(frozen=True)
class Still:
    """One still: its reprojection RMS in pixels, or why it was not used."""

    name: str
    rms_px: float | None
    reason: str = ""


@dataclass(frozen=True)
class BoardResult:
    """Intrinsics from a board: ``fx, fy, cx, cy, k1, k2, p1, p2, k3`` and their standard deviations, pixels and ones.

    ``covered`` is the share of the image's width and height that the boards' corners span: the lens is only
    extrapolated outside it.
    """

    image_size_px: tuple[int, int]
    mean: FloatArray
    sigma: FloatArray
    rms_px: float
    covered: tuple[float, float]
    stills: tuple[Still, ...]


@dataclass(frozen=True)
class _View:
    name: str
    corners: NDArray[np.float32]


def calibrate_boards(
    folder: Path, inner: tuple[int, int], progress: Callable[[str], None] = lambda _: None
) -> BoardResult:
    """Intrinsics from all stills in ``folder`` of a board with ``inner`` (columns, rows) inner corners.

    Raises:
        InputError: no folder, no stills, stills of several sizes, or fewer than ``STILLS_MIN`` with a board.
    """
    views, refused, size = _detect_all(folder, inner, progress)
    while True:
        if len(views) < STILLS_MIN:
            raise InputError(
                f"{folder}: a {inner[0]}x{inner[1]} board was found in {len(views)} stills, {STILLS_MIN} needed",
                hint="check --board (inner corners, columns x rows), add sharp stills, or leave out --checkerboards",
            )
        mean, sigma, rms, per_still = _solve(views, inner, size)
        worst = int(np.argmax(per_still))
        if per_still[worst] <= max(RMS_LIMIT_PX, RMS_LIMIT_RATIO * float(np.median(per_still))):
            break
        dropped = views.pop(worst)
        refused.append(Still(dropped.name, float(per_still[worst]), f"RMS {per_still[worst]:.1f} px"))
    corners = np.concatenate([view.corners.reshape(-1, 2) for view in views])
    span = (corners.max(axis=0) - corners.min(axis=0)) / size
    used = [Still(view.name, float(value)) for view, value in zip(views, per_still, strict=True)]
    return BoardResult(size, mean, sigma, rms, (float(span[0]), float(span[1])), (*used, *refused))


def _detect_all(
    folder: Path, inner: tuple[int, int], progress: Callable[[str], None]
) -> tuple[list[_View], list[Still], tuple[int, int]]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", hint="give the folder of stills with --checkerboards")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in STILL_SUFFIXES)[:STILLS_MAX]
    if not paths:
        raise InputError(f"{folder} has no stills", hint=f"expected {', '.join(sorted(STILL_SUFFIXES))}")
    views: list[_View] = []
    refused: list[Still] = []
    size: tuple[int, int] | None = None
    for path in paths:
        progress(path.name)
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is None:
            refused.append(Still(path.name, None, "not a readable image"))
            continue
        found = (image.shape[1], image.shape[0])
        size = size or found
        if found != size:
            raise InputError(
                f"{path} is {found[0]}x{found[1]} but the stills before it are {size[0]}x{size[1]}",
                hint="keep stills of one camera and one size in a folder",
            )
        corners = find_corners(image, inner)
        if corners is None:
            refused.append(Still(path.name, None, "no board found"))
        else:
            views.append(_View(path.name, corners))
    if size is None:
        raise InputError(f"{folder} has no readable stills", hint="check that the files are images")
    return views, refused, size


def find_corners(image: NDArray[Any], inner: tuple[int, int]) -> NDArray[np.float32] | None:
    """(n, 1, 2) inner corners in continuous pixels, or None where no board of this size is seen."""
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    flags = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE
    found, corners = cv2.findChessboardCorners(half, inner, flags=flags)
    if found:
        start = ((np.asarray(corners) + 0.5) * 2 - 0.5).astype(np.float32)
        stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-3)
        corners = cv2.cornerSubPix(image, start, (7, 7), (-1, -1), stop)
    else:
        flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_ACCURACY
        found, corners = cv2.findChessboardCornersSB(image, inner, flags=flags)
    return np.asarray(corners, dtype=np.float32).reshape(-1, 1, 2) + np.float32(0.5) if found else None


def _solve(
    views: list[_View], inner: tuple[int, int], size: tuple[int, int]
) -> tuple[FloatArray, FloatArray, float, FloatArray]:
    board = np.zeros((inner[0] * inner[1], 3), np.float32)
    board[:, :2] = np.mgrid[0 : inner[0], 0 : inner[1]].T.reshape(-1, 2)
    try:
        rms, matrix, lens, _, _, deviations, _, per_still = cv2.calibrateCameraExtended(
            [board] * len(views),
            [view.corners for view in views],
            size,
            np.eye(3),
            np.zeros(5),
        )
    except cv2.error as error:
        raise InputError(f"the board stills give no lens: {error.err}", hint="add stills with other tilts") from error
    mean = np.concatenate(
        (
            np.asarray(matrix, dtype=np.float64)[[0, 1, 0, 1], [0, 1, 2, 2]],
            np.asarray(lens, dtype=np.float64).ravel()[:5],
        )
    )
    sigma = np.asarray(deviations, dtype=np.float64).ravel()[:9]
    if not np.isfinite(mean).all() or not np.isfinite(sigma).all() or min(mean[:2]) <= 0:
        raise InputError("the board stills give no lens: the solution diverged", hint="add stills with other tilts")
    return mean, sigma, float(rms), np.asarray(per_still, dtype=np.float64).ravel()


def require_same_size(board: BoardResult, image_size_px: tuple[int, int], folder: Path) -> None:
    """Raises ConfigError when the stills are not of the landmarks' image size: cameras crop video and photos apart."""
    if board.image_size_px != image_size_px:
        raise ConfigError(
            f"{folder}: stills are {board.image_size_px[0]}x{board.image_size_px[1]}, "
            f"the landmark image is {image_size_px[0]}x{image_size_px[1]}",
            hint="film the board in the same mode as the match, or leave out --checkerboards",
        )
