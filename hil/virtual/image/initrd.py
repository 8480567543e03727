"""The initial RAM disk: busybox, the modules that the root's disk needs, and one short script."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"
_FOLDERS = ("bin", "dev", "mod", "proc", "root", "sys")
_CONSOLE = (5, 1)  # major and minor of /dev/console: the kernel opens it for init before anything is mounted


@dataclass(frozen=True, slots=True)
class CpioEntry:
    """One member of a cpio archive: ``mode`` with its file type bits, ``device`` for device nodes."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def newc(entries: Iterable[CpioEntry]) -> bytes:
    """A cpio archive in the kernel's ``newc`` format, owner 0, time 0: equal entries give equal bytes."""
    out = bytearray()
    for number, entry in enumerate([*entries, CpioEntry(_TRAILER, 0)], start=1):
        name = entry.name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
        out += _MAGIC + b"".join(b"%08X" % field for field in fields) + name
        out += bytes(-len(out) % 4) + entry.data
        out += bytes(-len(out) % 4)
    return bytes(out)


def initrd_entries(busybox: bytes, init: bytes, modules: Sequence[tuple[str, bytes]]) -> list[CpioEntry]:
    """What the RAM disk holds; ``modules`` in the order in which they are loaded."""
    order = "".join(f"{name}\n" for name, _ in modules).encode()
    return [
        *(CpioEntry(name, stat.S_IFDIR | 0o755) for name in _FOLDERS),
        CpioEntry("dev/console", stat.S_IFCHR | 0o600, device=_CONSOLE),
        CpioEntry("bin/busybox", stat.S_IFREG | 0o755, busybox),
        CpioEntry("init", stat.S_IFREG | 0o755, init),
        CpioEntry("mod/order", stat.S_IFREG | 0o644, order),
        *(CpioEntry(f"mod/{name}", stat.S_IFREG | 0o644, data) for name, data in modules),
    ]


def write_initrd(out: Path, busybox: Path, init: Path, modules: Sequence[Path]) -> None:
    """Write the RAM disk, compressed as the kernel unpacks it fastest that every kernel knows: gzip."""
    entries = initrd_entries(
        busybox.read_bytes(), init.read_bytes(), [(file.name, file.read_bytes()) for file in modules]
    )
    out.write_bytes(gzip.compress(newc(entries), compresslevel=6, mtime=0))
