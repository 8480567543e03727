"""A test pattern as a camera: every frame says which frame it is, so that a torn or repeated one is seen at once."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pydantic import Field, model_validator

from agent.camera.grid import Trigger, TriggeredFrames
from agent.camera.pacing import Pace, await_exposure
from agent.camera.port import CameraInfo, Frame, FrameTimeout, PixelFormat
from agent.camera.registry import read_options
from touchline.config import CameraSection, Section
from touchline.errors import InputError
from touchline.timeline import Clock, Stamp, monotonic_ns, sleep_until

_MARK: Final = struct.Struct("<QQ")  # sequence number, then its complement


class PatternOptions(Section):
    """``[camera.options]`` of the pattern."""

    frames: int | None = Field(default=None, ge=1, description="end after so many frames; absent: never")
    paced: bool = True
    drop_every: int = Field(default=0, ge=0, description="pretend to lose every n-th frame; 0 loses none")
    grid: bool = Field(
        default=False, description="expose at the multiples of the period on the PTP timescale, as twins do"
    )
    grid_offset_us: float = Field(
        default=0.0, ge=-100_000.0, le=100_000.0, description="so much later than the grid: what two triggers differ by"
    )
    buffers: int = Field(default=4, ge=1, le=64, description="exposures kept for a late reader; with grid only")

    @model_validator(mode="after")
    def _grid_is_paced(self) -> PatternOptions:
        if self.grid and not self.paced:
            raise ValueError("grid needs paced = true: its exposures come when they come")
        return self


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
        trigger = Trigger(section.rate_hz, round(self._options.grid_offset_us * 1000))
        self._frames = TriggeredFrames(trigger, self._options.buffers)

    def open(self) -> None:
        """Nothing to claim."""

    def start(self) -> None:
        """Begin with frame 0, now, or with the next exposure of the grid."""
        self._frames.start(self._clock.now())
        self._pace, self._next = Pace(self._monotonic(), self._section.rate_hz), 0

    def read(self, landing: memoryview, timeout_s: float) -> Frame | None:
        """Draw the next frame; see the port."""
        assert self._pace is not None, "start() comes first"
        if self._options.frames is not None and self._next >= self._options.frames:
            return None
        if self._options.drop_every and self._next % self._options.drop_every == self._options.drop_every - 1:
            self._next += 1
            if self._options.grid:
                self._frames.take()
        if self._options.grid:
            stamp = self._await_grid(timeout_s)
            self._next = self._frames.take()
        else:
            stamp = self._clock.at(self._await_pace(self._pace, timeout_s))
        draw(landing[: self.info().frame_bytes], self._next)
        self._next += 1
        return Frame(self._next - 1, stamp)

    def _await_pace(self, pace: Pace, timeout_s: float) -> int:
        """When the next frame is exposed, monotonic ns: its turn, or now when nothing paces it."""
        if not self._options.paced:
            return self._monotonic()
        exposure_ns = pace.exposure_ns(self._next)
        await_exposure(exposure_ns, timeout_s, self._monotonic, self._wait_until)
        return exposure_ns

    def _await_grid(self, timeout_s: float) -> Stamp:
        """Wait until the next exposure of the grid has begun; its stamp."""
        deadline_ns = self._monotonic() + int(timeout_s * 1e9)
        while True:
            now = self._clock.now()
            exposure_ns = self._frames.due_ns(now)
            if exposure_ns <= now.ptp_ns:
                return replace(now, ptp_ns=exposure_ns)
            if self._monotonic() >= deadline_ns:
                raise FrameTimeout(f"the next frame is due in {(exposure_ns - now.ptp_ns) / 1e9:.3g} s")
            self._wait_until(min(self._monotonic() + exposure_ns - now.ptp_ns, deadline_ns))

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
