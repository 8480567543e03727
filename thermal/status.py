"""What the fan service says of itself: a JSON file, replaced at every tick, and what its readers may believe of it.

A status older than three ticks is no status: its reader takes the node for hot. So is a file that is missing, damaged
or of another boot. ``Told.hot`` is therefore always an answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from thermal.power.total import total
from thermal.types import Failed, Fault, Fresh, Reading, Severity, Stale
from thermal.whole import write_whole

FILE: Final = "thermal.json"
VERSION: Final = 1
STALE_TICKS: Final = 3
MAX_BYTES: Final = 64 << 10
_AHEAD_NS: Final = 1_000_000_000  # a status of the future is of another boot


@dataclass(frozen=True, slots=True)
class ThermalStatus:
    """One tick. ``at_ns``: CLOCK_MONOTONIC of its end; ``at``: the same moment in UTC, for people.

    ``duty_pct``: what was written; ``duty_read``: what the register says. ``refused``: what the fan or a clock refused.
    ``oc_events``: counters since boot; ``oc_counted``: events since the service began. ``cap_level`` of ``cap_levels``:
    0 is no cap.
    """

    node: str
    at: str
    at_ns: int
    period_s: float
    ticks: int
    late_ticks: int
    hot: bool
    tj: Reading
    zones: Mapping[str, Reading]
    duty_pct: float
    duty_read: Reading
    rpm: Reading
    cap_level: int
    cap_levels: int
    clock_hz: Mapping[str, Reading]
    power_w: Mapping[str, Reading]
    oc_events: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    budget_w: float = 55.0
    oc_counted: Mapping[str, int] = field(default_factory=dict)

    @property
    def tj_c(self) -> float | None:
        """The junction's temperature, while it is fresh."""
        return self.tj.value if isinstance(self.tj, Fresh) else None

    @property
    def total_w(self) -> float | None:
        """What the node draws (:mod:`thermal.power.total`), read below the wall; None while that is not known."""
        found = total(self.power_w)
        return None if found is None else found.watts


@dataclass(frozen=True, slots=True)
class Told:
    """What a reader may believe. ``why``: what is wrong with the file itself, "" while it is good."""

    status: ThermalStatus | None
    why: str = ""

    @property
    def good(self) -> bool:
        """Whether the service is alive: its status is there and not too old."""
        return self.status is not None and not self.why

    @property
    def hot(self) -> bool:
        """Whether this node must shed load: the service says so, or says nothing."""
        return self.status is None or bool(self.why) or self.status.hot


def status_path(run_dir: Path) -> Path:
    """Where the status lies in a node's run folder (``[node] run_dir``)."""
    return run_dir / FILE


def read_status(path: Path, now_ns: int) -> Told:
    """Read the status and judge its age at ``now_ns`` (CLOCK_MONOTONIC). Never raises for the file."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Told(None, f"{path} is not there: the fan service does not run")
    except OSError as error:
        return Told(None, f"{path}: {error.strerror}")
    try:
        status = decode(raw)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        return Told(None, f"{path} is damaged: {type(error).__name__} {error}")
    return Told(status, _age_trouble(status, now_ns))


def write_status(path: Path, status: ThermalStatus) -> None:
    """Replace the file in one step, readable by all. Raises OSError, also for a link at its place."""
    write_whole(path, encode(status))


def encode(status: ThermalStatus) -> bytes:
    """The file's bytes. A number that is not finite cannot be written."""
    return json.dumps(document(status), allow_nan=False, indent=1).encode() + b"\n"


def document(status: ThermalStatus) -> dict[str, Any]:
    """The status as a JSON document."""
    plain = ("node", "at", "at_ns", "period_s", "ticks", "late_ticks", "hot", "duty_pct", "cap_level", "cap_levels")
    tables, counts = ("zones", "clock_hz", "power_w"), ("oc_events", "oc_counted")
    return {
        "version": VERSION,
        **{name: getattr(status, name) for name in plain},
        "tj_c": status.tj_c,
        "total_w": status.total_w,
        **{name: _of_reading(getattr(status, name)) for name in ("tj", "duty_read", "rpm")},
        **{name: {key: _of_reading(one) for key, one in getattr(status, name).items()} for name in tables},
        "budget_w": status.budget_w,
        **{name: dict(getattr(status, name)) for name in counts},
        "faults": [
            {
                "code": one.code,
                "what": one.what,
                "severity": one.severity.value,
                "text": one.text,
                "since_ns": one.since_ns,
            }
            for one in status.faults
        ],
    }


def decode(raw: bytes) -> ThermalStatus:
    """The status in these bytes. Raises what :func:`read_status` catches for anything else."""
    if len(raw) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES} bytes")
    found = json.loads(raw)
    if _a(int, found["version"]) != VERSION:
        raise ValueError(f"version {found['version']!r}, this release reads {VERSION}")
    return ThermalStatus(
        node=_a(str, found["node"]),
        at=_a(str, found["at"]),
        at_ns=_a(int, found["at_ns"]),
        period_s=_number(found["period_s"]),
        ticks=_a(int, found["ticks"]),
        late_ticks=_a(int, found["late_ticks"]),
        hot=_a(bool, found["hot"]),
        tj=_reading(found["tj"]),
        zones=_readings(found["zones"]),
        duty_pct=_number(found["duty_pct"]),
        duty_read=_reading(found["duty_read"]),
        rpm=_reading(found["rpm"]),
        cap_level=_a(int, found["cap_level"]),
        cap_levels=_a(int, found["cap_levels"]),
        clock_hz=_readings(found["clock_hz"]),
        power_w=_readings(found["power_w"]),
        oc_events=_counts(found["oc_events"]),
        faults=tuple(_fault(one) for one in _a(list, found["faults"])),
        budget_w=_number(found["budget_w"]),
        oc_counted=_counts(found["oc_counted"]),
    )


def _age_trouble(status: ThermalStatus, now_ns: int) -> str:
    age_ns = now_ns - status.at_ns
    most_ns = STALE_TICKS * status.period_s * 1e9
    if age_ns < -_AHEAD_NS:
        return "the status is of another boot"
    return f"the status is {age_ns / 1e9:.1f} s old: the fan service hangs or is gone" if age_ns > most_ns else ""


def _of_reading(reading: Reading) -> dict[str, Any]:
    match reading:
        case Fresh():
            return {"state": "fresh", "value": reading.value, "at_ns": reading.at_ns}
        case Stale():
            return {"state": "stale", "value": reading.value, "at_ns": reading.at_ns, "why": reading.why}
        case Failed():
            return {"state": "failed", "since_ns": reading.since_ns, "why": reading.why}


def _reading(found: Any) -> Reading:
    match found["state"]:
        case "fresh":
            return Fresh(_number(found["value"]), _a(int, found["at_ns"]))
        case "stale":
            return Stale(_number(found["value"]), _a(int, found["at_ns"]), _a(str, found["why"]))
        case "failed":
            return Failed(_a(int, found["since_ns"]), _a(str, found["why"]))
    raise ValueError(f"a reading is fresh, stale or failed, not {found['state']!r}")


def _readings(found: Any) -> dict[str, Reading]:
    return {_a(str, name): _reading(one) for name, one in found.items()}


def _counts(found: Any) -> dict[str, int]:
    return {_a(str, name): _a(int, count) for name, count in found.items()}


def _fault(found: Any) -> Fault:
    words = (_a(str, found["code"]), _a(str, found["what"]), Severity(found["severity"]), _a(str, found["text"]))
    return Fault(*words, _a(int, found["since_ns"]))


def _a(kind: type, value: Any) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no number")
    return float(value)
