"""The flush of every 30 s: journald told to write, then syncfs of the configured file systems, each measured (PRT-3).

``syncfs(2)`` of one file system, not ``sync(2)``: the recordings' disk is not made to wait. Since Linux 5.8 it also
tells of writes that failed since the last time, so a worn eMMC speaks here first.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from thermal.whole import write_whole
from touchline.errors import TouchlineError
from touchline.run import run

FILE: Final = "flush.json"
VERSION: Final = 1
PERIOD_S: Final = 30.0  # touchline-flush.timer
LATE_S: Final = 120.0  # a status older than this: the timer does not run
_JOURNAL: Final = Path("/run/systemd/journal")
_JOURNAL_S: Final = 20.0
_MAX_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Flushed:
    """One file system. ``trouble``: what the kernel said; ``ms``: how long it took."""

    path: str
    device: str
    ms: float
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class FlushPorts:
    """What a flush works with. ``journal``: "" when journald wrote, else why not; ``syncfs`` raises OSError."""

    clock: Callable[[], int]
    syncfs: Callable[[int], None]
    journal: Callable[[], str]


def syncfs(descriptor: int) -> None:
    """Bring a file system to its disk. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(ctypes.c_int(descriptor)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def sync_journal() -> str:
    """Have journald write what it holds; "" when it did, or where there is none."""
    program = shutil.which("journalctl")
    if program is None or not _JOURNAL.exists():
        return ""
    try:
        run([program, "--sync"], timeout_s=_JOURNAL_S)
    except TouchlineError as error:
        return error.message
    return ""


def flush(paths: Sequence[str], ports: FlushPorts) -> list[Flushed]:
    """Flush the file systems of ``paths``, each once. Never raises for a path."""
    found: list[Flushed] = []
    seen: set[int] = set()
    for path in paths:
        begun_ns = ports.clock()
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            found.append(Flushed(path, "", 0.0, error.strerror or str(error)))
            continue
        trouble, number = "", 0
        try:
            number = os.fstat(descriptor).st_dev
            if number in seen:
                continue
            ports.syncfs(descriptor)
        except OSError as error:
            trouble = error.strerror or str(error)
        finally:
            os.close(descriptor)
        seen.add(number)
        device = f"{os.major(number)}:{os.minor(number)}"
        found.append(Flushed(path, device, round((ports.clock() - begun_ns) / 1e6, 3), trouble))
    return found


def flush_once(paths: Sequence[str], slow_ms: float, ports: FlushPorts, before: dict[str, Any]) -> dict[str, Any]:
    """The journal, then the file systems; the new status, with the counters of the one before."""
    begun_ns = ports.clock()
    journal = ports.journal()
    journal_ms = (ports.clock() - begun_ns) / 1e6
    found = flush(paths, ports)
    now_ns = ports.clock()
    total_ms = round((now_ns - begun_ns) / 1e6, 3)
    troubles = [f"{one.path}: {one.trouble}" for one in found if one.trouble]
    slow = total_ms > slow_ms
    return {
        "version": VERSION,
        "at_ns": now_ns,
        "ok": not troubles,
        "slow": slow,
        "trouble": "; ".join([*troubles, *([f"journald: {journal}"] if journal else [])]),
        "total_ms": total_ms,
        "journal_ms": round(journal_ms, 3),
        "paths": [asdict(one) for one in found],
        "runs": _count(before, "runs") + 1,
        "slow_runs": _count(before, "slow_runs") + slow,
        "failed_runs": _count(before, "failed_runs") + bool(troubles),
        "worst_ms": max(total_ms, _number(before, "worst_ms")),
    }


def write_flush(path: Path, document: dict[str, Any]) -> None:
    """Replace the status in one step. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(document, allow_nan=False).encode() + b"\n")


def read_flush(path: Path) -> dict[str, Any]:
    """The last status; empty when there is none that can be read, or it is not root's (or this process's) own file.

    The path leads through a folder of the agent's user, and root asks for it twice a second: whatever else lies there
    (a pipe, a file of his) is neither waited for nor believed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode) or about.st_uid not in (0, os.geteuid()):
                return {}
            found = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    good = isinstance(found, dict) and found.get("version") == VERSION and isinstance(found.get("at_ns"), int)
    return found if good else {}


def flush_trouble(document: dict[str, Any], now_ns: int) -> str:
    """What is wrong with the flush, "" while it runs, succeeds and is quick. Of another boot: none yet."""
    age_s = (now_ns - int(document.get("at_ns", 0))) / 1e9
    if not document or age_s < 0:
        return "" if now_ns < LATE_S * 1e9 else "no flush since the boot: is touchline-flush.timer enabled?"
    if age_s > LATE_S:
        return f"the last flush was {age_s:.0f} s ago: systemctl status touchline-flush.timer"
    if not document.get("ok", False):
        return str(document.get("trouble", "it failed"))
    return f"the last flush took {_number(document, 'total_ms'):.0f} ms" if document.get("slow") else ""


def _count(document: dict[str, Any], name: str) -> int:
    value = document.get(name, 0)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _number(document: dict[str, Any], name: str) -> float:
    value = document.get(name, 0.0)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else 0.0
