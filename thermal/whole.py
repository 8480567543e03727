"""Small files in run folders: replaced in one step, and no link there is followed or replaced.

``/run/touchline`` is the agent's user's, and root's status lies there as root's link of tmpfiles.d. So root writes
where its own link leads, and never through or over one.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path


def write_whole(path: Path, raw: bytes) -> None:
    """Replace a file, readable by all. Raises OSError, also for a link at its place."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "a link is not replaced: --run-dir names the folder that it leads to", str(path))
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.fchmod(descriptor, 0o644)
        if os.write(descriptor, raw) != len(raw):
            raise OSError(errno.ENOSPC, "not written whole", str(beside))
    finally:
        os.close(descriptor)
    beside.replace(path)


def home_of(path: Path) -> Path:
    """The folder that ``path`` is to be written in: where root's own link (or this user's) leads, else its own."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return path.parent
    try:
        ours = os.fstat(descriptor).st_uid in (0, os.geteuid())
        return (path.parent / os.readlink("", dir_fd=descriptor)).parent if ours else path.parent
    except OSError:  # no link
        return path.parent
    finally:
        os.close(descriptor)
