"""One process at a time at a folder: an advisory lock that the kernel takes back when its holder dies.

Standard library only: the bundle's installer uses it before anything else of ours can be imported.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from touchline.errors import ResourceError


@contextmanager
def alone(folder: Path, busy: str) -> Iterator[None]:
    """Hold ``folder``, made if it is not there; ``busy`` says who else may be at work.

    Raises ResourceError when another process holds it, or for want of rights.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except PermissionError as error:
        raise ResourceError(f"{folder} may not be written by this user", hint="run it with sudo") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResourceError(busy, hint="wait for its end") from error
        yield
    finally:
        os.close(descriptor)
