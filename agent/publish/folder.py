"""The spool's folder: created, and owned by one process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from touchline.errors import ResourceError


def own_folder(folder: Path) -> int:
    """Create and lock the folder; return the descriptor that holds the lock. Raises ResourceError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ResourceError(
            f"spool {folder} cannot be used: {error.strerror}",
            hint="correct publish.spool, or create and own that folder",
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise ResourceError(
            f"spool {folder} is in use by another process",
            hint="stop the other agent, or give each its own publish.spool",
        ) from error
    return fd
