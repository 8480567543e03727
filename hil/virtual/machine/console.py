"""What the kernel says on its console: the log kept, and the lines in it that mean trouble."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final


class Trouble(str, Enum):
    """What a line of the kernel's log means."""

    PANIC = "panic"  # the guest is dead: it waits for its watchdog, if that is armed
    OOPS = "oops"
    WARNING = "warning"
    BUG = "bug"
    LOCKUP = "lockup"
    HUNG_TASK = "hung task"
    STALL = "rcu stall"
    FILE_SYSTEM = "file system"
    NO_ROOT = "no root"  # the initrd gave up


@dataclass(frozen=True, slots=True)
class Finding:
    """A line that means trouble; ``line`` is its number in the text, from 0."""

    trouble: Trouble
    line: int
    text: str


# the first pattern that fits a line names it
PATTERNS: Final[tuple[tuple[Trouble, re.Pattern[str]], ...]] = (
    (Trouble.PANIC, re.compile(r"Kernel panic - not syncing")),
    (Trouble.OOPS, re.compile(r"Internal error: |Unable to handle kernel |Oops(?: -|:)")),
    (Trouble.LOCKUP, re.compile(r"(?:soft|hard) lockup|detected hard LOCKUP", re.I)),
    (Trouble.BUG, re.compile(r"\bBUG: |kernel BUG at ")),
    (Trouble.WARNING, re.compile(r"WARNING: (?:CPU: |possible |suspicious |at )")),
    (Trouble.HUNG_TASK, re.compile(r"INFO: task .{1,80} blocked for more than \d+ seconds")),
    (Trouble.STALL, re.compile(r"rcu: INFO: .{0,60}(?:self-detected stall|detected stalls|detected expedited stalls)")),
    (Trouble.FILE_SYSTEM, re.compile(r"EXT4-fs error |EXT4-fs \(\S+\): Remounting filesystem read-only")),
    (Trouble.NO_ROOT, re.compile(r"initrd: no root file system|VFS: Unable to mount root")),
)
FATAL: Final = frozenset({Trouble.PANIC, Trouble.NO_ROOT})

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>78cM])|[\x00-\x08\x0b-\x1f\x7f]")


def clean(text: str) -> str:
    """Text without terminal escapes and control characters, line ends as ``\\n``."""
    return _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def findings(text: str) -> list[Finding]:
    """Every line of a kernel log that means trouble, in order."""
    found = []
    for number, line in enumerate(clean(text).split("\n")):
        for trouble, pattern in PATTERNS:
            if pattern.search(line):
                found.append(Finding(trouble, number, line.strip()))
                break
    return found


def fatal(found: Sequence[Finding]) -> Finding | None:
    """The first finding after which the guest says nothing more."""
    return next((one for one in found if one.trouble in FATAL), None)


class Console:
    """The kernel's console log of one node, which grows over all its boots. :meth:`mark` begins a new one."""

    def __init__(self, log_file: Path) -> None:
        self.log_file = log_file
        self._mark_file = log_file.with_suffix(".mark")
        self._mark_bytes = 0

    def mark(self) -> None:
        """Leave what was said so far out of :meth:`text`, :meth:`findings` and :meth:`last_lines`."""
        self._mark_bytes = self.log_file.stat().st_size if self.log_file.exists() else 0
        self._mark_file.write_text(str(self._mark_bytes))

    def resume(self) -> None:
        """Take up the mark that an earlier process left."""
        try:
            self._mark_bytes = int(self._mark_file.read_text())
        except (FileNotFoundError, ValueError):
            self._mark_bytes = 0

    def text(self) -> str:
        """What was said since the mark."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(self._mark_bytes)
                return clean(log.read().decode(errors="replace"))
        except FileNotFoundError:
            return ""

    def findings(self) -> list[Finding]:
        """Trouble since the mark."""
        return findings(self.text())

    def last_lines(self, count: int = 12) -> list[str]:
        """The last lines that are not empty, for error messages."""
        return [line.rstrip() for line in self.text().split("\n") if line.strip()][-count:]
