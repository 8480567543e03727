"""What the host needs for a build: every missing package in one line with the command that brings them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hil.virtual.image.programs import Programs
from hil.virtual.image.recipe import CROSS_PROGRAMS, HOST_PROGRAMS, NATIVE_PROGRAMS
from touchline.errors import ResourceError
from touchline.run import need

BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
_ENTRY: Final = "qemu-aarch64"


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


def check_host(programs: Programs) -> None:
    """Raise ResourceError with the remedy unless a build can work here; lets arm64 programs run where that is off."""
    if os.geteuid() != 0:
        raise ResourceError("building the image needs root (it owns the guest's files)", hint="run it with sudo")
    missing = missing_packages(needed_programs())
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
