"""Set the immutable flag of a file (chattr +i): FS_IOC_GETFLAGS and FS_IOC_SETFLAGS, linux/fs.h."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import Final

from touchline.errors import ResourceError

_LONG: Final = struct.calcsize("@l")  # the number carries the size of a long although an int is moved
_GETFLAGS: Final = 2 << 30 | _LONG << 16 | ord("f") << 8 | 1  # _IOR('f', 1, long)
_SETFLAGS: Final = 1 << 30 | _LONG << 16 | ord("f") << 8 | 2  # _IOW('f', 2, long)
_IMMUTABLE: Final = 0x10  # FS_IMMUTABLE_FL
_NO_FLAGS: Final = {errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


def set_immutable(path: Path, wanted: bool) -> None:
    """Set or clear the flag and leave the others. Raises ResourceError where that is not possible."""
    descriptor = _open(path)
    try:
        flags = _flags(descriptor)
        fresh = flags | _IMMUTABLE if wanted else flags & ~_IMMUTABLE
        if fresh != flags:
            fcntl.ioctl(descriptor, _SETFLAGS, struct.pack("@i", fresh) + bytes(_LONG - 4))
    except OSError as error:
        if error.errno in _NO_FLAGS:
            what = f"{path}: this file system keeps no immutable flag"
            raise ResourceError(what, hint="put the spare onto ext4, xfs or btrfs ([record] spare)") from error
        if error.errno == errno.EPERM:
            what = f"{path}: setting the immutable flag is refused"
            raise ResourceError(what, hint="run it with sudo (CAP_LINUX_IMMUTABLE)") from error
        raise
    finally:
        os.close(descriptor)


def _flags(descriptor: int) -> int:
    answer = fcntl.ioctl(descriptor, _GETFLAGS, bytes(_LONG))
    return int(struct.unpack_from("@i", answer)[0])


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
