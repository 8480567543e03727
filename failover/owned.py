"""Files that a person's command writes into the service's folders belong to the service, also when root ran it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
    """As root: do what follows as the user and group that ``folder`` belongs to (its nearest parent that there is).

    So the kernel makes the files theirs and refuses what they may not do; no other user's file is ever given away. Of
    the whole process: not for one whose other threads need root meanwhile.
    """
    user, group = os.geteuid(), os.getegid()
    if user != 0:
        yield
        return
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    owner = place.stat()
    os.setegid(owner.st_gid)
    try:
        os.seteuid(owner.st_uid)
        yield
    finally:
        os.seteuid(user)
        os.setegid(group)
