"""The clock ladder (THM-3): down when the fan has nothing left to give, at once when it is hot, up again slowly."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from thermal.control.settings import Settings, caps
from thermal.control.state import CapState, DutyState, FanState, lasted, since
from thermal.judge.rules import NS_PER_S
from thermal.judge.state import Readings
from thermal.types import Fresh

SATURATED_PCT: Final = 99.5
SATURATED_NS: Final = 5 * NS_PER_S  # the fan needs a moment to get there
CONFIRM_NS: Final = 3 * NS_PER_S // 2  # two looks: a spike of one look costs no clocks
FALLING_C: Final = 0.5  # so much cooler since the last rung: that rung still works, no other yet
OFF_LIMIT_PCT: Final = 95.0  # asked of the fan by temperature alone: it has something left to give
SIGHT_NS: Final = 10 * NS_PER_S  # seeing, or driving the fan, for so long ends what blindness or its refusal took
MOST_WAITS: Final = 16
APPLY_NS: Final = 3 * NS_PER_S  # a limit is written at once, clocks follow within 0.1 s, and three looks say so
TOLERANCE: Final = 1.02  # of clocks read back: counters read a percent off, steps lie 3.5 % (CPU) and 8 % (GPU) apart


def ladder(
    settings: Settings, state: CapState, readings: Readings, fan: tuple[DutyState, FanState], now_ns: int
) -> CapState:
    """Move the ladder on. ``fan``: the duty of this tick, and how the fan is."""
    hot_c, fan_state = readings.hot.value_c, fan[1]
    if hot_c is None:
        return lower(settings, replace(state, calm_ns=None), now_ns)
    state = _watch(settings, state, readings, fan, now_ns)
    if _at_once(settings, state, hot_c, fan_state, now_ns):
        waits = _relapse(settings, state, now_ns)
        state = replace(state, level=settings.lowest, waits=waits, released_ns=None, looked_ns=now_ns, looked_c=hot_c)
    elif _due(settings, state, now_ns) and _wanted(settings, state, hot_c, now_ns):
        state = _look(settings, state, hot_c, now_ns)
    elif _releasable(settings, state, now_ns):
        state = replace(state, level=state.level - 1, released_ns=now_ns, calm_ns=now_ns)
    return _give(settings, state, now_ns)


def _watch(
    settings: Settings, state: CapState, readings: Readings, fan: tuple[DutyState, FanState], now_ns: int
) -> CapState:
    hot, (duty, fan_state) = readings.hot, fan
    hot_c = settings.cap_now_c if hot.value_c is None else hot.value_c
    cool_c = settings.low_c if fan_state.stalled else settings.release_below_c
    cool = hot.source == "tj" and hot_c < cool_c and duty.want_pct < OFF_LIMIT_PCT
    return replace(
        state,
        saturated_ns=since(duty.duty_pct >= SATURATED_PCT, state.saturated_ns, now_ns),
        hot_ns=since(hot_c >= settings.cap_now_c, state.hot_ns, now_ns),
        calm_ns=since(cool, state.calm_ns, now_ns),
        over_ns=since(_over(settings, state, readings), state.over_ns, now_ns),
    )


def _at_once(settings: Settings, state: CapState, hot_c: float, fan: FanState, now_ns: int) -> bool:
    """To the lowest rung now: too hot for two looks, or above the set point with a fan that stands."""
    if state.level >= settings.lowest:
        return False
    return lasted(state.hot_ns, now_ns) >= CONFIRM_NS or (fan.stalled and hot_c >= settings.set_point_c)


def _wanted(settings: Settings, state: CapState, hot_c: float, now_ns: int) -> bool:
    """A rung down is wanted: too hot with the fan at its limit; the last resort only where it is far too hot."""
    if state.level >= settings.lowest:
        return state.level == settings.lowest and lasted(state.hot_ns, now_ns) >= CONFIRM_NS
    return hot_c > settings.cap_above_c and lasted(state.saturated_ns, now_ns) >= SATURATED_NS


def _due(settings: Settings, state: CapState, now_ns: int) -> bool:
    return state.looked_ns is None or now_ns - state.looked_ns >= settings.cap_every_ns


def _look(settings: Settings, state: CapState, hot_c: float, now_ns: int) -> CapState:
    """A rung down, unless the last one is seen to work."""
    recent = state.looked_ns is not None and now_ns - state.looked_ns < 2 * settings.cap_every_ns
    works = recent and state.level > 0 and hot_c <= state.looked_c - FALLING_C
    works = works and not ignored(state, now_ns)
    level = state.level if works else state.level + 1
    waits = state.waits if works else _relapse(settings, state, now_ns)
    released_ns = state.released_ns if works else None
    return replace(state, level=level, looked_ns=now_ns, looked_c=hot_c, waits=waits, released_ns=released_ns)


def _relapse(settings: Settings, state: CapState, now_ns: int) -> int:
    """How many intervals the next release waits: twice as many if the last one did not hold, one if long ago."""
    if state.released_ns is None:
        return state.waits
    held = lasted(state.released_ns, now_ns)
    return min(MOST_WAITS, 2 * state.waits) if held < 3 * state.waits * settings.release_every_ns else 1


def _releasable(settings: Settings, state: CapState, now_ns: int) -> bool:
    return state.level > 0 and lasted(state.calm_ns, now_ns) >= state.waits * settings.release_every_ns


def lower(settings: Settings, state: CapState, now_ns: int) -> CapState:
    """Nothing to act on, or no fan to act with: the lowest rung, now and until that has been over for a while."""
    return _give(settings, replace(state, helpless_ns=now_ns), now_ns)


def _give(settings: Settings, state: CapState, now_ns: int) -> CapState:
    """What is commanded: what heat asks for, or the lowest rung while helpless and shortly after."""
    helpless = state.helpless_ns is not None and now_ns - state.helpless_ns < SIGHT_NS
    given = max(settings.lowest, state.level) if helpless else state.level
    return replace(state, given=given)


def _over(settings: Settings, state: CapState, readings: Readings) -> bool:
    """A domain runs faster than the cap that was given, or may."""
    asked = caps(settings, state.given)
    clocks = readings.clock_hz
    return any(
        isinstance(clock, Fresh) and clock.value > hz * TOLERANCE
        for domain, hz in asked.items()
        if (clock := clocks.get(domain)) is not None
    )


def ignored(state: CapState, now_ns: int) -> bool:
    """The cap given last was not applied."""
    return lasted(state.over_ns, now_ns) >= APPLY_NS


def unseen(settings: Settings, state: CapState, readings: Readings) -> list[str]:
    """Domains whose cap nobody can check."""
    return [d for d in caps(settings, state.given) if not isinstance(readings.clock_hz.get(d), Fresh)]
