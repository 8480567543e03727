"""From a driver's buffer to a ring slot in one pass: padding, region, alignment, conversion, scaling.

What can be copied is copied once, by NumPy, straight into the slot. OpenCV is loaded only by a source that has to be
converted or scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.camera.port import PixelFormat, frame_bytes
from agent.camera.v4l2 import uapi
from touchline.errors import ConfigError

Bytes: TypeAlias = NDArray[np.uint8]
Image: TypeAlias = NDArray[Any]
Region: TypeAlias = tuple[int, int, int, int]

SOURCES: Final[Mapping[PixelFormat, tuple[str, ...]]] = {
    PixelFormat.GRAY8: ("GREY", "YUYV"),
    PixelFormat.RGB24: ("RGB3", "YUYV"),
    PixelFormat.NV12: ("NV12", "NM12", "YUYV"),
    PixelFormat.RAW16: ("RG16", "RG12", "RG10"),
}
"""V4L2 formats that can fill a format of the port, the best first."""

_PIXEL_BYTES: Final = {"GREY": 1, "RGB3": 3, "YUYV": 2, "NV12": 1, "NM12": 1, "RG16": 2, "RG12": 2, "RG10": 2}
_RAW_BITS: Final = {"RG16": 16, "RG12": 12, "RG10": 10}
_IN_PAIRS: Final = frozenset({"YUYV", "NV12", "NM12", *_RAW_BITS})  # colour is shared by 2x2 (2x1) pixels


@dataclass(frozen=True, slots=True)
class Colours:
    """How Y'CbCr is to be read: weights of red and blue in luma, and whether black is 0 or 16."""

    red: float = 0.299
    blue: float = 0.114
    full_range: bool = False

    @property
    def common(self) -> bool:
        """Whether these are BT.601 in limited range, which every other part of Touchline takes nv12 for."""
        return self == Colours()

    def to_rgb(self) -> NDArray[np.float64]:
        """Matrix (3, 4) from 8-bit (Y, Cb, Cr, 1) to full-range RGB."""
        luma, chroma, black = (1.0, 1.0, 0.0) if self.full_range else (255 / 219, 255 / 224, 16.0)
        green = 1.0 - self.red - self.blue
        of_red, of_blue = 2 * (1 - self.red) * chroma, 2 * (1 - self.blue) * chroma
        rows = [
            (luma, 0.0, of_red),
            (luma, -of_blue * self.blue / green, -of_red * self.red / green),
            (luma, of_blue, 0.0),
        ]
        return np.array([(y, cb, cr, -(y * black + (cb + cr) * 128.0)) for y, cb, cr in rows])


_ENCODINGS: Final[Mapping[int, tuple[float, float]]] = {  # ITU-R BT.709-6, BT.2020-2, SMPTE 240M; all others BT.601-7
    uapi.V4L2_YCBCR_ENC_709: (0.2126, 0.0722),
    uapi.V4L2_YCBCR_ENC_XV709: (0.2126, 0.0722),
    uapi.V4L2_YCBCR_ENC_BT2020: (0.2627, 0.0593),
    uapi.V4L2_YCBCR_ENC_BT2020_CONST_LUM: (0.2627, 0.0593),
    uapi.V4L2_YCBCR_ENC_SMPTE240M: (0.212, 0.087),
}
_DEFAULT_ENCODING: Final[Mapping[int, int]] = {  # V4L2_MAP_YCBCR_ENC_DEFAULT
    uapi.V4L2_COLORSPACE_REC709: uapi.V4L2_YCBCR_ENC_709,
    uapi.V4L2_COLORSPACE_DCI_P3: uapi.V4L2_YCBCR_ENC_709,
    uapi.V4L2_COLORSPACE_BT2020: uapi.V4L2_YCBCR_ENC_BT2020,
    uapi.V4L2_COLORSPACE_SMPTE240M: uapi.V4L2_YCBCR_ENC_SMPTE240M,
}


def colours(colourspace: int, encoding: int, quantisation: int) -> Colours:
    """Read the three numbers of a V4L2 format, with the kernel's own rules for "default"."""
    if encoding == uapi.V4L2_YCBCR_ENC_DEFAULT:
        encoding = _DEFAULT_ENCODING.get(colourspace, uapi.V4L2_YCBCR_ENC_601)
    full_range = quantisation == uapi.V4L2_QUANTIZATION_FULL_RANGE
    if quantisation == uapi.V4L2_QUANTIZATION_DEFAULT:
        full_range = colourspace == uapi.V4L2_COLORSPACE_JPEG
    red, blue = _ENCODINGS.get(encoding, (0.299, 0.114))
    return Colours(red, blue, full_range)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a picture lies in the driver's memory. ``strides``: bytes from line to line, one per memory plane."""

    fourcc: str
    width_px: int
    height_px: int
    strides: tuple[int, ...]
    colours: Colours = Colours()

    def __str__(self) -> str:
        strides = " + ".join(str(stride) for stride in self.strides)
        return f"{self.fourcc} {self.width_px}x{self.height_px} ({strides} bytes a line)"

    @property
    def line_bytes(self) -> int:
        """Bytes of a line that hold pixels."""
        return self.width_px * _PIXEL_BYTES[self.fourcc]

    def plane_bytes(self) -> tuple[int, ...]:
        """Bytes that a whole picture needs in each memory plane, without the padding of its last line."""
        lines = self.height_px
        first = self.strides[0] * (lines - 1) + self.line_bytes
        if self.fourcc == "NV12":
            return (self.strides[0] * (lines + lines // 2 - 1) + self.line_bytes,)
        if self.fourcc == "NM12":
            return first, self.strides[1] * (lines // 2 - 1) + self.line_bytes
        return (first,)

    def images(self, planes: Sequence[Bytes]) -> tuple[Image, ...]:
        """Views of the whole picture: (h, w), (h, w, 3) or (h, w, 2); luma and (h/2, w/2, 2) chroma for NV12."""
        high, wide, stride = self.height_px, self.width_px, self.strides[0]
        first = planes[0]
        if self.fourcc in _RAW_BITS:
            return (np.ndarray((high, wide), "<u2", first, 0, (stride, 2)),)
        if self.fourcc in {"NV12", "NM12"}:
            apart = self.fourcc == "NM12"
            chroma, start = (planes[1], 0) if apart else (first, stride * high)
            steps = (self.strides[1] if apart else stride, 2, 1)
            return (
                np.ndarray((high, wide), np.uint8, first, 0, (stride, 1)),
                np.ndarray((high // 2, wide // 2, 2), np.uint8, chroma, start, steps),
            )
        if self.fourcc == "GREY":
            return (np.ndarray((high, wide), np.uint8, first, 0, (stride, 1)),)
        depth = _PIXEL_BYTES[self.fourcc]
        return (np.ndarray((high, wide, depth), np.uint8, first, 0, (stride, depth, 1)),)


def checked_region(layout: Layout, roi: Sequence[int] | None, size: tuple[int, int], target: PixelFormat) -> Region:
    """Return the region (x, y, w, h) of the sensor picture; ConfigError names what is allowed."""
    wide, high = layout.width_px, layout.height_px
    x, y, width, height = region = (0, 0, wide, high) if roi is None else (roi[0], roi[1], roi[2], roi[3])
    if min(x, y) < 0 or min(width, height) < 1 or x + width > wide or y + height > high:
        raise ConfigError(
            f"region of interest {x},{y},{width},{height} (x,y,w,h) is outside the {wide}x{high} picture",
            hint=f"keep 0 <= x, x + w <= {wide} and 0 <= y, y + h <= {high}",
        )
    if layout.fourcc in _IN_PAIRS and any(side % 2 for side in region):
        raise ConfigError(
            f"region of interest {x},{y},{width},{height} is odd, and pixels of {layout.fourcc} share their colour",
            hint="use even numbers",
        )
    if target is PixelFormat.NV12 and any(side % 2 for side in size):
        raise ConfigError(f"output size {size[0]}x{size[1]} is odd", hint="nv12 needs even width and height")
    if target is PixelFormat.RAW16 and size != (width, height):
        raise ConfigError(
            f"raw16 cannot be scaled from {width}x{height} to {size[0]}x{size[1]}",
            hint="give the region the view's own size",
        )
    return region


class LandingPass:
    """Writes one picture of the driver into one slot; made once per stream.

    Args:
        layout: what the driver delivers.
        region: part of it that is used (x, y, w, h), as :func:`checked_region` returns it.
        size: (w, h) of the slot's picture; another size than the region's is scaled to.
        target: format of the slot.
        msb_aligned: raw words already hold their bits at the upper end.
    """

    def __init__(
        self, layout: Layout, region: Region, size: tuple[int, int], target: PixelFormat, *, msb_aligned: bool = False
    ) -> None:
        self._layout, self._region, self._size = layout, region, size
        self._bytes = frame_bytes(*size, target)
        self._scaled = size != region[2:]
        self._shift = 0 if msb_aligned else 16 - _RAW_BITS.get(layout.fourcc, 16)
        self._write = self._writer(target)
        if self._scaled or (layout.fourcc == "YUYV" and target is not PixelFormat.NV12):
            import cv2  # noqa: F401 - its 0.2 s of loading belong to the opening, not to the first frame

    def land(self, planes: Sequence[Bytes], landing: memoryview) -> None:
        """Write the picture in ``planes`` into the first bytes of ``landing``."""
        slot = np.frombuffer(landing, np.uint8, self._bytes)
        x, y, wide, high = self._region
        whole = self._layout.images(planes)
        parts = [whole[0][y : y + high, x : x + wide]]
        parts += [chroma[y // 2 : (y + high) // 2, x // 2 : (x + wide) // 2] for chroma in whole[1:]]
        self._write(parts, slot)

    def _writer(self, target: PixelFormat) -> Callable[[list[Image], Bytes], None]:
        packed = self._layout.fourcc == "YUYV"
        if target is PixelFormat.RAW16:
            return self._raw
        if target is PixelFormat.NV12:
            return self._nv12_of_yuyv if packed else self._nv12
        if target is PixelFormat.RGB24:
            return self._rgb_of_yuyv if packed else self._rgb
        return self._gray_of_yuyv if packed else self._gray

    def _raw(self, parts: list[Image], slot: Bytes) -> None:
        np.left_shift(parts[0], self._shift, out=slot.view("<u2").reshape(parts[0].shape))

    def _gray(self, parts: list[Image], slot: Bytes) -> None:
        _put(parts[0], slot.reshape(self._size[::-1]))

    def _rgb(self, parts: list[Image], slot: Bytes) -> None:
        _put(parts[0], slot.reshape(*self._size[::-1], 3))

    def _nv12(self, parts: list[Image], slot: Bytes) -> None:
        luma, chroma = _nv12_images(slot, self._size)
        _put(parts[0], luma)
        _put(parts[1], chroma)

    def _gray_of_yuyv(self, parts: list[Image], slot: Bytes) -> None:
        luma, out = parts[0][..., 0], slot.reshape(self._size[::-1])
        if not self._layout.colours.full_range:
            import cv2

            luma = cv2.LUT(np.ascontiguousarray(luma), _FULL_RANGE, dst=None if self._scaled else out)
            if not self._scaled:
                return
        _put(luma, out)

    def _rgb_of_yuyv(self, parts: list[Image], slot: Bytes) -> None:
        import cv2

        pairs, out = parts[0], slot.reshape(*self._size[::-1], 3)
        dst = None if self._scaled else out
        if self._layout.colours.common:
            rgb = cv2.cvtColor(pairs, cv2.COLOR_YUV2RGB_YUYV, dst=dst)
        else:
            rgb = cv2.transform(_yuv_of_yuyv(pairs), self._layout.colours.to_rgb(), dst=dst)
        if self._scaled:
            _put(rgb, out)

    def _nv12_of_yuyv(self, parts: list[Image], slot: Bytes) -> None:
        pairs = parts[0]
        luma, chroma = _nv12_images(slot, self._size)
        upper, lower = (_chroma_of_yuyv(pairs[line::2]) for line in (0, 1))
        if not self._scaled:
            np.copyto(luma, pairs[..., 0])
            _mean(upper, lower, chroma)
            return
        _put(pairs[..., 0], luma)
        between = np.empty((pairs.shape[0] // 2, pairs.shape[1] // 2, 2), np.uint8)
        _mean(upper, lower, between)
        _put(between, chroma)


_FULL_RANGE: Final = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)


def _put(source: Image, out: Image) -> None:
    """Copy, or scale when the sizes differ: by area when smaller, bicubic when larger, as a video is scaled."""
    if source.shape == out.shape:
        np.copyto(out, source)
        return
    import cv2

    method = cv2.INTER_AREA if out.shape[1] < source.shape[1] else cv2.INTER_CUBIC
    cv2.resize(source, (out.shape[1], out.shape[0]), dst=out, interpolation=method)


def _nv12_images(slot: Bytes, size: tuple[int, int]) -> tuple[Bytes, Bytes]:
    wide, high = size
    return slot[: wide * high].reshape(high, wide), slot[wide * high :].reshape(high // 2, wide // 2, 2)


def _chroma_of_yuyv(lines: Image) -> Image:
    """View (h, w / 2, 2) of Cb, Cr in lines (h, w, 2) of Y, Cb, Y, Cr."""
    high, wide, _ = lines.shape
    down, across, single = lines.strides
    return np.lib.stride_tricks.as_strided(lines[:, :, 1], (high, wide // 2, 2), (down, across * 2, across * single))


def _mean(one: Bytes, other: Bytes, out: Bytes) -> None:
    """Write the mean, rounded up, without leaving 8 bits."""
    half = np.bitwise_xor(one, other)
    np.right_shift(half, 1, out=half)
    np.bitwise_or(one, other, out=out)
    np.subtract(out, half, out=out)


def _yuv_of_yuyv(pairs: Image) -> Bytes:
    """Picture (h, w, 3) of Y, Cb, Cr: chroma repeated for both pixels of a pair."""
    high, wide, _ = pairs.shape
    out = np.empty((high, wide, 3), np.uint8)
    out[..., 0] = pairs[..., 0]
    chroma = _chroma_of_yuyv(pairs)
    out[:, 0::2, 1:] = chroma
    out[:, 1::2, 1:] = chroma
    return out
