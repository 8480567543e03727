"""An alarm with hysteresis and hold time: a short peak is none, and one that is there does not flicker."""

from __future__ import annotations

from dataclasses import dataclass, replace

LEAST_LOOKS = 3  # however long the time between two looks: one peak, seen twice, has not lasted


@dataclass(frozen=True, slots=True)
class Limit:
    """Begins above ``over_w``, ends below ``clear_w``; either must hold at each look for ``hold_ns``."""

    over_w: float
    clear_w: float
    hold_ns: int


@dataclass(frozen=True, slots=True)
class HoldState:
    """``since_ns``: when ``alarm`` last changed. ``turn_ns``: since when the other side of the limit is seen."""

    alarm: bool = False
    since_ns: int | None = None
    turn_ns: int | None = None
    looks: int = 0


def hold(limit: Limit, state: HoldState, watts: tuple[float, float | None], now_ns: int) -> HoldState:
    """Take one look. ``watts``: at least and at most; None: unknown, which ends no alarm."""
    low_w, high_w = watts
    turns = (high_w is not None and high_w < limit.clear_w) if state.alarm else low_w > limit.over_w
    if not turns:
        return replace(state, turn_ns=None, looks=0)
    turn_ns = now_ns if state.turn_ns is None else state.turn_ns
    looks = min(state.looks + 1, LEAST_LOOKS)
    if looks >= LEAST_LOOKS and now_ns - turn_ns >= limit.hold_ns:
        return HoldState(not state.alarm, now_ns)
    return replace(state, turn_ns=turn_ns, looks=looks)
