"""The clock's last hours: a line a second in ``node.run_dir``, for the plot and for whoever asks what happened.

The clock process appends; two files of ``MAX_LINES`` are kept, so a disk or tmpfs can never fill. Nothing here may end
the clock: what cannot be written is counted and said once. A reader skips what it cannot read, and counts it.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO, Final

from touchline.timeline import ClockState, monotonic_ns

HISTORY_FILE: Final = "clock-history.jsonl"
ROTATED_FILE: Final = "clock-history.1.jsonl"
MAX_LINES: Final = 4_000  # 66 minutes at a line a second
MAX_LINE_BYTES: Final = 1_024
GAP_S: Final = 3.5  # lines come once a second: further apart, some are missing
_MAX_BYTES: Final = MAX_LINES * MAX_LINE_BYTES
_MAX_TEXT: Final = 200
_MAX_NUMBER: Final = 1 << 63
_SEVERITIES: Final = ("info", "warning", "error")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_LOG: Final = logging.getLogger("agent.clock")


@dataclass(frozen=True, slots=True)
class Row:
    """The clock at one moment; ``at_s``: seconds against the newest line of all, never positive."""

    at_s: float
    ptp_ns: int
    bound_ns: float
    state: ClockState
    epoch: int
    offset_ns: float | None = None
    path_delay_ns: float | None = None
    residual_ns: float | None = None
    grandmaster: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """An event; ``at_s`` as in :class:`Row`."""

    at_s: float
    ptp_ns: int
    severity: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class History:
    """What is known of ``seconds`` up to the present, or up to the newest line when that is longer ago.

    ``end_s``: the window's end against the newest line, 0 or more; ``newest_ptp_ns``: that line's time, 0 when no line
    has one. ``damaged``: lines that could not be read. ``silent_s``: since the newest line; None when that was written
    before this machine booted.
    """

    seconds: float
    rows: list[Row] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    damaged: int = 0
    newest_ptp_ns: int = 0
    silent_s: float | None = None

    @property
    def end_s(self) -> float:
        """See the class."""
        return self.silent_s if self.silent_s is not None and self.silent_s < self.seconds else 0.0

    def figures(self) -> dict[str, Any]:
        """Shares of the lines by state in percent, and what offsets and bounds came to, ns."""
        offsets = [row.offset_ns for row in self.rows if row.offset_ns is not None]
        bounds = [row.bound_ns for row in self.rows]
        share = {state.value: 0.0 for state in ClockState}
        for row in self.rows:
            share[row.state.value] += 100.0 / len(self.rows)
        return {
            "lines": len(self.rows),
            "damaged": self.damaged,
            "share_pct": {state: round(value, 2) for state, value in share.items()},
            "offset_rms_ns": math.sqrt(sum(one * one for one in offsets) / len(offsets)) if offsets else None,
            "offset_max_ns": max(map(abs, offsets), default=None),
            "bound_median_ns": median(bounds) if bounds else None,
            "bound_max_ns": max(bounds, default=None),
        }


@cache
def boot_mark() -> str:
    """Eight letters that say which boot of this machine a reading of CLOCK_MONOTONIC belongs to."""
    try:
        return _BOOT_ID.read_text()[:8]
    except OSError:
        return ""


class HistoryWriter:
    """Appends lines. ``lost``: how many could not be written; no failure ever reaches the caller."""

    def __init__(self, run_dir: Path) -> None:
        self.lost = 0
        self._path, self._rotated = run_dir / HISTORY_FILE, run_dir / ROTATED_FILE
        self._failing = False
        self._lines, self._torn = 0, False
        try:
            with self._path.open("rb") as file:
                text = file.read(_MAX_BYTES + 1)
        except OSError:
            return
        self._lines = MAX_LINES if len(text) > _MAX_BYTES else text.count(b"\n")
        self._torn = bool(text) and not text.endswith(b"\n")

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a row or an event; ``at_ns`` (CLOCK_MONOTONIC) and ``boot`` are added, so that a step shows as one."""
        try:
            self._append(encode({"at_ns": monotonic_ns(), "boot": boot_mark(), **line}))
        except (OSError, ValueError, TypeError) as error:
            self.lost += 1
            if not self._failing:
                _LOG.warning("clock history %s: %s; the clock goes on without it", self._path, error)
            self._failing = True
            return
        if self._failing:
            _LOG.info("clock history %s is written again, %d lines were lost", self._path, self.lost)
            self._failing = False

    def close(self) -> None:
        """Nothing is held open between two lines; here for owners that close what they made."""

    def _append(self, raw: bytes) -> None:
        if self._lines >= MAX_LINES:
            self._path.replace(self._rotated)
            self._lines, self._torn = 0, False
        raw = b"\n" + raw if self._torn else raw
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            written = os.write(file, raw)
        finally:
            os.close(file)
        self._lines += 1
        self._torn = written < len(raw)
        if self._torn:
            raise OSError("the line was not written whole; the disk is full")


def encode(line: Mapping[str, Any]) -> bytes:
    """Return one line of the file. Raises ValueError when it would be longer than ``MAX_LINE_BYTES``."""
    plain = {}
    for key, value in line.items():
        infinite = isinstance(value, float) and not math.isfinite(value)
        plain[key] = None if infinite else value[:_MAX_TEXT] if isinstance(value, str) else value
    raw = json.dumps(plain, ensure_ascii=False, allow_nan=False).encode(errors="replace") + b"\n"
    if len(raw) > MAX_LINE_BYTES:
        raise ValueError(f"a line of {len(raw)} bytes, {MAX_LINE_BYTES} are allowed")
    return raw


def read_history(run_dir: Path, seconds: float, now_ns: int | None = None) -> History:
    """Read the last ``seconds``; ``now_ns``: CLOCK_MONOTONIC, by default read. No file is an empty history."""
    return history_of(_read_lines(run_dir), seconds, monotonic_ns() if now_ns is None else now_ns)


def history_of(lines: Iterable[bytes], seconds: float, now_ns: int) -> History:
    """Put lines, oldest first, on one axis of time; pure.

    Distances come from CLOCK_MONOTONIC, which no step of the time moves; from the stamps themselves across a reboot.
    """
    entries: list[tuple[float, dict[str, Any]]] = []
    at_s, damaged, last = 0.0, 0, None
    for raw in lines:
        entry = _entry(raw)
        if entry is None:
            damaged += 1
            continue
        at_s += 0.0 if last is None else _since_s(last, entry)
        entries.append((at_s, entry))
        last = entry
    if last is None:
        return History(seconds, damaged=damaged)
    here = last["boot"] == boot_mark() and 0 <= last["at_ns"] <= now_ns
    silent_s = (now_ns - last["at_ns"]) * 1e-9 if here else None
    result = History(seconds, damaged=damaged, newest_ptp_ns=_newest_ptp_ns(entries, at_s), silent_s=silent_s)
    for when_s, entry in entries:
        if when_s - at_s >= result.end_s - seconds:
            if "code" in entry:
                result.marks.append(_mark(when_s - at_s, entry))
            else:
                result.rows.append(_row(when_s - at_s, entry))
    return result


def _newest_ptp_ns(entries: list[tuple[float, dict[str, Any]]], at_s: float) -> int:
    """The time of the newest line; an event that came before the time was known has none (0) of its own."""
    for when_s, entry in reversed(entries):
        ptp_ns: int = entry["ptp_ns"]
        if ptp_ns:
            return ptp_ns + int((at_s - when_s) * 1e9)
    return 0


def _row(at_s: float, entry: Mapping[str, Any]) -> Row:
    return Row(at_s, **{name: value for name, value in entry.items() if name not in {"at_ns", "boot"}})


def _mark(at_s: float, entry: Mapping[str, Any]) -> Mark:
    return Mark(at_s, entry["ptp_ns"], entry["severity"], entry["code"], entry["text"])


def _since_s(last: Mapping[str, Any], entry: Mapping[str, Any]) -> float:
    if last["boot"] == entry["boot"] and 0 <= last["at_ns"] <= entry["at_ns"]:
        return float(entry["at_ns"] - last["at_ns"]) * 1e-9
    return max(0.0, float(entry["ptp_ns"] - last["ptp_ns"]) * 1e-9)


def _entry(raw: bytes) -> dict[str, Any] | None:
    """The checked values of a line; None when it is not one of ours."""
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not isinstance(line.get("boot", ""), str):
        return None
    ptp_ns, at_ns = line.get("ptp_ns"), line.get("at_ns", -1)
    if not _is_whole(ptp_ns) or not (_is_whole(at_ns) or at_ns == -1):
        return None
    entry = {"ptp_ns": ptp_ns, "at_ns": at_ns, "boot": line.get("boot", "")}
    if "event" in line:
        severity = line.get("severity")
        entry |= {"code": _text(line["event"]), "text": _text(line.get("text"))}
        return entry | {"severity": severity if severity in _SEVERITIES else "info"}
    numbers = {name: _number(line.get(name)) for name in ("offset_ns", "path_delay_ns", "residual_ns")}
    bound_ns, epoch, state = _number(line.get("bound_ns")), line.get("epoch"), _state(line.get("state"))
    if bound_ns is None or bound_ns < 0 or not _is_whole(epoch) or state is None:
        return None
    entry |= {"bound_ns": bound_ns, "epoch": epoch, "state": state}
    return entry | numbers | {"grandmaster": _text(line.get("grandmaster"))}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_NUMBER


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MAX_NUMBER:
        return None
    return float(value)


def _state(value: object) -> ClockState | None:
    return next((state for state in ClockState if state.value == value), None)


def _text(value: object) -> str:
    return "".join(letter for letter in value[:_MAX_TEXT] if letter.isprintable()) if isinstance(value, str) else ""


def _read_lines(run_dir: Path) -> list[bytes]:
    """The lines of both files, oldest first. A rotation between the two looks shows as the same file twice."""
    for _ in range(3):
        newer, older = _open(run_dir / HISTORY_FILE), _open(run_dir / ROTATED_FILE)
        try:
            if newer and older and os.path.samestat(os.fstat(newer.fileno()), os.fstat(older.fileno())):
                continue
            return [*_tail(older), *_tail(newer)]
        finally:
            for file in (newer, older):
                if file is not None:
                    file.close()
    return []


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _tail(file: BinaryIO | None) -> list[bytes]:
    """The last lines of a file, never more than a writer of ours would have left there."""
    if file is None:
        return []
    skipped = max(0, os.fstat(file.fileno()).st_size - _MAX_BYTES)
    file.seek(skipped)
    lines = file.read(_MAX_BYTES).split(b"\n")
    return [line for line in lines[1 if skipped else 0 :] if line.strip()]
