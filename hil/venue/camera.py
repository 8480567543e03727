"""The simulated camera: the port of ``agent.camera`` over the venue's renderer.

Both cameras of a venue expose at the same instants, the multiples of the frame period on the PTP timescale, as cameras
triggered from one clock do. A reader that falls further behind than the camera has buffers loses exposures, and the
sequence number says how many (CAP-4).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from agent.camera.grid import Trigger, TriggeredFrames
from agent.camera.port import CameraInfo, Frame, FrameTimeout, PixelFormat
from agent.camera.registry import read_options
from hil.venue.optics import site_camera
from hil.venue.players import MAX_PEOPLE, Venue
from hil.venue.render import Renderer
from touchline.config import CameraSection, Section
from touchline.errors import ConfigError, HardwareError
from touchline.timeline import Clock, Stamp, monotonic_ns, sleep_until


class VenueOptions(Section):
    """``[camera.options]`` of the venue."""

    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="the match; both cameras must name the same")
    side: Literal["left", "right"] = "left"
    people: int = Field(default=25, ge=1, le=MAX_PEOPLE)
    buffers: int = Field(default=4, ge=1, le=16, description="exposures the camera keeps for a late reader")
    drop_pct: float = Field(default=0.0, ge=0, le=100, description="share of exposures lost on the way")
    disconnect_after_s: float = Field(default=0.0, ge=0, description="unplug so long after the start; 0 never")


class VenueCamera:
    """One side of the venue as a camera; see :class:`agent.camera.port.Camera`.

    ``drop_pct``, ``disconnect()`` and ``reconnect()`` are the knobs of a test bench and may be used while it streams.
    """

    def __init__(
        self,
        section: CameraSection,
        clock: Clock,
        *,
        monotonic: Callable[[], int] = monotonic_ns,
        wait_until: Callable[[int], None] = sleep_until,
    ) -> None:
        self._section, self._clock = section, clock
        self._options = read_options(section, VenueOptions)
        self._monotonic, self._wait_until = monotonic, wait_until
        self._frames = TriggeredFrames(Trigger(section.rate_hz), self._options.buffers)
        self._renderer: Renderer | None = None
        self._unplug_ns = 0
        self._plugged = True
        self.drop_pct = self._options.drop_pct

    def open(self) -> None:
        """Paint the empty venue (about a second). Raises ConfigError for a format or region that it cannot render."""
        section = self._section
        where = f"camera {section.number} (venue)"
        if section.pixel_format != PixelFormat.RGB24.value:
            raise ConfigError(f"{where}: pixel_format is {section.pixel_format}", hint='set pixel_format = "rgb24"')
        if section.roi is not None:
            raise ConfigError(f"{where}: roi is set", hint="remove roi; the venue renders width_px x height_px")
        if self._renderer is None:
            venue = Venue(self._options.seed, self._options.people)
            camera = site_camera(self._options.side, (section.width_px, section.height_px))
            self._renderer = Renderer(venue, camera)

    def start(self) -> None:
        """Begin with the next exposure as frame 0."""
        now = self._clock.now()
        self._frames.start(now)
        self._unplug_ns = now.ptp_ns + round(self._options.disconnect_after_s * 1e9)

    def read(self, landing: memoryview, timeout_s: float) -> Frame | None:
        """Wait for the next exposure and render it; never None, a match has no end."""
        if self._renderer is None:
            raise HardwareError(f"camera {self._section.number} is not open", hint="open() comes first")
        deadline_ns = self._monotonic() + round(timeout_s * 1e9)
        stamp = self._await_exposure(deadline_ns)
        sequence = self._frames.take()
        shape = (self._section.height_px, self._section.width_px, 3)
        picture = np.frombuffer(landing, np.uint8, self.info().frame_bytes).reshape(shape)
        self._renderer.render_into(picture, stamp.ptp_ns)
        return Frame(sequence, stamp)

    def stop(self) -> None:
        """Stop; `start` begins anew."""

    def info(self) -> CameraInfo:
        """What this camera delivers."""
        section = self._section
        return CameraInfo(
            section.number, section.width_px, section.height_px, PixelFormat.RGB24, section.rate_hz, "venue"
        )

    def close(self) -> None:
        """Give the painted venue back."""
        self._renderer = None

    def disconnect(self) -> None:
        """Pull the plug: reads fail until `reconnect`, exposures meanwhile are lost."""
        self._plugged = False

    def reconnect(self) -> None:
        """Plug it in again; the sequence number shows the gap."""
        self._plugged = True

    def _await_exposure(self, deadline_ns: int) -> Stamp:
        """Wait until the next exposure has begun, passing over lost ones; its stamp."""
        while True:
            now = self._clock.now()
            self._check_plug(now.ptp_ns)
            exposure_ns = self._frames.due_ns(now)
            if exposure_ns <= now.ptp_ns:
                if not self._dropped(self._frames.index):
                    return replace(now, ptp_ns=exposure_ns)
                self._frames.take()
                continue
            wake_ns = self._monotonic() + exposure_ns - now.ptp_ns
            if self._monotonic() >= deadline_ns:
                raise FrameTimeout(f"camera {self._section.number}: no frame in time")
            self._wait_until(min(wake_ns, deadline_ns))

    def _check_plug(self, ptp_ns: int) -> None:
        timed = self._options.disconnect_after_s > 0 and ptp_ns >= self._unplug_ns
        if timed or not self._plugged:
            raise HardwareError(f"camera {self._section.number} is disconnected", hint="check its cable and power")

    def _dropped(self, index: int) -> bool:
        """Whether the fault knob loses this exposure; the same exposures every time."""
        draw = zlib.crc32(b"%d/%d" % (self._section.number, index)) % 10_000
        return draw < self.drop_pct * 100


def open_camera(section: CameraSection, clock: Clock) -> VenueCamera:
    """Entry point of the group ``touchline.cameras``."""
    return VenueCamera(section, clock)
