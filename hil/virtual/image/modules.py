"""Modules that no kernel of Debian has: compiled beside its headers from its own source package, and from ours.

The drivers out of the source package are edited by the program in ``hil/virtual/kernel`` (a process of its own;
nothing of it is imported) and cross-compiled with what lies beside it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Final

from hil.virtual.image.programs import Argv, Job
from hil.virtual.image.recipe import KERNEL_FOLDER, SOURCE_FILES, digest
from touchline.errors import InputError

KBUILD: Final = KERNEL_FOLDER / "Kbuild"
PATCHER: Final = KERNEL_FOLDER / "patch_drivers.py"
_EDITS: Final = (
    ("ptp_mock", "ptp_mock.c"),
    ("netdevsim", "netdevsim"),
    ("irq_sim", "irq_sim.c"),
    ("v4l2loopback", "v4l2loopback.c"),
)
_BUILD_S: Final = 600.0
_UNPACK_S: Final = 300.0


def inputs_digest() -> str:
    """Hash of everything of ours that is compiled."""
    return digest(*(f"{file.name}\n{file.read_text()}" for file in (KBUILD, PATCHER, *_ours())))


def build_modules(job: Job, source_deb: Path, loopback_deb: Path, tree: Path, work: Path) -> list[Path]:
    """Compile the modules of the Kbuild file against ``tree``; returns the ``.ko`` files, without debug data.

    ``source_deb``: the kernel's sources; ``loopback_deb``: those of v4l2loopback.
    """
    folder = work / "modules"
    _gather_sources(job, source_deb, loopback_deb, folder)
    prefix = cross_prefix()
    words: Argv = ["make", "-C", tree, f"M={folder}", f"-j{os.cpu_count() or 1}", *cross_words(), "modules"]
    job.run(words, timeout_s=_BUILD_S)
    built = sorted([*folder.glob("*.ko"), *folder.glob("*/*.ko")])
    if (missing := objects(KBUILD.read_text()) - {file.stem for file in built}) != set():
        raise InputError(f"the kernel build made no {', '.join(sorted(missing))}", hint=f"see {job.log}")
    for file in built:
        job.run([f"{prefix}strip", "--strip-debug", file])
    return built


def cross_prefix() -> str:
    """Prefix of the compiler's names: empty on an arm64 host."""
    return "" if os.uname().machine == "aarch64" else "aarch64-linux-gnu-"


def cross_words() -> list[str]:
    """How ``make`` is told to compile for the guest."""
    prefix = cross_prefix()
    return ["ARCH=arm64", f"CROSS_COMPILE={prefix}", f"CC={prefix}gcc"]


def objects(kbuild: str) -> set[str]:
    """Names of the modules that a Kbuild file makes."""
    words = " ".join(re.findall(r"^obj-m \+= (.*)$", kbuild, re.M)).split()
    return {word.removesuffix(".o").rstrip("/") for word in words}


def unpack_source(job: Job, source_deb: Path, folder: Path, members: tuple[str, ...] = ()) -> Path:
    """Unpack files of the kernel's source package (a compressed tree within a package), or all; returns their top."""
    name = re.match(r"linux-source-([\d.]+)_", source_deb.name)
    if name is None:
        raise InputError(f"{source_deb.name} is no kernel source package", hint="use Debian's linux-source-6.12")
    top = f"linux-source-{name[1]}"
    folder.mkdir()
    job.run(["dpkg-deb", "-x", source_deb, folder], timeout_s=_UNPACK_S)
    inner = folder / "usr" / "src" / f"{top}.tar.xz"
    job.run(["tar", "-xJf", inner, "-C", folder, *(f"{top}/{file}" for file in members)], timeout_s=_UNPACK_S)
    shutil.rmtree(folder / "usr")
    return folder / top


def _gather_sources(job: Job, source_deb: Path, loopback_deb: Path, folder: Path) -> None:
    """The drivers out of the source packages, ours beside them, and the edits."""
    raw = folder.with_name("source")
    top = unpack_source(job, source_deb, raw, SOURCE_FILES)
    folder.mkdir()
    for file in SOURCE_FILES:
        shutil.move(top / file, folder)
    shutil.rmtree(raw)
    job.run(["dpkg-deb", "-x", loopback_deb, raw], timeout_s=_UNPACK_S)
    for loopback in raw.glob("usr/src/v4l2loopback-*/*.[ch]"):
        shutil.move(loopback, folder)
    shutil.rmtree(raw)
    (folder / "gpio-sim.c").rename(folder / "gpio_sim_main.c")  # the module of that name has a second part
    for ours in (KBUILD, *_ours()):
        shutil.copy(ours, folder)
    makefile = folder / "netdevsim" / "Makefile"
    makefile.write_text(makefile.read_text().replace("$(CONFIG_NETDEVSIM)", "m"))
    for edit, target in _EDITS:
        job.run([sys.executable, PATCHER, edit, folder / target])


def _ours() -> list[Path]:
    return sorted(KERNEL_FOLDER.glob("*.c"))
