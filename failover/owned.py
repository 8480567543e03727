"""Files that a person's command writes into the service's folders belong to the service, also when root ran it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MAX_LINKS: Final = 16


@contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
    """As root: do what follows as the user and group of the first thing on the way to ``folder`` that is not root's.

    Whose that is could have put a link, or anything, in the place of all that lies below it: from there on the kernel
    judges what that user may do, links included, and makes the files theirs. No group of root's goes along. Root's own
    links are followed. Of the whole process: not for one whose other threads need root meanwhile.

    Raises OSError.
    """
    owner = _owner(folder.absolute(), MAX_LINKS) if os.geteuid() == 0 else None
    if owner is None:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.setgroups([])
    try:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _owner(folder: Path, links: int) -> os.stat_result | None:
    """The first on the way that is not root's; None: all that there is, is."""
    for place in (*reversed(folder.parents), folder):
        try:
            found = place.lstat()
        except FileNotFoundError:
            return None
        if found.st_uid != 0:
            return found
        if stat.S_ISLNK(found.st_mode):
            if not links:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
            return _owner(place.parent / place.readlink() / folder.relative_to(place), links - 1)
    return None
