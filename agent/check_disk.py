"""What ``agent check`` asks of a folder: may it be written, and how much is free."""

from __future__ import annotations

import os
from pathlib import Path

from touchline.errors import ResourceError


def free_in(folder: Path) -> int:
    """Bytes free where ``folder`` is or will be made. Raises ResourceError when it cannot be written."""
    nearest = folder
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ResourceError(f"{folder} cannot be written", hint="give the agent's user this folder")
    status = os.statvfs(nearest)
    return status.f_bavail * status.f_frsize
