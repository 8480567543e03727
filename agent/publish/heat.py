"""What the fan service says, as the rack and the twin hear it: health, events, and whether this node is hot. Pure.

A service that says nothing makes the node hot (:class:`thermal.status.Told`), and so does a reader that hangs. Numbers
of a status that is no longer good are not told: an old temperature is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from thermal.status import ThermalStatus, Told
from thermal.sysfs.table import COUNTERS
from thermal.types import Fault, Fresh, Reading, Severity

NS_PER_S: Final = 1_000_000_000
UNREAD_NS: Final = 3 * NS_PER_S  # the reader reads once a second
SILENT_NS: Final = 5 * NS_PER_S  # a service that starts is not told of
TOLD_AGAIN_NS: Final = 60 * NS_PER_S  # the same fault, should it come and go
COUNTED_NS: Final = 10 * NS_PER_S  # over-current events are gathered for so long
MAX_FAULTS: Final = 16
MAX_NAMES: Final = 16
_MAX_NAME: Final = 32
_MAX_TEXT: Final = 160
_MAX_EVENTS: Final = 32  # of one look
_OVER_CURRENT: Final = "over_current"  # told by its counts
_LEVELS: Final = {Severity.WARNING: "warning", Severity.ALARM: "error"}
_NOT_YET: Final = Told(None, "the fan service's status has not been read yet")
Event = dict[str, Any]


class Heat:
    """One node's. Times in CLOCK_MONOTONIC ns; :meth:`take` whenever the status was read."""

    def __init__(self) -> None:
        self._told = _NOT_YET
        self._read_ns: int | None = None
        self._faults = _FaultNews()
        self._counts = _CountNews()
        self._silent_ns: int | None = None
        self._silence_told = False

    def take(self, told: Told, now_ns: int) -> list[Event]:
        """Take what was just read; return the events that it makes, without their time."""
        self._told, self._read_ns = told, now_ns
        events = self._silence(told, now_ns)
        if told.good and told.status is not None:
            events += self._faults.look(told.status.faults, now_ns)
            events += self._counts.look(told.status.oc_counted, now_ns)
        return events

    def hot(self, now_ns: int) -> bool:
        """Whether this node should give way to its twin."""
        return self._told.hot or bool(self._why(now_ns))

    def trouble(self, now_ns: int) -> str:
        """Why it is hot, in words; empty while it is not."""
        if not self.hot(now_ns):
            return ""
        status, why = self._told.status, self._why(now_ns)
        if why or status is None:
            return f"hot: {why}"
        alarms = [fault.text for fault in status.faults if fault.severity is Severity.ALARM]
        return f"hot: {alarms[0] if alarms else 'the fan service says so'}"[:_MAX_TEXT]

    def document(self, now_ns: int) -> dict[str, Any]:
        """The part of the health document; what is not known is None, and so is all of a status that is not good."""
        why, status = self._why(now_ns), self._told.status
        said = {} if why or status is None else _said(status)
        return {"good": not why, "why": why[:_MAX_TEXT], "hot": self.hot(now_ns), **(said or _UNKNOWN)}

    def _why(self, now_ns: int) -> str:
        """What is wrong with the status itself."""
        if self._read_ns is not None and now_ns - self._read_ns > UNREAD_NS:
            return f"the fan service's status could not be read for {(now_ns - self._read_ns) / NS_PER_S:.0f} s"
        return self._told.why

    def _silence(self, told: Told, now_ns: int) -> list[Event]:
        if told.good:
            was, self._silent_ns, self._silence_told = self._silence_told, None, False
            return [_event("info", "thermal_silent", "the fan service speaks again")] if was else []
        self._silent_ns = now_ns if self._silent_ns is None else self._silent_ns
        if self._silence_told or now_ns - self._silent_ns < SILENT_NS:
            return []
        self._silence_told = True
        return [_event("error", "thermal_silent", f"taken for hot: {told.why}")]


class _FaultNews:
    """Faults that begin and end; one that comes and goes is told once a minute."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] = {}  # what was told and lasts, since when told
        self._told_ns: dict[tuple[str, str], int] = {}

    def look(self, faults: tuple[Fault, ...], now_ns: int) -> list[Event]:
        now = {(one.code, one.what): one for one in faults if one.code != _OVER_CURRENT}
        self._told_ns = {key: at for key, at in self._told_ns.items() if now_ns - at < TOLD_AGAIN_NS or key in now}
        fresh = [key for key in now if key not in self._known and self._may_tell(key, now_ns)]
        over = [key for key in self._known if key not in now]
        events = [_event(_LEVELS[now[key].severity], f"thermal_{key[0]}", _text(now[key])) for key in fresh]
        events += [_event("info", f"thermal_{key[0]}", f"{key[1]}: over") for key in over]
        self._known = {key: at for key, at in self._known.items() if key in now} | dict.fromkeys(fresh, now_ns)
        self._told_ns |= dict.fromkeys(fresh, now_ns)
        more = len(events) - _MAX_EVENTS
        return events if more <= 0 else [*events[:_MAX_EVENTS], _event("warning", "thermal", f"and {more} more")]

    def _may_tell(self, key: tuple[str, str], now_ns: int) -> bool:
        told_ns = self._told_ns.get(key)
        return told_ns is None or now_ns - told_ns >= TOLD_AGAIN_NS


class _CountNews:
    """Over-current events, gathered. A count that falls is of a service that began anew: all of it is new."""

    def __init__(self) -> None:
        self._seen: Mapping[str, int] | None = None
        self._waiting: dict[str, int] = {}
        self._told_ns: dict[str, int] = {}

    def look(self, counted: Mapping[str, int], now_ns: int) -> list[Event]:
        seen = counted if self._seen is None else self._seen
        self._seen = counted
        for name, total in list(counted.items())[:MAX_NAMES]:
            before = seen.get(name, 0)
            self._waiting[name] = self._waiting.get(name, 0) + (total - before if total >= before else total)
        due = [
            n for n, new in self._waiting.items() if new and now_ns - self._told_ns.get(n, -COUNTED_NS) >= COUNTED_NS
        ]
        events = []
        for name in due:
            text = f"{name[:_MAX_NAME]} ({COUNTERS.get(name, 'over-current')}): {self._waiting.pop(name)} events"
            events.append(
                _event("warning", f"thermal_{_OVER_CURRENT}", f"{text}, {counted.get(name, 0)} since its start")
            )
            self._told_ns[name] = now_ns
        return events


def heat_text(said: Mapping[str, Any]) -> str:
    """The thermal part of a health document as one line for people."""
    if not said.get("good"):
        return f"UNKNOWN, taken for hot: {said.get('why')}"
    shown = {name: "unknown" if said[name] is None else f"{said[name]:g}" for name in ("temp_c", "rpm", "duty_pct")}
    total_w = said["power_w"]["total"]
    power = "power unknown" if total_w is None else f"{total_w:.1f} of {said['budget_w']:g} W"
    caps = f", clocks capped, rung {said['cap_level']} of {said['cap_levels']}" if said["cap_level"] else ""
    faults = "".join(f"; {one['severity'].upper()} {one['what']}: {one['text']}" for one in said["faults"])
    head = f"{'HOT, ' if said['hot'] else ''}tj {shown['temp_c']} C, fan {shown['duty_pct']} % at {shown['rpm']} rpm"
    return f"{head}, {power}{caps}{faults}"


def _event(severity: str, code: str, text: str) -> Event:
    return {"severity": severity, "code": code[:48], "text": text[:_MAX_TEXT]}


def _text(fault: Fault) -> str:
    return f"{fault.what}: {fault.text}"


_UNKNOWN: Final[Mapping[str, Any]] = {
    "temp_c": None,
    "duty_pct": None,
    "rpm": None,
    "power_w": {"total": None, "rails": {}},
    "budget_w": None,
    "cap_level": None,
    "cap_levels": None,
    "oc_counted": {},
    "faults": [],
    "more_faults": 0,
}


def _said(status: ThermalStatus) -> dict[str, Any]:
    rails = list(status.power_w.items())[:MAX_NAMES]
    worst_first = sorted(status.faults, key=lambda one: one.severity is not Severity.ALARM)
    return {
        "temp_c": _rounded(status.tj),
        "duty_pct": round(status.duty_pct, 1),
        "rpm": _rounded(status.rpm),
        "power_w": {
            "total": None if status.total_w is None else round(status.total_w, 2),
            "rails": {name[:_MAX_NAME]: _rounded(one) for name, one in rails},
        },
        "budget_w": status.budget_w,
        "cap_level": status.cap_level,
        "cap_levels": status.cap_levels,
        "oc_counted": {name[:_MAX_NAME]: n for name, n in list(status.oc_counted.items())[:MAX_NAMES]},
        "faults": [_fault(one) for one in worst_first[:MAX_FAULTS]],
        "more_faults": max(0, len(status.faults) - MAX_FAULTS),
    }


def _fault(fault: Fault) -> dict[str, str]:
    words = {"code": fault.code, "what": fault.what}
    return {
        **{key: word[:_MAX_NAME] for key, word in words.items()},
        "severity": fault.severity.value,
        "text": fault.text[:_MAX_TEXT],
    }


def _rounded(reading: Reading) -> float | None:
    return round(reading.value, 2) if isinstance(reading, Fresh) else None
