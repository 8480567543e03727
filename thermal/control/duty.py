"""The fan law: the asked line as the floor, above it PI on tj and what power will do to it, then slew and band.

Formulae and where they come from: README.md beside this file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from thermal.control.settings import Settings
from thermal.control.state import DutyState
from thermal.judge.state import Readings
from thermal.types import Fresh, Reading

SMOOTH_S: Final = 12.0  # of tj: a tenth of the heatsink's time constant; what is faster, no fan can cool
POWER_S: Final = 3.0  # of power: against the noise of one look, and early enough to be ahead of tj
CREEP_S: Final = 30.0  # within the band the duty falls so slowly that nobody hears it
FULL_PCT: Final = 100.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What others ask of the fan this tick: at least so much, may it get quieter, is this the first tick."""

    least_pct: float
    calm: bool
    first: bool = False


def line(settings: Settings, temp_c: float) -> float:
    """The asked line (THM-1), %: low_duty_pct at low_c to 100 at full_c, never below min_duty_pct."""
    share = (temp_c - settings.low_c) / (settings.full_c - settings.low_c)
    duty = settings.low_duty_pct + (FULL_PCT - settings.low_duty_pct) * share
    return min(FULL_PCT, max(settings.min_duty_pct, duty))


def law(settings: Settings, state: DutyState, readings: Readings, wish: Wish, dt_s: float) -> DutyState:
    """One tick: what to command, with the filters and the integral moved on by ``dt_s``."""
    state = _feel(settings, state, readings, dt_s)
    hot_c = readings.hot.value_c
    if hot_c is None:
        return replace(state, duty_pct=FULL_PCT, want_pct=FULL_PCT, smooth_c=None)
    smooth_c = _follow(state.smooth_c, hot_c, dt_s, SMOOTH_S)
    error_c = smooth_c - settings.set_point_c
    state = replace(state, smooth_c=smooth_c, integral_pct=_integrate(settings, state, error_c, dt_s))
    ahead_c = smooth_c + rise_ahead(settings, state, readings.ambient_c)
    push = settings.gain_pct_c * (ahead_c - settings.set_point_c) + state.integral_pct
    floor = line(settings, hot_c)
    want = max(floor, min(FULL_PCT, line(settings, smooth_c) + push)) if push > 0.0 else floor
    bounds = (max(floor, wish.least_pct), max(want, wish.least_pct))
    return replace(state, want_pct=want, duty_pct=_slew(settings, state.duty_pct, bounds, wish, dt_s))


def rise_ahead(settings: Settings, state: DutyState, ambient: Reading | None) -> float:
    """What the heatsink will still rise within ``ahead_s`` at this power and ambient, K; never below 0."""
    rise_c = 0.0
    if state.power_w is not None and state.sink_w is not None:
        rise_c += settings.sink_k_w * (state.power_w - state.sink_w)
    if isinstance(ambient, Fresh) and state.sink_ambient_c is not None:
        rise_c += ambient.value - state.sink_ambient_c
    return max(0.0, rise_c) * -math.expm1(-settings.ahead_s / settings.sink_s)


def _feel(settings: Settings, state: DutyState, readings: Readings, dt_s: float) -> DutyState:
    """Move the filters of power and ambient on. Without a fresh value they stand: nothing is known to change."""
    power, ambient = readings.power_w, readings.ambient_c
    if isinstance(power, Fresh):
        smooth_w = _follow(state.power_w, power.value, dt_s, POWER_S)
        sink_w = _follow(state.sink_w, smooth_w, dt_s, settings.sink_s)
        state = replace(state, power_w=smooth_w, sink_w=sink_w)
    if isinstance(ambient, Fresh):
        state = replace(state, sink_ambient_c=_follow(state.sink_ambient_c, ambient.value, dt_s, settings.sink_s))
    return state


def _follow(last: float | None, value: float, dt_s: float, over_s: float) -> float:
    """A low-pass filter of first order, exact for a value that held since the last tick."""
    return value if last is None else last + (value - last) * -math.expm1(-dt_s / over_s)


def _integrate(settings: Settings, state: DutyState, error_c: float, dt_s: float) -> float:
    """The integral, between 0 and what the line lacks at the set point: more could never act (anti-windup)."""
    if error_c > 0 and state.duty_pct >= FULL_PCT:
        return state.integral_pct
    moved = state.integral_pct + settings.gain_pct_c / settings.integral_s * error_c * dt_s
    return min(max(0.0, moved), FULL_PCT - line(settings, settings.set_point_c))


def _slew(settings: Settings, last: float, duty: tuple[float, float], wish: Wish, dt_s: float) -> float:
    """Up: to the floor at once, beyond it fast. Down: slowly, in the band hardly, and not at all unless calm."""
    floor, want = duty
    if wish.first and wish.calm:
        return want
    if want >= last:
        return max(floor, min(want, last + settings.up_pct_s * dt_s))
    if not wish.calm:
        return last
    fall = max(want + settings.band_pct, last - settings.down_pct_s * dt_s)
    creep = last - min(settings.down_pct_s, settings.band_pct / CREEP_S) * dt_s
    return max(want, min(fall, creep))
