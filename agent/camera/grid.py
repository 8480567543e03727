"""Exposures on a grid of the PTP timescale, as cameras that are triggered from one clock have them. Pure.

Cameras with the same rate and offset expose at the same instants wherever they are: the twins of a pair, the two ends
of a pitch.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from touchline.timeline import Stamp

_NEAR_PERIODS: Final = 2  # the next exposure is at most one period off; a step back of less than one makes it two


@dataclass(frozen=True, slots=True)
class Trigger:
    """Exposures at the multiples of the period on the PTP timescale, exact in integers at any date.

    ``offset_ns``: how much later than the grid this camera exposes: what two triggers of one pitch may differ by.
    """

    rate_hz: float
    offset_ns: int = 0

    def exposure_ns(self, index: int) -> int:
        """Start of exposure ``index``, PTP ns."""
        rate = self._rate()
        return -(-index * 1_000_000_000 * rate.denominator // rate.numerator) + self.offset_ns

    def index_at(self, ptp_ns: int) -> int:
        """The newest exposure that began at or before ``ptp_ns``."""
        rate = self._rate()
        return (ptp_ns - self.offset_ns) * rate.numerator // (1_000_000_000 * rate.denominator)

    def _rate(self) -> Fraction:
        return Fraction(self.rate_hz).limit_denominator(1001)


@dataclass(slots=True)
class TriggeredFrames:
    """Which exposure is the next frame: numbers from 0 at :meth:`start`, over clock steps and a reader's delay.

    ``buffers``: exposures that the camera keeps for a late reader; older ones are lost, and the numbers show the gap.
    After a step of the clock the numbers go on without a gap: from the new time, or, where that is no further off than
    a period or the buffers, with the very next exposure, so that a small step loses and repeats none.
    """

    trigger: Trigger
    buffers: int
    _anchor: int = 0
    _next: int = 0
    _epoch: int = 0

    def start(self, now: Stamp) -> None:
        """Begin with the next exposure as frame 0."""
        self._next, self._anchor, self._epoch = 0, self.trigger.index_at(now.ptp_ns) + 1, now.epoch

    @property
    def index(self) -> int:
        """The next frame's exposure as a place on the grid."""
        return self._anchor + self._next

    def due_ns(self, now: Stamp) -> int:
        """When the next frame's exposure begins or began, PTP ns; what no buffer held is passed over."""
        behind = self.trigger.index_at(now.ptp_ns) - self.index
        far = not -_NEAR_PERIODS <= behind < self.buffers if now.epoch != self._epoch else behind < -self.buffers
        self._epoch = now.epoch
        if far:
            self._anchor += behind + 1
        elif behind >= self.buffers:
            self._next += behind - self.buffers + 1
        return self.trigger.exposure_ns(self.index)

    def take(self) -> int:
        """Go on to the frame after; the number of the one taken."""
        self._next += 1
        return self._next - 1
