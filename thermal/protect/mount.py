"""The file system that is guarded: how full, writable or not, and remounted by mount(8).

mount(8), not mount(2): it hands the options that are in force back to the kernel, which some file systems would lose.
Without its table in /run, for that takes a chown that the unit may not do; whether it is done, mountinfo says.
The share used is df's: used of used plus available, so what is reserved for root counts as full.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thermal.protect.disk import Look
from touchline.errors import TouchlineError
from touchline.run import need, run

MOUNTINFO: Final = Path("/proc/self/mountinfo")
REMOUNT_S: Final = 30.0  # a remount writes back what is dirty
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountRow:
    """A line of mountinfo. ``read_only``: of the file system itself, not of this view of it."""

    target: str
    kind: str
    read_only: bool


def mount_rows(text: str) -> list[MountRow]:
    """Read mountinfo (proc(5)), oldest mount first; lines that are none are left out. Pure."""
    rows: list[MountRow] = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if dash and len(fields) >= 6 and len(rest) >= 3:
            target = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[4])
            rows.append(MountRow(target, rest[0], "ro" in rest[2].split(",")))
    return rows


def mounted_at(target: str) -> MountRow | None:
    """What is mounted there, the newest where mounts lie on each other. Raises OSError."""
    rows = mount_rows(MOUNTINFO.read_text(encoding="utf-8", errors="replace"))
    return next((row for row in reversed(rows) if row.target == target), None)


class Mount:
    """A mount point. Nothing here raises."""

    def __init__(self, target: str) -> None:
        self.target = os.path.normpath(target)

    def look(self) -> Look:
        """How full it is and whether it may be written."""
        try:
            row = mounted_at(self.target)
            if row is None:
                return Look(None, trouble=f"{self.target} is not a mount point: nothing is guarded")
            status = os.statvfs(self.target)
        except OSError as error:
            return Look(None, trouble=f"{self.target}: {error.strerror}")
        used = status.f_blocks - status.f_bfree
        total = used + status.f_bavail
        if total <= 0:
            return Look(None, trouble=f"{self.target} has no blocks")
        return Look(100.0 * used / total, total * status.f_frsize, row.read_only)

    def remount(self, read_only: bool) -> str:
        """Make it read-only or writable; "" when done, else why not."""
        try:
            words = [need("mount", "mount"), "-n", "-o", f"remount,{'ro' if read_only else 'rw'}", self.target]
            run(words, timeout_s=REMOUNT_S, env={"LC_ALL": "C", "PATH": os.defpath})
        except TouchlineError as error:
            look = self.look()
            if look.used_pct is not None and look.read_only is read_only:
                return ""
            busy = " (files are open for writing: fuser -vm names them)" if "busy" in error.message else ""
            return f"{error.message}{busy}"
        return ""

    def holds(self, path: Path) -> bool:
        """Whether ``path`` lies on it."""
        try:
            return path.stat().st_dev == Path(self.target).stat().st_dev
        except OSError:
            return False
