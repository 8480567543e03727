"""What happened to the pair: switches, drills and notes, a JSON line each, in the state folder.

Two files of at most ``MAX_BYTES`` are kept. They outlive a reboot: each line is on the disk (fdatasync) before the
next one is written, since such lines are few and each is evidence. A writer never waits: a thread of its own does
that, and what it cannot write is counted and said once. A reader skips damaged lines and counts them.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from failover.actions.report import report_line
from touchline.lines import LineWriter
from touchline.timeline import utc_text

if TYPE_CHECKING:
    from touchline.config import NodeConfig

HISTORY_FILE: Final = "history.jsonl"
ROTATED_FILE: Final = "history.1.jsonl"
LOCK_FILE: Final = "history.lock"
MAX_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 16 << 10
MAX_WAITING: Final = 256
KINDS: Final = ("takeover", "release", "drill", "note")
_SEVERITIES: Final = ("info", "warning", "error")
_LOG: Final = logging.getLogger("failover.history")


@dataclass(frozen=True, slots=True)
class History:
    """Entries, oldest first; ``damaged``: lines that could not be read."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    damaged: int = 0


def history_folder(config: NodeConfig) -> Path:
    """Where a node keeps its history and its drills' reports: ``failover`` beside the spool."""
    return config.publish.spool_dir.parent / "failover"


class HistoryWriter(LineWriter):
    """Appends in a thread of its own. ``lost``: how many lines could not be written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, lambda raw: append(folder, raw), MAX_WAITING, _LOG)

    def add(self, kind: str, document: Mapping[str, Any]) -> None:
        """Note what happened; the wall-clock time is added. Never waits and never raises for the disk."""
        self.add_line(lambda: encode(kind, document, utc_text()))


def encode(kind: str, document: Mapping[str, Any], at: str) -> bytes:
    """Return one line. Raises ValueError when it is longer than ``MAX_LINE_BYTES`` or no such kind exists."""
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")
    raw = json.dumps({**document, "kind": kind, "at": at}, allow_nan=False).encode() + b"\n"
    if len(raw) > MAX_LINE_BYTES:
        raise ValueError(f"a line of {len(raw)} bytes, {MAX_LINE_BYTES} are allowed")
    return raw


def append(folder: Path, raw: bytes) -> None:
    """Append one line and wait until the disk has it; several processes may. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / HISTORY_FILE
    with (folder / LOCK_FILE).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists() and path.stat().st_size + len(raw) > MAX_BYTES:
            path.replace(folder / ROTATED_FILE)
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                raw = b"\n" + raw  # the line before was cut short by a power cut or a full disk
            if os.write(file, raw) < len(raw):
                raise OSError("the line was not written whole; the disk is full")
            os.fdatasync(file)
        finally:
            os.close(file)


def read_history(folder: Path, *, kinds: Collection[str] = KINDS, last: int | None = None) -> History:
    """Read both files, oldest first: the newest ``last`` of these kinds. No file is an empty history."""
    lines: list[bytes] = []
    for name in (ROTATED_FILE, HISTORY_FILE):
        try:
            with (folder / name).open("rb") as file:
                lines += file.read(2 * MAX_BYTES).split(b"\n")
        except FileNotFoundError:
            continue
    found = history_of(lines, kinds)
    return found if last is None else History(found.entries[max(0, len(found.entries) - last) :], found.damaged)


def history_of(lines: Iterable[bytes], kinds: Collection[str] = KINDS) -> History:
    """Read lines; pure."""
    found, damaged = [], 0
    for raw in lines:
        if not raw.strip():
            continue
        entry = _entry(raw)
        if entry is None:
            damaged += 1
        elif entry["kind"] in kinds:
            found.append(entry)
    return History(found, damaged)


def history_text(history: History) -> str:
    """The history for people, a line each."""
    lines = [f"{entry['at']}  {entry['kind']:<8}  {_words(entry)}" for entry in history.entries]
    if history.damaged:
        lines.append(f"{history.damaged} damaged lines left out")
    return "\n".join(lines) or "nothing has happened yet"


def _entry(raw: bytes) -> dict[str, Any] | None:
    if len(raw) > MAX_LINE_BYTES:
        return None
    try:
        entry = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or entry.get("kind") not in KINDS or not isinstance(entry.get("at"), str):
        return None
    return entry


def _words(entry: Mapping[str, Any]) -> str:
    """What an entry says; one of another version, or that was edited, is shown as it is."""
    try:
        if entry["kind"] in ("takeover", "release"):
            return _plain(report_line(entry).partition(" ")[2])
        if entry["kind"] == "note":
            severity = entry["severity"] if entry["severity"] in _SEVERITIES else "info"
            return _plain(f"{severity}: {entry['text']}")
        return _plain(str(entry["summary"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        rest = {key: value for key, value in entry.items() if key not in ("at", "kind")}
        return _plain(json.dumps(rest))


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())
