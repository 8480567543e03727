"""What the law remembers from tick to tick. Frozen, plain values; times in CLOCK_MONOTONIC ns, None where not now."""

from __future__ import annotations

from dataclasses import dataclass

from thermal.types import Fault


@dataclass(frozen=True, slots=True)
class DutyState:
    """The fan law. ``duty_pct`` is what was commanded last, full before the first tick; that one may fall at once."""

    duty_pct: float = 100.0
    want_pct: float = 100.0  # what temperature alone asks for, before slew and what the fan's own state asks for
    smooth_c: float | None = None
    integral_pct: float = 0.0
    power_w: float | None = None  # smoothed over a few seconds
    sink_w: float | None = None  # the same as the heatsink feels it, over sink_s
    sink_ambient_c: float | None = None


@dataclass(frozen=True, slots=True)
class FanState:
    """The tachometer and the register read back."""

    standing_ns: int | None = None
    turning_ns: int | None = None
    stalled: bool = False
    slow_ns: int | None = None
    differs_ns: int | None = None


@dataclass(frozen=True, slots=True)
class CapState:
    """The clock ladder. ``level`` is what heat asks for; ``given`` what was commanded, blindness included."""

    level: int = 0
    given: int = 0
    saturated_ns: int | None = None  # fan at full since
    hot_ns: int | None = None  # at or above cap_now_c since
    calm_ns: int | None = None  # fit for a release since
    looked_ns: int | None = None  # the last decision about a rung down
    looked_c: float = 0.0
    released_ns: int | None = None
    waits: int = 1  # times release_every: doubled on relapse
    helpless_ns: int | None = None  # blind, or with a fan that refuses, last
    over_ns: int | None = None  # clocks read back above the cap since


@dataclass(frozen=True, slots=True)
class ControlState:
    """What :func:`thermal.control.step` takes and gives; ``ControlState()`` before the first tick."""

    stepped_ns: int | None = None
    duty: DutyState = DutyState()
    fan: FanState = FanState()
    caps: CapState = CapState()
    faults: tuple[Fault, ...] = ()


def lasted(since_ns: int | None, now_ns: int) -> int:
    """How long something has lasted, ns; 0 when it does not hold."""
    return 0 if since_ns is None else max(0, now_ns - since_ns)


def since(holds: bool, since_ns: int | None, now_ns: int) -> int | None:
    """The start of what holds now, None when it does not."""
    return (now_ns if since_ns is None else since_ns) if holds else None
