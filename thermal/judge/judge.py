"""From one look at the board to readings that say how good they are, and to the one temperature to act on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from thermal.judge import rules as r
from thermal.judge.plain import plain
from thermal.judge.rules import MAX_NAMES, TJ, Rules
from thermal.judge.state import Hot, JudgeState, Memory, Readings, Span, ZoneMemory
from thermal.judge.tachometer import tachometer
from thermal.judge.zone import GATED, Around, zone
from thermal.types import Failed, Fresh, Raw, Reading, Sample, Stale

NameT = TypeVar("NameT", bound=str)
Times = tuple[int, int]  # of the look, and now


def judge(settings: Rules, state: JudgeState, sample: Sample, now_ns: int) -> tuple[JudgeState, Readings]:
    """Judge one look. Takes any sample; what is not believed comes back as stale or failed, never as a number."""
    when = (sample.at_ns, now_ns)
    rails, rail_readings = _plains(settings, state.rails, sample.power_w, r.RAIL_W, when)
    clocks, clock_readings = _plains(settings, state.clocks, sample.clock_hz, r.CLOCK_HZ, when)
    duty_memory, duty = plain(settings, state.duty_pct, sample.duty_pct, r.DUTY_PCT, when)
    rpm_memory, rpm = tachometer(settings, state.fan_rpm, sample.fan_rpm, duty, when)
    ambient_memory, ambient = _ambient(settings, state.ambient, sample.ambient_c, when)
    power = _sum(rail_readings.values())
    zones, zone_readings = _zones(settings, state, sample, power, now_ns)
    gated = frozenset(n for n, x in zone_readings.items() if isinstance(x, Failed) and x.why == GATED)
    readings = Readings(
        at_ns=sample.at_ns,
        hot=hottest(settings, zone_readings, now_ns),
        zones=zone_readings,
        gated=gated,
        fan_rpm=rpm,
        duty_pct=duty,
        power_w=power,
        rails=rail_readings,
        clock_hz=clock_readings,
        ambient_c=ambient,
    )
    return JudgeState(zones, rails, clocks, rpm_memory, duty_memory, ambient_memory), readings


def hottest(rules: Rules, zones: Mapping[str, Reading], now_ns: int) -> Hot:
    """The temperature to act on: tj; for a moment its last value; then the others and a margin; then none."""
    fresh = {name: x.value for name, x in zones.items() if isinstance(x, Fresh)}
    others = [value for name, value in fresh.items() if name != TJ]
    tj = zones.get(TJ)
    if isinstance(tj, Fresh):
        return Hot(max([tj.value, *(value - r.AGREE_C for value in others)]), "tj")
    last = [tj.value] if isinstance(tj, Stale) else []
    if isinstance(tj, Stale) and now_ns - tj.at_ns <= rules.stale_ns:
        return Hot(max([*last, *others]), "held")
    if rules.stand_ins and all(name in fresh for name in rules.stand_ins):
        return Hot(max([*last, *(value + rules.stand_in_margin_c for value in others)]), "stand_in")
    return Hot(None, "blind")


def _zones(
    rules: Rules, state: JudgeState, sample: Sample, power: Reading | None, now_ns: int
) -> tuple[dict[str, ZoneMemory], dict[str, Reading]]:
    names = _names((TJ, *rules.stand_ins, *state.zones), sample.zones_c)
    power_w = power.value if isinstance(power, Fresh) else None
    values = {
        name: raw.value
        for name, raw in sample.zones_c.items()
        if raw.value is not None and r.COLDEST_C <= raw.value <= r.HOTTEST_C
    }
    memories: dict[str, ZoneMemory] = {}
    readings: dict[str, Reading] = {}
    for name in names:
        others_c = max((value for other, value in values.items() if other != name), default=None)
        around = Around(sample.at_ns, now_ns, power_w, others_c)
        known = state.zones.get(name, ZoneMemory())
        memories[name], readings[name] = zone(rules, known, sample.zones_c.get(name), around)
    return memories, readings


def _names(known: Iterable[NameT], seen: Iterable[NameT]) -> list[NameT]:
    """Names known and seen, each once, those known first, and no more than a board can have."""
    return list(dict.fromkeys([*known, *seen]))[:MAX_NAMES]


def _plains(
    rules: Rules, known: Mapping[NameT, Memory], raws: Mapping[NameT, Raw], span: Span, when: Times
) -> tuple[dict[NameT, Memory], dict[NameT, Reading]]:
    judged = {n: plain(rules, known.get(n, Memory()), raws.get(n), span, when) for n in _names(known, raws)}
    return {n: memory for n, (memory, _) in judged.items()}, {n: reading for n, (_, reading) in judged.items()}


def _ambient(rules: Rules, known: Memory | None, raw: Raw | None, when: Times) -> tuple[Memory | None, Reading | None]:
    if known is None and raw is None:
        return None, None
    return plain(rules, known or Memory(), raw, r.AMBIENT_C, when)


def _sum(rails: Iterable[Reading]) -> Reading | None:
    """The sum of the rails, as good as the worst of them; None without rails."""
    total, oldest = 0.0, None
    for rail in rails:
        if isinstance(rail, Failed):
            return replace(rail, why=f"a rail: {rail.why}")
        total += max(0.0, rail.value)
        if oldest is None or (isinstance(rail, Stale), -rail.at_ns) > (isinstance(oldest, Stale), -oldest.at_ns):
            oldest = rail
    return None if oldest is None else replace(oldest, value=total)
