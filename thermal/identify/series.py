"""A record as plain columns for the fit: the longest stretch without a gap, on an even grid. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from thermal.record import Entry, Record
from touchline.errors import InputError

GAP_S: Final = 10.0  # without tj, power or fan for longer: the heatsink's temperature is anyone's guess afterwards
MOST_POINTS: Final = 5000  # the fit's time stays below some seconds
LEAST_S: Final = 1200.0  # several time constants of a heatsink
_DIE_WORDS: Final = ("GPU", "CPU")  # rails of the die by their labels; the others heat the sink beside it


@dataclass(frozen=True, slots=True)
class Series:
    """Even steps of ``step_s``. ``share``: fan speed as a share of its full one; ``air_c`` None: no sensor."""

    step_s: float
    tj_c: tuple[float, ...]
    power_w: tuple[float, ...]
    die_w: tuple[float, ...]
    share: tuple[float, ...]
    duty_pct: tuple[float, ...]
    rpm: tuple[float, ...] | None
    air_c: tuple[float, ...] | None
    full_rpm: float | None

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.step_s * len(self.tj_c)


@dataclass(frozen=True, slots=True)
class _Point:
    at_s: float
    tj_c: float
    power_w: float
    die_w: float
    duty_pct: float
    rpm: float | None
    air_c: float | None


def series_of(record: Record) -> Series:
    """The longest usable stretch. Raises InputError that says what is missing."""
    if not record.entries:
        found = f", {record.damaged} damaged lines" if record.damaged else ""
        raise InputError(f"the record holds no ticks{found}", hint="touchline thermal simulate --record makes one")
    points = [point for point in map(_point, record.entries) if point is not None]
    stretch = _longest(points)
    seconds = stretch[-1].at_s - stretch[0].at_s if stretch else 0.0
    if seconds < LEAST_S:
        raise InputError(
            f"the longest stretch with tj, power and duty is {seconds / 60:.1f} min; {LEAST_S / 60:.0f} are needed",
            hint="record a warm-up and at least half an hour of play",
        )
    return _even(stretch, seconds)


def _point(entry: Entry) -> _Point | None:
    sample = entry.sample
    tj = sample.zones_c.get("tj")
    watts = {name: raw.value for name, raw in sample.power_w.items()}
    known = [value for value in watts.values() if value is not None]
    if tj is None or tj.value is None or sample.duty_pct.value is None or not known or len(known) < len(watts):
        return None
    die_w = sum(value for name, value in watts.items() if value is not None and any(w in name for w in _DIE_WORDS))
    ambient = sample.ambient_c
    return _Point(
        at_s=sample.at_ns / 1e9,
        tj_c=tj.value,
        power_w=sum(known),
        die_w=die_w or sum(known),
        duty_pct=sample.duty_pct.value,
        rpm=sample.fan_rpm.value,
        air_c=None if ambient is None else ambient.value,
    )


def _longest(points: Sequence[_Point]) -> Sequence[_Point]:
    best: tuple[int, int] = (0, 0)
    begin = 0
    for place in range(1, len(points) + 1):
        if place == len(points) or points[place].at_s - points[place - 1].at_s > GAP_S:
            if place - begin > best[1] - best[0]:
                best = (begin, place)
            begin = place
    return points[best[0] : best[1]]


def _even(points: Sequence[_Point], seconds: float) -> Series:
    """Means over even steps; an empty step takes the one before."""
    step_s = max(1.0, seconds / MOST_POINTS)
    columns: list[list[_Point]] = [[] for _ in range(int(seconds / step_s) + 1)]
    for point in points:
        columns[int((point.at_s - points[0].at_s) / step_s)].append(point)
    filled: list[list[_Point]] = []
    for column in columns:
        filled.append(column or filled[-1][-1:])
    duty = [_mean([one.duty_pct for one in column]) for column in filled]
    rpm = _optional([[one.rpm for one in column] for column in filled])
    full_rpm = _full_rpm(duty, rpm, max(2, round(8.0 / step_s))) if rpm else None
    share = [value / 100.0 for value in duty]
    if rpm is not None and full_rpm is not None:
        share = [min(value / full_rpm, 1.2) for value in rpm]
    air = _optional([[one.air_c for one in column] for column in filled])
    return Series(
        step_s=step_s,
        tj_c=tuple(_mean([one.tj_c for one in column]) for column in filled),
        power_w=tuple(_mean([one.power_w for one in column]) for column in filled),
        die_w=tuple(_mean([one.die_w for one in column]) for column in filled),
        share=tuple(share),
        duty_pct=tuple(duty),
        rpm=None if rpm is None else tuple(rpm),
        air_c=None if air is None else tuple(air),
        full_rpm=full_rpm,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _optional(columns: Sequence[Sequence[float | None]]) -> list[float] | None:
    """Means where there are values, the last one where there are none; None when more than a tenth is missing."""
    found: list[float | None] = []
    for column in columns:
        known = [value for value in column if value is not None]
        found.append(_mean(known) if known else None)
    known = [value for value in found if value is not None]
    if len(known) < 0.9 * len(found):
        return None
    last, filled = known[0], []
    for value in found:
        last = last if value is None else value
        filled.append(last)
    return filled


def _full_rpm(duty: Sequence[float], rpm: Sequence[float], settle: int) -> float | None:
    """Speed at full duty from a line through the origin over the moments when the duty has rested (least squares)."""
    top = bottom = 0.0
    for place in range(settle, len(duty)):
        window = duty[place - settle : place + 1]
        if max(window) - min(window) < 2.0 and rpm[place] > 0:
            top += duty[place] * rpm[place]
            bottom += duty[place] ** 2
    return 100.0 * top / bottom if bottom > 0 else None
