"""One zone: is this value believed? Upwards at once, downwards no faster than metal cools, unchanged not for ever."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace

from thermal.judge import rules as r
from thermal.judge.plain import doubt, why_not, why_not_now
from thermal.judge.rules import NS_PER_S, Rules
from thermal.judge.state import Memory, Span, ZoneMemory
from thermal.types import Failed, Fresh, Raw, Reading, Stale

GATED = "switched off (EAGAIN)"


@dataclass(frozen=True, slots=True)
class Around:
    """What else this look says: its times, the power and the hottest of the other zones, where known."""

    at_ns: int
    now_ns: int
    power_w: float | None
    others_c: float | None


def zone(rules: Rules, known: ZoneMemory, raw: Raw | None, around: Around) -> tuple[ZoneMemory, Reading]:
    """Judge one look at one zone."""
    if raw is not None and raw.errno == errno.EAGAIN:
        memory, _ = doubt(rules, known.memory, GATED, around.now_ns)
        return ZoneMemory(memory), Failed(memory.failed_ns or 0, GATED)
    why = why_not(raw, (r.COLDEST_C, r.HOTTEST_C)) or why_not_now(rules, around.at_ns, around.now_ns)
    if why or raw is None or raw.value is None:
        return _doubt(rules, known, why, around.now_ns)
    if raw.value == 0.0:  # to the millikelvin: what a missing zone reads
        return _doubt(rules, known, "reads exactly 0", around.now_ns)
    why = _fell(known, raw.value, around.at_ns)
    if why:
        return _doubt(rules, known, why, around.now_ns)
    return _frozen(_unchanged(known, raw.value, around), raw.value, around)


def _doubt(rules: Rules, known: ZoneMemory, why: str, now_ns: int) -> tuple[ZoneMemory, Reading]:
    memory, reading = doubt(rules, known.memory, why, now_ns)
    return replace(known, memory=memory), reading


def _fell(known: ZoneMemory, value: float, at_ns: int) -> str:
    """Why a value is too low to be true; empty when it is not. The end of a short spike is no fall."""
    last, base = known.memory.last, known.base
    if last is None:
        return ""
    passed_ns = max(0, at_ns - last.at_ns)
    if value >= last.value - r.DROP_C - r.FALL_C_S * passed_ns / NS_PER_S:
        return ""
    if base is not None and at_ns - base.at_ns <= r.SPIKE_NS and value >= base.value - r.DROP_C:
        return ""
    return f"fell from {last.value:g} to {value:g} in {passed_ns / NS_PER_S:.1f} s, faster than metal cools"


def _base(known: ZoneMemory, value: float, at_ns: int) -> Fresh | None:
    """The value before a jump upwards, as long as the jump may still turn out to be a spike."""
    last, base = known.memory.last, known.base
    if base is not None and at_ns - base.at_ns <= r.SPIKE_NS:
        return base if value > base.value + r.RISE_C else None
    if last is not None and value > last.value + r.RISE_C + r.RISE_C_S * max(0, at_ns - last.at_ns) / NS_PER_S:
        return last
    return None


def _unchanged(known: ZoneMemory, value: float, around: Around) -> ZoneMemory:
    """Keep account of what moved while this zone did not."""
    base = _base(known, value, around.at_ns)
    if value != known.same:
        power, others = _widen(None, around.power_w), _widen(None, around.others_c)
        return ZoneMemory(known.memory, base, value, power, others)
    power, others = _widen(known.power, around.power_w), _widen(known.around, around.others_c)
    moved = _width(power) >= r.FROZEN_W or _width(others) >= r.FROZEN_C
    moved_ns = (around.at_ns if known.moved_ns is None else known.moved_ns) if moved else None
    return ZoneMemory(known.memory, base, value, power, others, moved_ns)


def _frozen(known: ZoneMemory, value: float, around: Around) -> tuple[ZoneMemory, Reading]:
    """The last question: a value that stands still where it cannot is stale since the others moved."""
    if known.moved_ns is not None and around.at_ns - known.moved_ns >= r.FROZEN_NS:
        memory = replace(known.memory, failed_ns=known.memory.failed_ns or around.now_ns)
        stood = (around.at_ns - known.moved_ns) / NS_PER_S
        why = f"frozen at {value:g}: power or neighbours moved {stood:.0f} s ago, it did not"
        return replace(known, memory=memory), Stale(value, known.moved_ns, why)
    fresh = Fresh(value, around.at_ns)
    return replace(known, memory=Memory(fresh)), fresh


def _widen(span: Span | None, value: float | None) -> Span | None:
    if value is None:
        return span
    return (value, value) if span is None else (min(span[0], value), max(span[1], value))


def _width(span: Span | None) -> float:
    return 0.0 if span is None else span[1] - span[0]
