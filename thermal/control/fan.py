"""Does the fan do what it is told? The tachometer, and the register read back: somebody else may write it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from thermal.control.settings import Settings
from thermal.control.state import FanState, lasted, since
from thermal.judge.rules import NS_PER_S
from thermal.judge.state import Readings
from thermal.types import Failed, Fresh

TURNS_NS: Final = 5 * NS_PER_S  # turning for so long ends a stall
SLOW_NS: Final = 10 * NS_PER_S  # spin-up and spin-down are over by then
SLOW_SHARE: Final = 0.7  # of the rpm that the duty stands for; a PWM fan's rpm is near enough proportional to it
DIFFERS_PCT: Final = 2.0  # a step of the register is 0.4 %
DIFFERS_NS: Final = 3 * NS_PER_S // 2  # two looks in a row


def supervise(settings: Settings, state: FanState, readings: Readings, last_pct: float, now_ns: int) -> FanState:
    """Move the supervision on. ``last_pct``: the duty commanded before this look."""
    state = replace(state, differs_ns=since(_differs(readings, last_pct), state.differs_ns, now_ns))
    if not settings.tachometer:
        return state
    rpm = readings.fan_rpm
    if not isinstance(rpm, Fresh):
        return replace(state, turning_ns=None, slow_ns=None)  # a stall stays, its clock too
    standing = rpm.value < settings.stall_rpm
    state = replace(
        state,
        standing_ns=since(standing, state.standing_ns, now_ns),
        turning_ns=since(not standing, state.turning_ns, now_ns),
        slow_ns=since(rpm.value < _expected(settings, last_pct) * SLOW_SHARE, state.slow_ns, now_ns),
    )
    stalled = lasted(state.standing_ns, now_ns) >= settings.stall_ns
    freed = lasted(state.turning_ns, now_ns) >= TURNS_NS
    return replace(state, stalled=stalled or (state.stalled and not freed))


def unheard(settings: Settings, readings: Readings, now_ns: int) -> str:
    """Why the tachometer says nothing (it fails, it is frozen); empty when it does, or is only late by a look."""
    rpm = readings.fan_rpm
    if not settings.tachometer or isinstance(rpm, Fresh):
        return ""
    return rpm.why if isinstance(rpm, Failed) or now_ns - rpm.at_ns > settings.stale_ns else ""


def least(settings: Settings, state: FanState, readings: Readings, now_ns: int) -> float:
    """The least duty that the fan's own state asks for, %: all of it when nobody can tell that it turns."""
    if state.stalled or unheard(settings, readings, now_ns):
        return 100.0
    return settings.kick_duty_pct if state.standing_ns is not None else 0.0


def slow(state: FanState, now_ns: int) -> bool:
    """Far below the rpm of its duty for longer than it takes to get there."""
    return not state.stalled and state.standing_ns is None and lasted(state.slow_ns, now_ns) >= SLOW_NS


def taken(state: FanState, now_ns: int) -> bool:
    """The register reads back something else than was written."""
    return lasted(state.differs_ns, now_ns) >= DIFFERS_NS


def _expected(settings: Settings, duty_pct: float) -> float:
    return settings.full_rpm * duty_pct / 100.0


def _differs(readings: Readings, last_pct: float) -> bool:
    back = readings.duty_pct
    return isinstance(back, Fresh) and abs(back.value - last_pct) > DIFFERS_PCT
