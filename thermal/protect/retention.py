"""Which recordings go when the disk is full: those made first, never a camera's newest. Pure but for :func:`shelves`.

The recorder's own bounds (``[record] max_size``, ``max_age_h``) hold all along; this is for the day when something else
fills the disk. A recording's name carries a number that grows from file to file, whatever a clock says; files of other
names are nobody's to delete. The recorder bears a file of its own that is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# node_camN_serial_timeZ_stream.mp4; agent.record.retention makes it, and a test holds that these two agree
_NAME: Final = re.compile(r".*_cam\d+_(?P<serial>\d{8,12})_\d{8}T\d{6}\.\d{6}[ZU]_[0-9a-f]{8}(?:-\d+)?\.mp4")
_FOLDERS: Final = ("cam*", "mirror/cam*")


@dataclass(frozen=True, slots=True)
class Kept:
    """One file of a shelf."""

    path: Path
    size: int

    @property
    def serial(self) -> int | None:
        """Its number; None: none of ours."""
        found = _NAME.fullmatch(self.path.name)
        return None if found is None else int(found["serial"])


def expendable(shelves: Iterable[Sequence[Kept]], keep: int, want_bytes: int) -> list[Kept]:
    """What is to be deleted, in order, to free ``want_bytes`` or as much as may go: from the largest shelf first."""
    rows = [_ours(shelf) for shelf in shelves]
    left = [sum(one.size for one in row) for row in rows]
    rows = [row[: max(0, len(row) - keep)] for row in rows]
    chosen: list[Kept] = []
    freed = 0
    while freed < want_bytes and any(rows):
        index = max((i for i, row in enumerate(rows) if row), key=lambda i: left[i])
        one = rows[index].pop(0)
        left[index] -= one.size
        freed += one.size
        chosen.append(one)
    return chosen


def _ours(shelf: Sequence[Kept]) -> list[Kept]:
    found = [(one.serial, one.path.name, one) for one in shelf]
    return [one for serial, _, one in sorted((row for row in found if row[0] is not None), key=lambda row: row[:2])]


def shelves(folder: Path) -> list[list[Kept]]:
    """The files in a node's recordings folder, a list a camera. Raises OSError."""
    found: list[list[Kept]] = []
    for pattern in _FOLDERS:
        for shelf in sorted(folder.glob(pattern)):
            if shelf.is_dir() and not shelf.is_symlink():
                files = [path for path in shelf.iterdir() if path.is_file() and not path.is_symlink()]
                found.append([Kept(path, path.stat().st_size) for path in files])
    return found
