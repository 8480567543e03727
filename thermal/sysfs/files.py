"""The kernel's files: a read is an open and a read, a write one write. Never text I/O, never a kept descriptor.

A power-gated thermal zone answers every read with EAGAIN, which Python's buffered text files turn into a TypeError;
a descriptor kept over a driver's unbind reads ENODEV for ever.
"""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from thermal.types import Raw

MOST_BYTES: Final = 4096  # an attribute of sysfs is at most a page
MOST_TABLE_BYTES: Final = 256 << 10
GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO})  # what a device that moved reads


class Files(Protocol):
    """Where the kernel's files are. Paths are those of the running system, ``/sys/...``. All raise OSError."""

    def read(self, path: str) -> bytes: ...

    def read_all(self, path: str) -> bytes:
        """A whole file of at most 256 KiB: for tables on a disk, not for sysfs."""
        ...

    def write(self, path: str, text: str) -> None: ...

    def names(self, folder: str) -> list[str]:
        """Sorted names in a folder, numbers in them in numeric order; none where there is no such folder."""
        ...


@dataclass(frozen=True, slots=True)
class RealFiles:
    """Files below ``root``, which is ``/`` but in tests."""

    root: Path = Path("/")

    def here(self, path: str) -> Path:
        """Where ``path`` lies."""
        return self.root / path.lstrip("/")

    def read(self, path: str) -> bytes:
        """At most a page of a file."""
        descriptor = os.open(self.here(path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, MOST_BYTES)
        finally:
            os.close(descriptor)

    def read_all(self, path: str) -> bytes:
        """A whole file of at most ``MOST_TABLE_BYTES``."""
        with self.here(path).open("rb") as file:
            return file.read(MOST_TABLE_BYTES)

    def write(self, path: str, text: str) -> None:
        """Hand the kernel the whole value in one write, as its files want it. Never makes a file."""
        descriptor = os.open(self.here(path), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            value = text.encode()
            if os.write(descriptor, value) != len(value):
                raise OSError(errno.EIO, "written in part", path)
        finally:
            os.close(descriptor)

    def names(self, folder: str) -> list[str]:
        """Sorted names in a folder: ``hwmon2`` before ``hwmon10``."""
        try:
            found = os.listdir(self.here(folder))  # noqa: PTH208 - names alone, no Path each
        except OSError:
            return []
        return sorted(found, key=lambda name: (name.rstrip("0123456789"), len(name), name))


def read_number(files: Files, path: str, scale: float = 1.0) -> Raw:
    """One number times ``scale``, or the errno; EBADMSG for what is no number. Never raises OSError."""
    try:
        text = files.read(path)
    except OSError as error:
        return Raw(None, error.errno or errno.EIO)
    try:
        value = int(text) * scale
    except (ValueError, OverflowError):
        return Raw(None, errno.EBADMSG)
    return Raw(value) if math.isfinite(value) else Raw(None, errno.EBADMSG)


def read_word(files: Files, path: str) -> str | None:
    """A short text without its line end; None when it cannot be read."""
    try:
        return files.read(path).decode("utf-8", errors="replace").strip()
    except OSError:
        return None


def write_number(files: Files, path: str, value: int) -> str | None:
    """Write a whole number; None when done, else the path and what the kernel said."""
    try:
        files.write(path, f"{value}\n")
    except OSError as error:
        return f"{path}: {os.strerror(error.errno) if error.errno else error}"
    return None


def why(raw: Raw) -> str:
    """The errno of a failed reading in words."""
    return "reads no number" if raw.errno == errno.EBADMSG else os.strerror(raw.errno)
