"""What the host needs for a build: every missing package in one line with the command that brings them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from hil.virtual.image.programs import Programs
from hil.virtual.image.recipe import CROSS_PROGRAMS, HOST_PROGRAMS, KERNEL_FOLDER, NATIVE_PROGRAMS, SPACE_MIB
from touchline.errors import ResourceError
from touchline.run import need

BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
_ENTRY: Final = "qemu-aarch64"
_ARCHES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def host_arch() -> str:
    """This host's architecture, as Debian says it."""
    machine = os.uname().machine
    if machine not in _ARCHES:
        raise ResourceError(f"the image cannot be built on {machine}", hint="use an x86_64 or aarch64 Debian")
    return _ARCHES[machine]


def free_bytes(folder: Path) -> int:
    """Free space on the disk that holds, or would hold, a folder."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def check_space(folder: Path, steps: Collection[str]) -> None:
    """Raise ResourceError unless the disk has room for these steps of a build in ``folder``."""
    needed = sum(SPACE_MIB[step] for step in steps) << 20
    free = free_bytes(folder)
    if free < needed:
        raise ResourceError(
            f"{folder}: the build needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free",
            hint="free some space, or use a --cache-dir on another disk",
        )


def missing_packages(programs: Sequence[tuple[str, str]]) -> list[str]:
    """Debian packages whose programs are not there."""
    missing = set()
    for program, package in programs:
        try:
            need(program, package)
        except ResourceError:
            missing.add(package)
    return sorted(missing)


def needed_programs() -> tuple[tuple[str, str], ...]:
    """Programs and their packages, for this host's architecture."""
    return HOST_PROGRAMS + (NATIVE_PROGRAMS if os.uname().machine == "aarch64" else CROSS_PROGRAMS)


def check_host(programs: Programs, more: Sequence[tuple[str, str]] = ()) -> None:
    """Raise ResourceError with the remedy unless a build can work here; lets arm64 programs run where that is off."""
    if not KERNEL_FOLDER.is_dir():
        raise ResourceError(
            "images are built from a checkout, and this is an installed copy without the kernel's sources",
            hint="run it in a clone: pip install -e '.[build]', then touchline hil virtual build",
        )
    if os.geteuid() != 0:
        raise ResourceError("building the image needs root (it owns the guest's files)", hint="run it with sudo")
    missing = missing_packages([*needed_programs(), *more])
    if missing:
        raise ResourceError(f"the build needs {', '.join(missing)}", hint=f"apt-get install {' '.join(missing)}")
    if os.uname().machine != "aarch64":
        enable_emulation(programs)


def enable_emulation(programs: Programs) -> None:
    """Register qemu-user for arm64 programs, as the package's own service does where it runs."""
    if (BINFMT / _ENTRY).exists():
        return
    if not (BINFMT / "register").exists():
        programs.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT])
    if not (BINFMT / _ENTRY).exists():
        programs.run([need("update-binfmts", "binfmt-support"), "--enable", _ENTRY])
    if not (BINFMT / _ENTRY).exists():
        raise ResourceError(
            "this host does not run arm64 programs: binfmt_misc has no qemu-aarch64",
            hint="apt-get install --reinstall qemu-user-static binfmt-support",
        )
