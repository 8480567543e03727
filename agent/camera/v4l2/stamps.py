"""From a driver's sequence numbers and time stamps to ours; pure arithmetic, time is an argument.

Start of exposure is what a stamp means here. A driver that stamps the end of a frame saw an exposure and a read-out
before it, each between nothing and one period long: the start is taken one period earlier and may be wrong by one
period either way, which widens the bound. A stamp of the start of exposure is only cut: to the clock's tick where that
is a long one, and by the kernel to the microsecond below, so the truth is taken to lie in the middle of the two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from touchline.timeline import Stamp

_WRAP: Final = 1 << 32
_CUT_NS: Final = 1_000  # struct timeval counts microseconds, and the kernel cuts to them (ns_to_timeval)
_FUTURE_NS: Final = 20_000_000  # drivers that compute stamps from a count run ahead by some timer ticks
_OLD_NS: Final = 2_000_000_000
_MEASURED_NS: Final = 1_000_000_000
_MEASURED_FRAMES: Final = 20


def unwrap(previous: int | None, sequence: int) -> int | None:
    """Return the endless number of a 32-bit sequence number that follows ``previous``; None when it does not rise."""
    if previous is None:
        return sequence
    step = (sequence - previous) % _WRAP
    return previous + step if 0 < step < _WRAP // 2 else None


@dataclass(frozen=True, slots=True)
class Exposure:
    """Start of exposure on the clock that the driver stamps with; the truth lies within +-``doubt_ns``."""

    start_ns: int
    doubt_ns: int

    def on(self, stamp: Stamp) -> Stamp:
        """``stamp`` (the clock's word for ``start_ns``) with the doubt added to its bound."""
        return replace(stamp, bound_ns=stamp.bound_ns + self.doubt_ns)

    def delivered(self, late_ns: int | None) -> Exposure:
        """Taken ``late_ns`` after its start (None: unknown). Nothing begins after that, so far off it is at least."""
        return self if late_ns is None or late_ns >= 0 else replace(self, doubt_ns=self.doubt_ns - late_ns)


def exposure(stamp_ns: int, *, of_end: bool, period_ns: int, tick_ns: int = 0) -> Exposure:
    """Return when the exposure began, from a driver's stamp of its start or of the frame's end.

    ``tick_ns``: the step of the clock that was read; 0 for one that is as fine as its numbers.
    """
    cut_ns = _CUT_NS + tick_ns
    start_ns = stamp_ns + cut_ns // 2 - (period_ns if of_end else 0)
    return Exposure(start_ns, cut_ns - cut_ns // 2 + (period_ns if of_end else 0))


def arrival(now_ns: int, *, period_ns: int, buffers: int) -> Exposure:
    """Return when the exposure of a frame delivered now began, where its own stamp says nothing.

    One period ago, if no frame waited before it; how long it may have waited is what :func:`implausible` allows.
    """
    return Exposure(now_ns - period_ns, _longest_ns(period_ns, buffers))


def implausible(start_ns: int, previous_ns: int | None, *, late_ns: int | None, period_ns: int, buffers: int) -> str:
    """Say why this start of exposure, delivered ``late_ns`` after it, cannot be true; empty when it can.

    Where the clocks do not tell how late that was (None) only the start of the frame before counts.
    """
    late_ns = 0 if late_ns is None else late_ns
    if -late_ns > max(_FUTURE_NS, period_ns):
        return f"it lies {-late_ns / 1e9:.3f} s in the future"
    if late_ns > _longest_ns(period_ns, buffers):
        return f"it is {late_ns / 1e9:.3f} s old"
    if previous_ns is not None and start_ns <= previous_ns:
        return f"it goes back by {(previous_ns - start_ns) / 1e6:.3f} ms"
    return ""


def _longest_ns(period_ns: int, buffers: int) -> int:
    """A frame may wait in every buffer of the queue before it is taken, so old means older than that and 2 s more."""
    return _OLD_NS + (buffers + 2) * period_ns


class RateMeter:
    """The rate that the sensor really runs at, from numbers and stamps of its first second; lost frames count too."""

    def __init__(self) -> None:
        self._first: tuple[int, int] | None = None
        self.rate_hz: float | None = None

    def add(self, sequence: int, start_ns: int) -> bool:
        """Take a frame; True once, when the rate has become known."""
        if self._first is None:
            self._first = sequence, start_ns
        frames, passed_ns = sequence - self._first[0], start_ns - self._first[1]
        if self.rate_hz is not None or frames < _MEASURED_FRAMES or passed_ns < _MEASURED_NS:
            return False
        self.rate_hz = frames * 1e9 / passed_ns
        return True
