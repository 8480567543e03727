"""The kernel's files below a root: read, written in one go, listed. Tests give it a tree of their own.

A network card's ring is no file: ``ethtool:eth0/rx`` stands for one, so it is planned, judged and undone as they are.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flash.tune.rings import KernelRings, Ring, RingPort, interface_of

_ABSENT: Final = {errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO}
_PART_BYTES: Final = 1 << 16  # a file of /proc/sys is refused (ENOMEM) when it is asked for megabytes at once


@dataclass(frozen=True)
class Tree:
    """Files of sysfs and procfs; ``root`` is ``/`` but in tests. ``rings``: those of the network cards.

    A tree of another machine has no cards: without ``rings`` of its own every card there is one that has none.
    """

    root: Path = Path("/")
    rings: RingPort | None = None

    def ring(self, interface: str) -> Ring:
        """A card's rings. Raises OSError: EOPNOTSUPP where the driver has none that can be set."""
        return self._rings().look(interface)

    def _rings(self) -> RingPort:
        if self.rings is not None:
            return self.rings
        if self.root == Path("/"):
            return KernelRings()
        raise OSError(errno.EOPNOTSUPP, "no cards in a tree", str(self.root))

    def here(self, path: str) -> Path:
        """Where ``path`` lies."""
        return self.root / path.lstrip("/")

    def read(self, path: str) -> str | None:
        """The file's text; None where there is none. Raises OSError for what the kernel says instead."""
        interface = interface_of(path)
        try:
            if interface is not None:
                return str(self.ring(interface).rx)
            descriptor = os.open(self.here(path), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        try:
            parts = []
            while part := os.read(descriptor, _PART_BYTES):
                parts.append(part)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        finally:
            os.close(descriptor)
        return b"".join(parts).decode("utf-8", errors="replace")

    def write(self, path: str, text: str) -> None:
        """Hand the kernel the whole value in one write, as its files want it. Raises OSError when it refuses."""
        interface = interface_of(path)
        if interface is not None:
            self._rings().set_rx(interface, int(text))
            return
        descriptor = os.open(self.here(path), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            value = text.encode() + b"\n"
            if os.write(descriptor, value) != len(value):
                raise OSError(errno.EIO, "written in part", str(self.here(path)))
        finally:
            os.close(descriptor)

    def names(self, path: str) -> list[str]:
        """Sorted names in a folder; none where there is no such folder."""
        try:
            return sorted(os.listdir(self.here(path)))  # noqa: PTH208 - names alone, no Path each
        except OSError:
            return []

    def target(self, path: str) -> str | None:
        """Where a link leads, or None."""
        try:
            return os.readlink(self.here(path))  # noqa: PTH115 - the text as it stands
        except OSError:
            return None
