"""Axes of the clock's plot: where a value is drawn, which values are marked, and their words. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from agent.clock.history import Row
from agent.clock.show import age_text
from touchline.units import format_duration, unit_of_duration

_LINEAR_UP_TO: Final = 8.0  # largest value against the usual bound, before the axis becomes logarithmic
_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


@dataclass(frozen=True, slots=True)
class Axis:
    """From ``low``..``high`` to 0..1: straight, or with ``bend`` like log10(1 + |v| / bend), straight near 0."""

    low: float
    high: float
    bend: float = 0.0

    def place(self, value: float) -> float:
        """Return 0 for ``low`` and 1 for ``high``; what lies beyond is drawn at the edge."""
        value = min(max(value, self.low), self.high)
        low, high = self._bent(self.low), self._bent(self.high)
        return (self._bent(value) - low) / (high - low)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Values to mark and their words, 0 among them when it is in reach; at most ``most`` on a straight axis."""
        if not self.bend:
            step = nice_step((self.high - self.low) / most)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            size, unit = unit_of_duration(max(abs(self.low), abs(self.high)))
            digits = max(0, -math.floor(math.log10(step / size) + 1e-9))
            values = [step * place for place in range(first, last + 1)]
            return [(one, f"{one / size:.{digits}f} {unit}" if one else "0") for one in values]
        decades = [self.bend * 10.0**power for power in range(20) if self.bend * 10.0**power <= self.high]
        decades = decades[:: max(1, math.ceil(len(decades) / 6))]
        values = [*(-one for one in reversed(decades)), 0.0, *decades]
        return [(one, format_duration(one) if one else "0") for one in values]

    def _bent(self, value: float) -> float:
        return math.copysign(math.log10(1.0 + abs(value) / self.bend), value) if self.bend else value


def nice_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(one * power for one in (1.0, 2.0, 5.0, 10.0) if one * power >= least * (1 - 1e-9))


def error_axis(rows: Sequence[Row], limit_ns: float) -> Axis:
    """Symmetric about 0, wide enough for every offset, every bound and the limit."""
    usual = max(1.0, median(row.bound_ns for row in rows))
    high = max(limit_ns, *(max(row.bound_ns, abs(row.offset_ns or 0.0)) for row in rows))
    if high <= _LINEAR_UP_TO * usual:
        return Axis(-1.08 * high, 1.08 * high)
    return Axis(-1.6 * high, 1.6 * high, max(1.0, 10.0 ** math.floor(math.log10(usual / 2.0))))


def delay_axis(values: Sequence[float]) -> Axis:
    """All values with some air: 10 ns at the least, and never less than floating point can tell apart."""
    low, high = min(values), max(values)
    air = max(0.15 * (high - low), 10.0, 1e-9 * max(abs(low), abs(high)))
    return Axis(low - air, high + air)


def time_step_s(span_s: float) -> int:
    """Distance of the ticks of time, s."""
    return next((step for step in _STEPS_S if span_s / step <= 11), math.ceil(span_s / 11 / 86_400) * 86_400)


def time_label(at_s: float, clock_s: float | None, seconds: bool) -> str:
    """A tick's time of day; ``clock_s``: UTC of the newest line, None where it is not known: then how long ago."""
    if clock_s is None:
        return age_text(abs(at_s)) if at_s <= 0 else f"+{age_text(at_s)}"
    of_day = round(clock_s + at_s) % 86_400
    text = f"{of_day // 3600:02d}:{of_day // 60 % 60:02d}"
    return f"{text}:{of_day % 60:02d}" if seconds else text
