"""The root file system: the tree, the modules, our bundle and the rig's overlay, made into ext4 without a mount."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hil.virtual.image.kernel import KernelFiles
from hil.virtual.image.programs import Job
from hil.virtual.image.recipe import ROOM_MIB
from touchline.errors import InputError

OVERLAY: Final = Path(__file__).resolve().parents[1] / "guest"
_INSTALL_S: Final = 300.0
_NOT_COPIED: Final = ("README.md", "__pycache__")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a root file system is put together from: the Debian tree, the modules, and our bundle's file."""

    root: Path
    kernel: KernelFiles
    bundle: Path


def assemble(job: Job, parts: Parts, tree: Path) -> str:
    """Make ``tree``: a copy of the root with everything of ours in it; returns the release that was installed."""
    job.run(["cp", "-a", "--reflink=auto", parts.root, tree], timeout_s=_INSTALL_S)
    shutil.copytree(parts.kernel.modules, tree / "usr" / "lib" / "modules" / parts.kernel.release, symlinks=True)
    shutil.copytree(OVERLAY, tree, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    install_bundle(job, parts.bundle, tree)
    (tree / "etc" / "machine-id").write_text("")
    return (tree / "opt" / "touchline" / "current").readlink().name


def install_bundle(job: Job, bundle: Path, tree: Path) -> None:
    """Unpack the bundle beside the tree and run its installer on the tree, from outside."""
    beside = tree.with_name("bundle")
    beside.mkdir()
    job.run(["tar", "-xf", bundle, "-C", beside], timeout_s=_INSTALL_S)
    found = list(beside.glob("*/install.py"))
    if len(found) != 1:
        raise InputError(f"{bundle} is no Touchline bundle", hint="make one: touchline flash bundle create")
    job.run([sys.executable, found[0], "--root", tree, "--no-start"], timeout_s=_INSTALL_S)
    shutil.rmtree(beside)


def make_ext4(job: Job, tree: Path, out: Path) -> None:
    """Write the tree as a sparse ext4 file with ``ROOM_MIB`` of free space."""
    used_kib = int(job.read(["du", "-sk", tree], timeout_s=_INSTALL_S).split()[0])
    size_mib = -(-used_kib * 11 // 10240) + ROOM_MIB
    kind = ["-q", "-t", "ext4", "-L", "root", "-m", "0", "-E", "lazy_itable_init=1"]
    job.run(["mke2fs", *kind, "-d", tree, out, f"{size_mib}M"], timeout_s=_INSTALL_S)
