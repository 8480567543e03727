"""An open character device of this machine: asked by ioctl(2), closed once. Errors pass as OSError."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from typing import TypeAlias

Argument: TypeAlias = ctypes.Structure | ctypes.c_int


class CharacterDevice:
    """Opens with the given flags. Raises OSError when that fails, ENOTTY when it is no character device."""

    def __init__(self, path: str, flags: int) -> None:
        self._fd = os.open(path, flags | os.O_CLOEXEC)
        if not stat.S_ISCHR(os.fstat(self._fd).st_mode):
            self.close()
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY), path)

    def ioctl(self, request: int, argument: Argument) -> None:
        """Ask the driver, ``argument`` is read and written; a signal in between only makes it ask again."""
        while True:
            try:
                fcntl.ioctl(self._fd, request, argument, True)
            except InterruptedError:
                continue
            return

    def close(self) -> None:
        """Close the device; safe to call twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
