"""A run in figures: how hot, how loud, how restless, at what cost. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from thermal.plant.spec import Fan
from thermal.simulate.run import Run

ASKED_C: Final = 68.0  # THM-1
BAR_C: Final = 70.0  # of the issue: never above where the full fan could hold it
THM3_C: Final = 74.0
HOLD_S: Final = 300.0  # two to three time constants of the heatsink
REVERSAL_PCT: Final = 5.0  # a change of direction counts from this size on
BUSY_LOAD: Final = 0.85  # the deviation counts where the set point can matter: at match load
_SETTLE_S: Final = 300.0  # after each rise to match load
_QUIET_DBA: Final = 15.0  # a standing fan is not minus infinity loud


@dataclass(frozen=True, slots=True)
class Figures:
    """What is said of one run. Temperatures are the truth, not what was read."""

    peak_c: float
    above_68_s: float
    above_70_s: float
    rms_k: float | None  # deviation from the set point at match load, 5 min after its begin; None: no such time
    fan_wh: float  # electrical, cube law
    noise_dba: float  # energy mean over the run, 50 log10 of the speed
    peak_dba: float
    reversals_per_h: float  # of the duty, larger than 5 %
    mean_duty_pct: float
    capped_s: float
    lost_pct: float  # asked work not done
    mean_power_w: float


def figures(run: Run, fan: Fan | None = None) -> Figures:
    """The figures of a run."""
    spec, tick_s, count = fan or Fan(), run.tick_s, len(run)
    tj, duty = run["tj_c"], run["duty_pct"]
    levels = [_dba(spec, rpm) for rpm in run["rpm"]]
    asked = sum(run["load"])
    done = sum(load * share for load, share in zip(run["load"], run["done"], strict=True))
    hours = count * tick_s / 3600.0
    return Figures(
        peak_c=max(tj),
        above_68_s=tick_s * sum(value > ASKED_C for value in tj),
        above_70_s=tick_s * sum(value > BAR_C for value in tj),
        rms_k=_rms(run),
        fan_wh=sum(run["fan_w"]) * tick_s / 3600.0,
        noise_dba=10.0 * math.log10(sum(10.0 ** (level / 10.0) for level in levels) / count),
        peak_dba=max(levels),
        reversals_per_h=reversals(duty) / hours,
        mean_duty_pct=sum(duty) / count,
        capped_s=tick_s * sum(level > 0 for level in run["cap_level"]),
        lost_pct=100.0 * (1.0 - done / asked) if asked else 0.0,
        mean_power_w=sum(run["power_w"]) / count,
    )


def _dba(spec: Fan, rpm: float) -> float:
    """Sound level at 1 m, dB(A): 50 log10 of the speed ratio (fan law of sound power), from the assumed full level."""
    if rpm < 1.0:
        return _QUIET_DBA
    return max(_QUIET_DBA, spec.full_dba + 50.0 * math.log10(rpm / spec.max_rpm))


def _rms(run: Run) -> float | None:
    """Root mean square of tj less set point at match load, the first minutes of each stretch left out, K."""
    total, counted, busy_s = 0.0, 0, 0.0
    for load, tj_c in zip(run["load"], run["tj_c"], strict=True):
        busy_s = busy_s + run.tick_s if load >= BUSY_LOAD else 0.0
        if busy_s > _SETTLE_S:
            total += (tj_c - run.set_point_c) ** 2
            counted += 1
    return math.sqrt(total / counted) if counted else None


def reversals(duty: Sequence[float], least: float = REVERSAL_PCT) -> int:
    """How often the duty turned and then moved by more than ``least``; smaller swings are no turn."""
    count, direction = 0, 0
    low = high = duty[0] if duty else 0.0
    for value in duty:
        if direction >= 0 and value > high:
            high = value
        if direction <= 0 and value < low:
            low = value
        if direction >= 0 and value < high - least:
            count += direction > 0
            direction, low = -1, value
        elif direction <= 0 and value > low + least:
            count += direction < 0
            direction, high = 1, value
    return count


def held_by_full_fan(full: Run, limit_c: float = BAR_C, hold_s: float = HOLD_S) -> list[bool]:
    """For each tick, whether the full fan alone (clocks free) has the die at or below the limit and keeps it there.

    A heatsink that was cooled before is below for a minute even where the fan loses: that is not holding, so the
    limit must not be passed for ``hold_s`` from the tick on either.
    """
    found, free = [], hold_s
    for value in reversed(full["tj_c"]):
        free = free + full.tick_s if value <= limit_c else 0.0
        found.append(free > hold_s)
    return found[::-1]


def peak_where(run: Run, where: Sequence[bool]) -> float | None:
    """The highest tj of the ticks that are marked; None when none is."""
    found = [value for value, marked in zip(run["tj_c"], where, strict=True) if marked]
    return max(found) if found else None


def document(run: Run, found: Figures) -> dict[str, Any]:
    """The run for machines: figures, phases, faults; without its rows."""
    return {
        "profile": run.profile.name,
        "about": run.profile.about,
        "law": run.law,
        "seed": run.seed,
        "seconds": round(len(run) * run.tick_s, 3),
        "set_point_c": run.set_point_c,
        "figures": {name: None if value is None else round(value, 3) for name, value in asdict(found).items()},
        "phases": [{"name": one.name, "begin_s": one.begin_s, "end_s": one.end_s} for one in run.phases],
        "faults": [
            {
                "fault": one.name,
                "begin_s": one.begin_s,
                "end_s": one.end_s,
                "severity": one.severity,
                "text": one.text,
            }
            for one in run.faults
        ],
    }
