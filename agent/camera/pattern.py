"""A test pattern as a camera: every frame says which frame it is, so that a torn or repeated one is seen at once."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from pydantic import Field

from agent.camera.pacing import Pace, await_exposure
from agent.camera.port import CameraInfo, Frame, PixelFormat
from agent.camera.registry import read_options
from touchline.config import CameraSection, Section
from touchline.errors import InputError
from touchline.timeline import Clock, monotonic_ns, sleep_until

_MARK: Final = struct.Struct("<QQ")  # sequence number, then its complement


class PatternOptions(Section):
    """``[camera.options]`` of the pattern."""

    frames: int | None = Field(default=None, ge=1, description="end after so many frames; absent: never")
    paced: bool = True
    drop_every: int = Field(default=0, ge=0, description="pretend to lose every n-th frame; 0 loses none")


class PatternCamera:
    """A moving gradient with the sequence number written at the start and the end of the frame."""

    def __init__(
        self,
        section: CameraSection,
        clock: Clock,
        *,
        monotonic: Callable[[], int] = monotonic_ns,
        wait_until: Callable[[int], None] = sleep_until,
    ) -> None:
        self._section, self._clock = section, clock
        self._options = read_options(section, PatternOptions)
        self._monotonic, self._wait_until = monotonic, wait_until
        self._pace: Pace | None = None
        self._next = 0

    def open(self) -> None:
        """Nothing to claim."""

    def start(self) -> None:
        """Begin with frame 0, now."""
        self._pace, self._next = Pace(self._monotonic(), self._section.rate_hz), 0

    def read(self, landing: memoryview, timeout_s: float) -> Frame | None:
        """Draw the next frame; see the port."""
        assert self._pace is not None, "start() comes first"
        if self._options.frames is not None and self._next >= self._options.frames:
            return None
        if self._options.drop_every and self._next % self._options.drop_every == self._options.drop_every - 1:
            self._next += 1
        exposure_ns = self._monotonic()
        if self._options.paced:
            exposure_ns = self._pace.exposure_ns(self._next)
            await_exposure(exposure_ns, timeout_s, self._monotonic, self._wait_until)
        draw(landing[: self.info().frame_bytes], self._next)
        self._next += 1
        return Frame(self._next - 1, self._clock.at(exposure_ns))

    def stop(self) -> None:
        """Stop; `start` begins anew."""

    def info(self) -> CameraInfo:
        """What this camera delivers."""
        section = self._section
        return CameraInfo(
            camera=section.number,
            width_px=section.width_px,
            height_px=section.height_px,
            pixel_format=PixelFormat(section.pixel_format),
            rate_hz=section.rate_hz,
            source="pattern",
            follows_readers=not self._options.paced,
        )

    def close(self) -> None:
        """Nothing to give back."""


def draw(frame: memoryview, sequence: int) -> None:
    """Fill ``frame`` with a shade that follows the sequence number and write the number at both ends."""
    shade = bytes([sequence * 7 & 0xFF]) * len(frame)
    frame[:] = shade
    mark = _MARK.pack(sequence, ~sequence & 2**64 - 1)
    frame[: _MARK.size] = mark
    frame[-_MARK.size :] = mark


def read_mark(frame: memoryview | bytes) -> int:
    """Return the sequence number of a pattern frame; raises InputError when the frame is torn."""
    view = memoryview(frame)
    first, last = _MARK.unpack(view[: _MARK.size]), _MARK.unpack(view[-_MARK.size :])
    if first != last or first[0] != ~first[1] & 2**64 - 1 or view[_MARK.size] != first[0] * 7 & 0xFF:
        raise InputError(f"the frame begins with {first[0]} and ends with {last[0]}")
    return int(first[0])


def open_camera(section: CameraSection, clock: Clock) -> PatternCamera:
    """Entry point of the group ``touchline.cameras``."""
    return PatternCamera(section, clock)
