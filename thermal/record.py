"""A recorded run: one JSON line a tick, a Sample and the Command that answered it. The service and the simulator write
it, the replay board and ``identify`` read it. Pure but for :func:`read_record`.

A line: ``{"v": 1, "at_ns": ..., "zones_c": {"tj": 61.5, "cv0": {"errno": 11}}, "fan_rpm": 1740, "duty_pct": 60.0,
"power_w": {...}, "clock_hz": {...}, "oc_events": {...}, "ambient_c": 24.5 or null, "command": {"duty_pct": 60.0,
"cap_level": 0}}``. A value that could not be read is its errno. ``v`` grows when a meaning changes; readers skip lines
of another version and count them as damaged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thermal.types import Command, Domain, Raw, Sample

VERSION: Final = 1
MAX_LINE_BYTES: Final = 4096
MAX_NAMES: Final = 48  # zones, rails or counters of one sample
MAX_NAME: Final = 48
MAX_FILE_BYTES: Final = 64 << 20  # about a day at a line a second
_MAX_AT_NS: Final = 1 << 63
_MAX_VALUE: Final = 1e15
_MAX_ERRNO: Final = 4096
_MAX_LEVEL: Final = 64
_DOMAINS: Final[tuple[Domain, ...]] = ("cpu", "gpu")
_DECIMALS: Final = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One tick: what was seen and what was ordered."""

    sample: Sample
    command: Command


@dataclass(frozen=True, slots=True)
class Record:
    """Ticks in the order of their times; ``damaged``: lines that were left out."""

    entries: tuple[Entry, ...]
    damaged: int = 0


def encode(sample: Sample, command: Command) -> bytes:
    """Return the line of one tick. Raises ValueError for what a reader would refuse."""
    document = {
        "v": VERSION,
        "at_ns": sample.at_ns,
        "zones_c": _group(sample.zones_c),
        "fan_rpm": _plain(sample.fan_rpm),
        "duty_pct": _plain(sample.duty_pct),
        "power_w": _group(sample.power_w),
        "clock_hz": {name: _plain(raw) for name, raw in sample.clock_hz.items()},
        "oc_events": _group(sample.oc_events),
        "ambient_c": None if sample.ambient_c is None else _plain(sample.ambient_c),
        "command": {"duty_pct": round(command.duty_pct, _DECIMALS), "cap_level": command.cap_level},
    }
    raw = json.dumps(document, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    if decode(raw) is None:
        raise ValueError(f"a line of {len(raw)} bytes that its reader would refuse; {MAX_LINE_BYTES} are allowed")
    return raw


def _plain(raw: Raw) -> float | dict[str, int]:
    return {"errno": raw.errno} if raw.value is None else round(raw.value, _DECIMALS)


def _group(raws: Mapping[str, Raw]) -> dict[str, float | dict[str, int]]:
    return {name: _plain(raw) for name, raw in raws.items()}


def decode(raw: bytes) -> Entry | None:
    """Read one line; None for whatever is no line of this version."""
    if len(raw) > MAX_LINE_BYTES:
        return None
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    try:
        return _entry(document) if isinstance(document, dict) and document.get("v") == VERSION else None
    except (KeyError, TypeError, ValueError):
        return None


def _entry(document: Mapping[str, Any]) -> Entry:
    clocks = _raws(document["clock_hz"])
    ambient, command = document["ambient_c"], document["command"]
    sample = Sample(
        at_ns=_whole(document["at_ns"], _MAX_AT_NS),
        zones_c=_raws(document["zones_c"]),
        fan_rpm=_raw(document["fan_rpm"]),
        duty_pct=_raw(document["duty_pct"]),
        power_w=_raws(document["power_w"]),
        clock_hz={name: clocks[name] for name in _DOMAINS if name in clocks},
        oc_events=_raws(document["oc_events"]),
        ambient_c=None if ambient is None else _raw(ambient),
    )
    duty_pct = _finite(command["duty_pct"])
    if not 0.0 <= duty_pct <= 100.0:
        raise ValueError("duty_pct")
    return Entry(sample, Command(duty_pct, _whole(command["cap_level"], _MAX_LEVEL)))


def _raws(group: Any) -> dict[str, Raw]:
    if not isinstance(group, dict) or len(group) > MAX_NAMES or any(len(name) > MAX_NAME for name in group):
        raise ValueError("a group of readings")
    return {name: _raw(value) for name, value in group.items()}


def _raw(value: Any) -> Raw:
    if isinstance(value, dict):
        number = _whole(value["errno"], _MAX_ERRNO)
        if number == 0:
            raise ValueError("errno 0 is no failure")
        return Raw(None, number)
    return Raw(_finite(value))


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_VALUE:
        raise ValueError(f"{value!r} is no reading")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _whole(value: Any, below: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < below:
        raise ValueError(f"{value!r} is no count")
    return value


def record_of(lines: Iterable[bytes]) -> Record:
    """Read lines; pure. What goes back in time (a reboot, two files in the wrong order) is left out."""
    entries: list[Entry] = []
    damaged = 0
    for raw in lines:
        if not raw.strip():
            continue
        entry = decode(raw)
        if entry is None or (entries and entry.sample.at_ns <= entries[-1].sample.at_ns):
            damaged += 1
        else:
            entries.append(entry)
    return Record(tuple(entries), damaged)


def read_record(paths: Iterable[Path]) -> Record:
    """Read files, oldest first, at most ``MAX_FILE_BYTES`` of each (the end of it). Raises OSError."""
    lines: list[bytes] = []
    for path in paths:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - MAX_FILE_BYTES))
            lines += file.read(MAX_FILE_BYTES).split(b"\n")
    return record_of(lines)
