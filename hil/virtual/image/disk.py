"""The root file system: the tree, the modules, our bundle and the rig's overlay, made into ext4 without a mount."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from hil.virtual.image.modules import KernelFiles
from hil.virtual.image.programs import Programs
from hil.virtual.image.recipe import ROOM_MIB
from touchline.errors import InputError

OVERLAY: Final = Path(__file__).resolve().parents[1] / "guest"
_INSTALL_S: Final = 300.0
_NOT_COPIED: Final = ("README.md", "__pycache__")


def assemble(programs: Programs, root: Path, kernel: KernelFiles, bundle: Path, tree: Path, log: Path) -> None:
    """Make ``tree``: a copy of ``root`` with everything of ours in it. The bundle is installed by its own installer."""
    programs.run(["cp", "-a", "--reflink=auto", root, tree], timeout_s=_INSTALL_S, log=log)
    shutil.copytree(kernel.modules, tree / "usr" / "lib" / "modules" / kernel.release, symlinks=True)
    shutil.copytree(OVERLAY, tree, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    install_bundle(programs, bundle, tree, log)
    (tree / "etc" / "machine-id").write_text("")


def install_bundle(programs: Programs, bundle: Path, tree: Path, log: Path) -> None:
    """Unpack the bundle beside the tree and run its installer on the tree, from outside."""
    beside = tree.with_name("bundle")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    programs.run(["tar", "-xf", bundle, "-C", beside], timeout_s=_INSTALL_S, log=log)
    found = list(beside.glob("*/install.py"))
    if len(found) != 1:
        raise InputError(f"{bundle} is no Touchline bundle", hint="make one: touchline flash bundle create")
    words = [sys.executable, found[0], "--root", tree, "--no-start"]
    programs.run(words, timeout_s=_INSTALL_S, log=log)
    shutil.rmtree(beside)


def make_ext4(programs: Programs, tree: Path, out: Path, log: Path) -> None:
    """Write the tree as a sparse ext4 file with ``ROOM_MIB`` of free space."""
    used_kib = int(programs.run(["du", "-sk", tree], timeout_s=_INSTALL_S).split()[0])
    size_mib = -(-used_kib * 11 // 10240) + ROOM_MIB
    words = ["mke2fs", "-q", "-t", "ext4", "-L", "root", "-m", "0", "-E", "lazy_itable_init=1", "-d", tree, out]
    programs.run([*words, f"{size_mib}M"], timeout_s=_INSTALL_S, log=log)
