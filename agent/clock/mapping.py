"""From a reading of one of this machine's clocks to a stamp: a straight line and what is known of its error. Pure.

Between two looks at the hardware a mapping answers alone: its bound grows with the time since its newest pair, so that
a clock process that died, hangs or lost its pairs can never leave a stamp that claims too much.
"""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import asdict, dataclass
from typing import Any, Final

from touchline.errors import InputError
from touchline.timeline import ClockState, Stamp, Timebase

MAX_BOUND_NS: Final = 1 << 60
LEAST_WANDER_PPB_PER_S: Final = 0.01
"""No oscillator holds its rate for ever, whatever the configuration says: 18 ns after a minute, 65 us after an hour. So
the bound of a mapping that gets no pairs leaves every limit behind."""
_PPB: Final = 1e-9
_MAX_RATE_PPB: Final = 1e9  # a slope of two; at minus one time would stand still


@dataclass(frozen=True, slots=True)
class Pair:
    """One moment on two clocks: ``base_ns`` on a timebase of this machine, ``ptp_ns`` on the PTP side.

    ``half_ns``: how far the two may be apart for reasons that do not average out (half a bracket, half a tick).
    """

    base_ns: int
    ptp_ns: int
    half_ns: float


@dataclass(frozen=True, slots=True)
class Growth:
    """How a bound grows with age t, in s: ``rate_ppb`` t + ``wander_ppb_per_s`` t^2 / 2, in ns.

    ``rate_ppb``: how wrong the line's slope may be. ``wander_ppb_per_s``: how fast the oscillator may change (heat).
    """

    rate_ppb: float
    wander_ppb_per_s: float

    def after(self, age_ns: float) -> float:
        """Return what is added to the bound, ns, for an age before or after the newest pair."""
        age_s = abs(age_ns) * 1e-9
        return self.rate_ppb * age_s + 0.5 * max(self.wander_ppb_per_s, LEAST_WANDER_PPB_PER_S) * age_s * age_s


@dataclass(frozen=True, slots=True)
class Mapping:
    """PTP time of readings of one timebase.

    ``base_ns``, ``ptp_ns``: a point of the line; ``rate_ppb``: its slope less one. ``newest_ns``: base time of the
    newest pair that has a say in it. ``bound_ns``: of the line at that pair, covering at least 99.9 % of the stamps
    made from it at once. ``locked``: pairs come and the servo is locked; it counts for ``fresh_ns`` after the newest
    pair, then the mapping holds over. Beyond ``limit_ns`` a stamp is unlocked, whatever the servo says.
    """

    timebase: Timebase
    base_ns: int
    ptp_ns: int
    rate_ppb: float
    newest_ns: int
    bound_ns: float
    growth: Growth
    locked: bool
    fresh_ns: int
    limit_ns: int
    epoch: int

    def ptp_at(self, base_ns: int) -> int:
        """Return the PTP time of a reading, ns."""
        since_ns = base_ns - self.base_ns
        return self.ptp_ns + since_ns + round(since_ns * self.rate_ppb * _PPB)

    def base_at(self, ptp_ns: int) -> int:
        """Return the reading that has this PTP time, ns; :meth:`ptp_at` backwards, to a few ns."""
        since_ns = ptp_ns - self.ptp_ns
        slope = self.rate_ppb * _PPB
        return self.base_ns + since_ns - round(since_ns * slope / (1.0 + slope))

    def bound_at(self, base_ns: int) -> int:
        """Return the bound of that time, ns; never less than 1."""
        grown_ns = self.bound_ns + self.growth.after(base_ns - self.newest_ns)
        return max(1, min(MAX_BOUND_NS, int(grown_ns) + 1))

    def at(self, base_ns: int) -> Stamp:
        """Return the stamp of a reading."""
        bound_ns = self.bound_at(base_ns)
        if bound_ns > self.limit_ns:
            state = ClockState.UNLOCKED
        elif self.locked and base_ns - self.newest_ns <= self.fresh_ns:
            state = ClockState.LOCKED
        else:
            state = ClockState.HOLDOVER
        return Stamp(self.ptp_at(base_ns), bound_ns, self.epoch, state)

    def document(self) -> dict[str, Any]:
        """As plain values; :func:`mapping_of` reads it back."""
        return {**asdict(self), "timebase": self.timebase.value}


def mapping_of(document: Table[str, Any]) -> Mapping:
    """Read :meth:`Mapping.document`; raises InputError for anything that is not one."""
    try:
        fields = dict(document)
        growth = dict(fields.pop("growth"))
        mapping = Mapping(
            timebase=Timebase(fields.pop("timebase")),
            growth=Growth(_size(growth.pop("rate_ppb")), _size(growth.pop("wander_ppb_per_s"))),
            rate_ppb=_number(fields.pop("rate_ppb"), _MAX_RATE_PPB),
            bound_ns=_size(fields.pop("bound_ns")),
            locked=_truth(fields.pop("locked")),
            epoch=_whole(fields.pop("epoch"), _EPOCHS),
            **{name: _whole(fields.pop(name)) for name in _WHOLE},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"no clock mapping: {error!r}", hint=_HINT) from error
    if fields or growth:
        raise InputError(f"no clock mapping: unknown fields {[*fields, *growth]}", hint=_HINT)
    return mapping


_WHOLE: Final = ("base_ns", "ptp_ns", "newest_ns", "fresh_ns", "limit_ns")
_EPOCHS: Final = 1 << 32  # as many as a frame ring can tell apart
_HINT: Final = "restart the agent: it writes a new one"


def _number(value: object, limit: float = MAX_BOUND_NS) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < limit:
        raise ValueError(f"{value!r} is not a finite number below {limit:g}")
    return float(value)


def _size(value: object) -> float:
    if _number(value) < 0:
        raise ValueError(f"{value!r} is negative: a bound never shrinks")
    return _number(value)


def _whole(value: object, limit: int = 1 << 63) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < limit:
        raise ValueError(f"{value!r} is not a whole number below {limit}")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value
