"""The status for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from thermal.power.total import total
from thermal.status import ThermalStatus, Told
from thermal.sysfs.table import COUNTERS
from thermal.types import Failed, Fresh, Reading, Stale

_SCALES: Final = {"MHz": 1e6}


def told_text(told: Told, now_ns: int) -> str:
    """A few lines; what is wrong with the status itself comes first."""
    lines = [] if told.good else [f"NOT ALIVE, taken for hot: {told.why}"]
    return "\n".join(lines + ([] if told.status is None else _lines(told.status, now_ns)))


def _lines(status: ThermalStatus, now_ns: int) -> list[str]:
    age_s = (now_ns - status.at_ns) / 1e9
    state = "HOT" if status.hot else "well"
    late = f", {status.late_ticks} late" if status.late_ticks else ""
    caps = f"rung {status.cap_level} of {status.cap_levels}" if status.cap_level else "not capped"
    lines = [
        f"{status.node}: {state}   {status.at}, {age_s:.1f} s ago, tick {status.ticks}{late}",
        f"tj      {shown(status.tj, 'C')}",
        f"zones   {_row({n: one for n, one in status.zones.items() if n != 'tj'}, 'C')}",
        f"fan     {status.duty_pct:.0f} % ordered, {shown(status.duty_read, '%')} read, {shown(status.rpm, 'rpm', 0)}",
        f"clocks  {caps}; at most {_row(status.clock_hz, 'MHz', 0)}",
        f"power   {_power(status)}",
    ]
    if status.oc_events:
        lines.append(f"events  {_events(status)}")
    faults = [
        f"{one.severity.value.upper():<7} {one.code} {one.what}: {one.text} (for {(now_ns - one.since_ns) / 1e9:.0f} s)"
        for one in status.faults
    ]
    return [*lines, *(faults or ["faults  none"])]


def _power(status: ThermalStatus) -> str:
    """Each rail, and what is known of the sum against its budget."""
    rails, found = _row(status.power_w, "W"), total(status.power_w)
    if found is None:
        return rails
    least = "" if found.whole else "at least "
    return f"{rails}; {least}{found.low_w:.1f} of {status.budget_w:g} W ({found.meaning})"


def _events(status: ThermalStatus) -> str:
    since_boot = ", ".join(f"{COUNTERS.get(name, name)} {count}" for name, count in sorted(status.oc_events.items()))
    return f"{since_boot} since boot; {sum(status.oc_counted.values())} since the service began"


def shown(reading: Reading, unit: str, digits: int = 1) -> str:
    """A reading with how good it is: never a bare number that is not fresh."""
    scale = _SCALES.get(unit, 1.0)
    match reading:
        case Fresh():
            return f"{reading.value / scale:.{digits}f} {unit}"
        case Stale():
            return f"stale, was {reading.value / scale:.{digits}f} {unit} ({reading.why})"
        case Failed():
            return f"FAILED ({reading.why})"


def _row(readings: Mapping[str, Reading], unit: str, digits: int = 1) -> str:
    return ", ".join(f"{name} {shown(one, unit, digits)}" for name, one in sorted(readings.items())) or "none here"
