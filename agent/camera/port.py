"""The camera port: six methods that every source of frames implements (V4L2, Argus, video file, pattern, venue)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from touchline.errors import HardwareError
from touchline.timeline import Stamp, Timebase


class PixelFormat(str, Enum):
    """How a slot's bytes are to be read."""

    GRAY8 = "gray8"
    RGB24 = "rgb24"
    NV12 = "nv12"
    RAW16 = "raw16"  # Bayer RGGB, 10 or 12 bit, MSB-aligned in 16-bit words (CAP-1)


_BITS_PER_PIXEL = {PixelFormat.GRAY8: 8, PixelFormat.RGB24: 24, PixelFormat.NV12: 12, PixelFormat.RAW16: 16}


def frame_bytes(width_px: int, height_px: int, pixel_format: PixelFormat) -> int:
    """Bytes of one frame of this size and format."""
    return width_px * height_px * _BITS_PER_PIXEL[pixel_format] // 8


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """What a camera delivers. ``camera`` is its number across the site, ``rate_hz`` its nominal rate.

    ``follows_readers``: frames come as fast as the readers take them and none may be passed over (a file played
    ``fast``); a real camera never waits. ``timebase``: the clock of this machine that its frames are stamped with.
    """

    camera: int
    width_px: int
    height_px: int
    pixel_format: PixelFormat
    rate_hz: float
    source: str
    follows_readers: bool = False
    timebase: Timebase = Timebase.MONOTONIC

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return frame_bytes(self.width_px, self.height_px, self.pixel_format)


@dataclass(frozen=True, slots=True)
class Frame:
    """One landed frame: the camera's own sequence number and the start of its exposure."""

    sequence: int
    stamp: Stamp


class FrameTimeout(HardwareError):
    """No frame within the time-out; the device may still deliver, so the caller may ask again."""


class Camera(Protocol):
    """A source of frames. Gaps in ``Frame.sequence`` are frames that the camera or its driver lost (CAP-4)."""

    def open(self) -> None:
        """Claim the device and learn its format; raises HardwareError, InputError or ConfigError."""
        ...

    def start(self) -> None:
        """Begin to stream."""
        ...

    def read(self, landing: memoryview, timeout_s: float) -> Frame | None:
        """Land the next frame in ``landing`` (at least ``frame_bytes`` long); None at the end of a finite source.

        Raises FrameTimeout when nothing came within ``timeout_s``, HardwareError when the device went away.
        """
        ...

    def stop(self) -> None:
        """Stop streaming; `start` may follow."""
        ...

    def info(self) -> CameraInfo:
        """What this camera delivers."""
        ...

    def close(self) -> None:
        """Give everything back; safe to call twice."""
        ...
