"""From a driver's sequence numbers and time stamps to ours; pure arithmetic, time is an argument.

Start of exposure is what a stamp means here. A driver that stamps the end of a frame saw an exposure and a read-out
before it, each between nothing and one period long: the start is taken one period earlier and may be wrong by one
period either way, which widens the bound. A stamp of the start of exposure is only rounded, to a microsecond.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from touchline.timeline import Stamp

_WRAP: Final = 1 << 32
_ROUNDING_NS: Final = 1_000  # struct timeval counts microseconds
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
    """Start of exposure on the monotonic clock; the truth lies within +-``doubt_ns``."""

    start_ns: int
    doubt_ns: int

    def on(self, stamp: Stamp) -> Stamp:
        """``stamp`` (the clock's word for ``start_ns``) with the doubt added to its bound."""
        return replace(stamp, bound_ns=stamp.bound_ns + self.doubt_ns)


def exposure(stamp_ns: int, *, of_end: bool, period_ns: int, now_ns: int) -> Exposure:
    """Return when the exposure began, from a driver's stamp of its start or of the frame's end."""
    start_ns = stamp_ns - period_ns if of_end else stamp_ns
    ahead_ns = max(0, start_ns - now_ns)  # nothing begins after it was delivered: so far off it is at least
    return Exposure(start_ns, _ROUNDING_NS + (period_ns if of_end else 0) + ahead_ns)


def implausible(start_ns: int, previous_ns: int | None, *, now_ns: int, period_ns: int, buffers: int) -> str:
    """Say why this start of exposure cannot be true; empty when it can.

    A frame may wait in every buffer of the queue before it is taken, so old means older than that and 2 s more.
    """
    late_ns = now_ns - start_ns
    if -late_ns > max(_FUTURE_NS, period_ns):
        return f"it lies {-late_ns / 1e9:.3f} s in the future"
    if late_ns > _OLD_NS + (buffers + 2) * period_ns:
        return f"it is {late_ns / 1e9:.3f} s old"
    if previous_ns is not None and start_ns <= previous_ns:
        return f"it goes back by {(previous_ns - start_ns) / 1e6:.3f} ms"
    return ""


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
