"""Which of this machine's clocks a driver stamps with, and the PTP time of its readings.

NVIDIA's Tegra drivers declare monotonic stamps of the end of a frame, but vi5 writes the start of frame in the TSC's
time: what they declare is not asked. The TSC can neither be read here nor does the kernel map it, so it needs a clock
that follows PTP. Until that has its first mapping a frame is stamped by its arrival, with a bound to match, unlocked:
frames flow, so the node becomes ready, and records say what their stamps are worth.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from agent.camera.v4l2.stamps import arrival
from touchline.errors import ConfigError, HardwareError
from touchline.timeline import Clock, ClockState, Stamp, SystemClock, Timebase

TSC_TICK_NS: Final = 32  # Tegra's counter runs at 31.25 MHz; the clock's pairs name the middle of a tick
_LYING_DRIVERS: Final = ("tegra",)
_LOG: Final = logging.getLogger(__name__)


def timebase_of(option: str, driver: str) -> Timebase:
    """Return the clock that a driver stamps with: as configured, else TSC for those known to lie, else monotonic."""
    if option != "auto":
        return Timebase(option)
    return Timebase.TSC if any(liar in driver for liar in _LYING_DRIVERS) else Timebase.MONOTONIC


@dataclass(frozen=True, slots=True)
class Placed:
    """The clock's word for a start of exposure, None where nothing maps it, and how long ago that was, if known."""

    stamp: Stamp | None
    late_ns: int | None


class CameraClock:
    """The clock behind one camera's stamps. ``name``: the camera, for messages.

    Raises ConfigError for a timebase that this clock will never map.
    """

    def __init__(self, clock: Clock, timebase: Timebase, monotonic: Callable[[], int], name: str) -> None:
        if timebase is Timebase.TSC and isinstance(clock, SystemClock):
            raise ConfigError(
                f"{name}: its driver stamps frames with the TSC, which the system clock does not map to PTP time",
                hint='set [clock] source = "ptp", or options.clock = "monotonic" where its stamps were measured to be',
            )
        self.timebase = timebase
        self._clock, self._monotonic, self._name = clock, monotonic, name
        self._unmapped = False

    @property
    def tick_ns(self) -> int:
        """The step of the clock's readings where it is a long one."""
        return TSC_TICK_NS if self.timebase is Timebase.TSC else 0

    def place(self, start_ns: int) -> Placed:
        """Say what PTP time a reading is.

        How late it comes is asked of the monotonic clock itself; of another clock, whose present reading may be out of
        reach, by PTP time, as long as both are of one epoch.
        """
        if self.timebase is Timebase.MONOTONIC:
            return Placed(self._clock.at(start_ns), self._monotonic() - start_ns)
        try:
            stamp = self._clock.at(start_ns, self.timebase)
        except HardwareError as error:
            if not self._unmapped:
                _LOG.warning("%s: %s: its frames are stamped by their arrival, unlocked", self._name, error)
            self._unmapped = True
            return Placed(None, None)
        if self._unmapped:
            _LOG.info("%s: its stamps are mapped now", self._name)
        self._unmapped = False
        now = self._clock.now()
        return Placed(stamp, now.ptp_ns - stamp.ptp_ns if now.epoch == stamp.epoch else None)

    def arrived(self, *, period_ns: int, buffers: int) -> Stamp:
        """Return the stamp of a frame that is delivered now and whose own stamp cannot be mapped."""
        exposed = arrival(self._monotonic(), period_ns=period_ns, buffers=buffers)
        return replace(exposed.on(self._clock.at(exposed.start_ns)), state=ClockState.UNLOCKED)
