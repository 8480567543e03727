"""The tachometer: errno, range and age, and whether it follows the duty."""

from __future__ import annotations

from thermal.judge import rules as r
from thermal.judge.plain import doubt, why_not, why_not_now
from thermal.judge.rules import Rules
from thermal.judge.state import TachometerMemory
from thermal.judge.still import Movers, believe_moving, stand
from thermal.types import Fresh, Raw, Reading


def tachometer(
    rules: Rules, known: TachometerMemory, raw: Raw, duty: Reading, when: tuple[int, int]
) -> tuple[TachometerMemory, Reading]:
    """Judge the rpm beside the duty read back. A rotor at rest is no frozen tachometer: that is judged as a stall."""
    why = why_not(raw, r.RPM) or why_not_now(rules, *when)
    if why or raw.value is None:
        memory, reading = doubt(rules, known.memory, why, when[1])
        return TachometerMemory(memory, known.still), reading
    duty_pct = duty.value if isinstance(duty, Fresh) and raw.value > 0.0 else None
    movers = Movers(((duty_pct, r.TACH_PCT),), r.TACH_NS, "the duty")
    still = stand(known.still, raw.value, movers, when[0])
    memory, reading = believe_moving(still, known.memory, movers, when)
    return TachometerMemory(memory, still), reading
