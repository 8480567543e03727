"""Any camera's pixels as RGB for the detector.

raw16 is Bayer RGGB, 12 bits in the upper bits of little-endian 16-bit words (CAP-1), taken linearly to 8 bits with
no black level or gamma; nv12 is BT.601 limited range, which is what :mod:`agent.camera.ffmpeg` delivers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.camera.port import PixelFormat, frame_bytes
from touchline.errors import InputError

_HIGH_BYTE: Final = 1 if sys.byteorder == "little" else 0


def to_rgb(
    payload: Any, width_px: int, height_px: int, pixel_format: PixelFormat, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return a frame's bytes as an RGB image (h, w, 3) uint8.

    ``payload`` is anything with a buffer, read-only allowed; ``out`` (h, w, 3) is reused when given. rgb24 is a view of
    ``payload``, never a copy. Raises InputError when the byte count does not fit the size.
    """
    flat = np.frombuffer(payload, np.uint8)
    expected = frame_bytes(width_px, height_px, pixel_format)
    if flat.size != expected:
        raise InputError(
            f"a {pixel_format.value} frame of {width_px}x{height_px} has {expected} bytes, not {flat.size}",
            hint="make the camera's configured size and pixel format match what it delivers",
        )
    if pixel_format is PixelFormat.RGB24:
        return flat.reshape(height_px, width_px, 3)
    image = out if out is not None else np.empty((height_px, width_px, 3), np.uint8)
    _CONVERTERS[pixel_format](flat, width_px, height_px, image)
    return image


def _from_gray8(flat: NDArray[np.uint8], width_px: int, height_px: int, out: NDArray[np.uint8]) -> None:
    cv2.cvtColor(flat.reshape(height_px, width_px), cv2.COLOR_GRAY2RGB, dst=out)


def _from_nv12(flat: NDArray[np.uint8], width_px: int, height_px: int, out: NDArray[np.uint8]) -> None:
    if width_px % 2 or height_px % 2:
        raise InputError(f"nv12 frames of {width_px}x{height_px} are odd", hint="use an even width and height")
    cv2.cvtColor(flat.reshape(height_px * 3 // 2, width_px), cv2.COLOR_YUV2RGB_NV12, dst=out)


def _from_raw16(flat: NDArray[np.uint8], width_px: int, height_px: int, out: NDArray[np.uint8]) -> None:
    mosaic = cv2.extractChannel(flat.reshape(height_px, width_px, 2), _HIGH_BYTE)
    cv2.cvtColor(mosaic, cv2.COLOR_BayerRGGB2RGB, dst=out)


_CONVERTERS: Final[dict[PixelFormat, Callable[[NDArray[np.uint8], int, int, NDArray[np.uint8]], None]]] = {
    PixelFormat.GRAY8: _from_gray8,
    PixelFormat.NV12: _from_nv12,
    PixelFormat.RAW16: _from_raw16,
}
