"""The interpreter that the release will run on, found and judged without running it: its ELF header and its name."""

from __future__ import annotations

import os
import re
import struct
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from flash.bundle.manifest import Manifest
from flash.bundle.node.place import Place
from touchline.errors import HardwareError, InputError, ResourceError

_ELF_MACHINES: Final = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}  # elf.h, EM_*
_BYTECODE_SHARE: Final = 0.2  # measured: bytecode of all but the libraries' tests, beside 359 MB unpacked
_SPARE_BYTES: Final = 64 << 20
_FOLDERS: Final = ("/usr/bin", "/usr/local/bin")


@dataclass(frozen=True)
class Interpreter:
    """``path`` as the installed system sees it, ``version`` as ``3.11``, ``arch`` as the kernel says it."""

    path: PurePosixPath
    version: str
    arch: str


def elf_arch(path: Path) -> str:
    """The machine that a program is built for."""
    with path.open("rb") as stream:
        head = stream.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        raise InputError(f"{path} is not a Linux program", hint="give the interpreter itself with --python")
    (machine,) = struct.unpack(("<" if head[5] == 1 else ">") + "H", head[18:20])
    return _ELF_MACHINES.get(machine, f"machine {machine}")


def find_interpreter(place: Place, wanted: str, given: str | None = None) -> Interpreter:
    """The installed system's Python; ``wanted`` is the bundle's version, ``given`` what the user names."""
    path = place.follow(PurePosixPath(given)) if given else _own(place) or _search(place, wanted)
    if path is None or not place.here(path).is_file():
        name = given or f"Python {wanted}"
        where = "" if place.is_live else f" below {place.root}"
        raise ResourceError(f"{name} is not there{where}", hint=f"install python{wanted}, or name it with --python")
    found = re.search(r"python(3\.\d+)$", path.name)
    if found is None:
        raise InputError(f"{path} does not say its version in its name", hint="give a path that ends in python3.N")
    return Interpreter(path, found[1], elf_arch(place.here(path)))


def _own(place: Place) -> PurePosixPath | None:
    """The interpreter that runs us, where we install into the running system."""
    if not place.is_live:
        return None
    base = getattr(sys, "_base_executable", None) or sys.executable
    return PurePosixPath(os.path.realpath(base))


def _search(place: Place, wanted: str) -> PurePosixPath | None:
    """``python3`` decides where it is there, else the wanted version by its name."""
    for name in (f"python{wanted}", "python3"):
        for folder in _FOLDERS:
            path = place.follow(PurePosixPath(folder, name))
            if place.here(path).is_file():
                return path
    return None


def check_target(manifest: Manifest, python: Interpreter) -> None:
    """Raise when the bundle is for another machine or another Python."""
    if python.arch != manifest.arch:
        raise HardwareError(
            f"this bundle is for {manifest.arch}, and {python.path} is built for {python.arch}",
            hint=f"touchline flash bundle create --arch {python.arch} --python {python.version} --out FILE",
        )
    if python.version != manifest.python:
        raise ResourceError(
            f"this bundle is for Python {manifest.python}, and {python.path} is {python.version}",
            hint=f"touchline flash bundle create --arch {python.arch} --python {python.version} --out FILE, "
            f"or name another interpreter with --python",
        )


def needed_bytes(manifest: Manifest) -> int:
    """Disk that a new release takes: unpacked wheels, bytecode, and something to spare."""
    return int(manifest.unpacked_bytes * (1 + _BYTECODE_SHARE)) + _SPARE_BYTES


def check_disk(place: Place, needed: int) -> None:
    """Raise when the disk below the releases has less than ``needed`` bytes."""
    folder = place.here(place.releases)
    while not folder.exists():
        folder = folder.parent
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        raise ResourceError(
            f"{folder} has {free / 1e6:.0f} MB free and {needed / 1e6:.0f} MB are needed", hint="free some space there"
        )
