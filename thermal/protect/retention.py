"""Which recordings go when the disk is full: those made first, never a camera's newest.

The folders are the agent's user's, and root deletes: no link is followed below the recordings' folder, no other file
system is looked at, and what is deleted is what was listed, a file with one name (another name would keep its bytes).

The recorder's own bounds (``[record] max_size``, ``max_age_h``) hold all along; this is for the day when something else
fills the disk. A recording's name carries a number that grows from file to file, whatever a clock says; files of other
names are nobody's to delete. The recorder bears a file of its own that is gone.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# node_camN_serial_timeZ_stream.mp4; agent.record.retention makes it, and a test holds that these two agree
_NAME: Final = re.compile(r".*_cam\d+_(?P<serial>\d{8,12})_\d{8}T\d{6}\.\d{6}[ZU]_[0-9a-f]{8}(?:-\d+)?\.mp4")
_CAMERA: Final = re.compile(r"cam\d+")
_MIRROR: Final = "mirror"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


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
    """The files in a node's recordings folder, a list a camera, twins' copies too. Raises OSError."""
    device = folder.stat().st_dev
    found: list[list[Kept]] = []
    for above in ((), (_MIRROR,)):
        with suppress(FileNotFoundError, NotADirectoryError), _opened(folder, above, device) as here:
            cameras = sorted(name for name in os.listdir(here) if _CAMERA.fullmatch(name))  # noqa: PTH208 - by descriptor
            for camera in cameras:
                found += _shelf(folder, (*above, camera), device)
    return found


def delete(folder: Path, one: Kept) -> None:
    """Delete a recording that :func:`shelves` listed, if its folder is still what it was. Raises OSError."""
    shelf = one.path.relative_to(folder).parent.parts
    with suppress(FileNotFoundError), _opened(folder, shelf, folder.stat().st_dev) as here:
        os.unlink(one.path.name, dir_fd=here)


def _shelf(folder: Path, parts: tuple[str, ...], device: int) -> list[list[Kept]]:
    files: list[Kept] = []
    with suppress(FileNotFoundError, NotADirectoryError), _opened(folder, parts, device) as here:
        for name in os.listdir(here):  # noqa: PTH208 - by descriptor
            with suppress(FileNotFoundError):  # the recorder deletes too
                about = os.stat(name, dir_fd=here, follow_symlinks=False)
                if stat.S_ISREG(about.st_mode) and about.st_nlink == 1:
                    files.append(Kept(folder.joinpath(*parts, name), about.st_size))
    return [files] if files else []


@contextmanager
def _opened(folder: Path, parts: Iterable[str], device: int) -> Iterator[int]:
    """A folder below ``folder``, reached through no link; NotADirectoryError where one lies, or another file system."""
    here = os.open(folder, _FOLDER)
    try:
        for name in parts:
            below = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
            if os.fstat(here).st_dev != device:
                raise NotADirectoryError(errno.ENOTDIR, "on another file system", name)
        yield here
    finally:
        os.close(here)
