"""One tick of the law: readings in, command and faults out. Pure: time is an argument, nothing is read or written."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from thermal.control.caps import ladder, lower
from thermal.control.duty import FULL_PCT, Wish, law
from thermal.control.fan import least, supervise
from thermal.control.faults import Scene, faults
from thermal.control.settings import Settings
from thermal.control.state import ControlState
from thermal.judge.rules import NS_PER_S
from thermal.judge.state import Readings
from thermal.types import Command, Fault

LONGEST_S: Final = 5.0  # a longer gap moves filters and integral by no more than this


def step(
    settings: Settings, state: ControlState, readings: Readings, now_ns: int
) -> tuple[ControlState, Command, tuple[Fault, ...]]:
    """Decide fan duty and clock level. A tick that came too late, or from before the last one, is at full duty."""
    gap_ns = settings.period_ns if state.stepped_ns is None else now_ns - state.stepped_ns
    late = gap_ns > settings.deadline_ns or gap_ns < 0
    dt_s = min(max(0, gap_ns) / NS_PER_S, LONGEST_S)
    fan = supervise(settings, state.fan, readings, state.duty.duty_pct, now_ns)
    least_pct = FULL_PCT if late else least(settings, fan, readings, now_ns)
    wish = Wish(least_pct, calm=readings.hot.source == "tj", first=state.stepped_ns is None)
    duty = law(settings, state.duty, readings, wish, dt_s)
    caps = ladder(settings, state.caps, readings, (duty, fan), now_ns)
    new = ControlState(now_ns, duty, fan, caps, state.faults)
    found = faults(Scene(settings, new, readings, gap_ns / NS_PER_S if late else 0.0, now_ns))
    return ControlState(now_ns, duty, fan, caps, found), Command(duty.duty_pct, caps.given), found


def undriven(settings: Settings, state: ControlState, command: Command, now_ns: int) -> tuple[ControlState, Command]:
    """The fan refused this command and does not run at it: clocks down at once, and watched like any other cap."""
    caps = lower(settings, state.caps, now_ns)
    return replace(state, caps=caps), replace(command, cap_level=caps.given)
