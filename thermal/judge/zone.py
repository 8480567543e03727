"""One zone: is this value believed? Upwards at once, downwards no faster than metal cools, unchanged not for ever."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace

from thermal.judge import rules as r
from thermal.judge.plain import doubt, why_not, why_not_now
from thermal.judge.rules import NS_PER_S, Rules
from thermal.judge.state import ZoneMemory
from thermal.judge.still import Movers, believe_moving, stand
from thermal.types import Failed, Fresh, Raw, Reading

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
    movers = Movers(((around.power_w, r.FROZEN_W), (around.others_c, r.FROZEN_C)), r.FROZEN_NS, "power or neighbours")
    still = stand(known.still, raw.value, movers, around.at_ns)
    memory, reading = believe_moving(still, known.memory, movers, (around.at_ns, around.now_ns))
    return ZoneMemory(memory, _base(known, raw.value, around.at_ns), still), reading


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
