"""The guest's kernel and its modules: Debian's own, and those that Debian leaves out, built beside its headers.

The out-of-tree build takes the drivers from Debian's kernel source package of the same version, edits them with the
program in ``hil/virtual/kernel`` (a process of its own; nothing of it is imported) and cross-compiles them.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hil.virtual.image.closure import ModuleTable
from hil.virtual.image.packages import Package
from hil.virtual.image.programs import Programs
from hil.virtual.image.recipe import INITRD_MODULES, MODULES, SOURCE_FILES
from touchline.errors import InputError, ResourceError

KERNEL_FOLDER: Final = Path(__file__).resolve().parents[1] / "kernel"
_BUILD_S: Final = 600.0
_UNPACK_S: Final = 300.0
_EXTRA: Final = "extra"


@dataclass(frozen=True, slots=True)
class KernelFiles:
    """Results in one folder: the kernel, the tree below ``lib/modules``, and the initrd's modules in load order."""

    folder: Path
    release: str

    @property
    def kernel(self) -> Path:
        """The bootable image."""
        return self.folder / "vmlinuz"

    @property
    def modules(self) -> Path:
        """What goes to ``/usr/lib/modules/RELEASE``."""
        return self.folder / "lib" / "modules" / self.release

    def initrd_modules(self) -> list[Path]:
        """The files that the initrd loads, in order."""
        return [self.modules / line for line in (self.folder / "initrd-order").read_text().splitlines()]


def make_kernel(
    programs: Programs, packages: Mapping[str, Package], archives: Path, release: str, out: Path, log: Path
) -> KernelFiles:
    """Unpack Debian's kernel, build the missing modules, keep the closure of those wanted. ``out``: an empty folder."""
    work = out / "work"
    work.mkdir(parents=True)
    headers = f"linux-headers-{release}"
    common = next(name for name in packages if name.startswith("linux-headers-") and name.endswith("-common"))
    kbuild = next(name for name in packages if name.startswith("linux-kbuild-"))
    for name in (f"linux-image-{release}", headers, common, kbuild):
        programs.run(["dpkg-deb", "-x", archives / packages[name].file, work], timeout_s=_UNPACK_S, log=log)
    built = build_modules(programs, archives / packages[source_package(packages)].file, work, headers, log)
    shutil.copy(work / "boot" / f"vmlinuz-{release}", out / "vmlinuz")
    _keep_wanted(programs, work / "lib" / "modules" / release, built, out, release, log)
    shutil.rmtree(work)
    return KernelFiles(out, release)


def source_package(packages: Mapping[str, Package]) -> str:
    """The name of the kernel source package among these."""
    return next(name for name in packages if name.startswith("linux-source-"))


def build_modules(programs: Programs, source_deb: Path, work: Path, headers: str, log: Path) -> list[Path]:
    """Compile the modules of ``hil/virtual/kernel/Kbuild``; returns the ``.ko`` files, without debug data."""
    folder = work / "modules"
    _gather_sources(programs, source_deb, folder, log)
    tree = work / "usr" / "src" / headers
    makefile = tree / "Makefile"  # it names its common part by an absolute path
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{work}/usr/src/"))
    (tree / "vmlinux").unlink(missing_ok=True)  # with it the build wants pahole, for type data that nobody reads
    prefix = cross_prefix()
    words = ["make", "-C", tree, f"M={folder}", f"-j{os.cpu_count() or 1}", f"CC={prefix}gcc", "modules"]
    programs.run(words, timeout_s=_BUILD_S, log=log)
    built = sorted([*folder.glob("*.ko"), *folder.glob("*/*.ko")])
    wanted = _objects((KERNEL_FOLDER / "Kbuild").read_text())
    if (missing := wanted - {file.stem for file in built}) != set():
        raise InputError(f"the kernel build made no {', '.join(sorted(missing))}", hint=f"see {log}")
    for file in built:
        programs.run([f"{prefix}strip", "--strip-debug", file], log=log)
    return built


def cross_prefix() -> str:
    """Prefix of the compiler's names: empty on an arm64 host."""
    return "" if os.uname().machine == "aarch64" else "aarch64-linux-gnu-"


def _objects(kbuild: str) -> set[str]:
    words = " ".join(re.findall(r"^obj-m \+= (.*)$", kbuild, re.M)).split()
    return {word.removesuffix(".o").rstrip("/") for word in words}


def _gather_sources(programs: Programs, source_deb: Path, folder: Path, log: Path) -> None:
    """The drivers out of the source package (a compressed tree within a package), ours beside them, and the edits."""
    name = re.match(r"linux-source-([\d.]+)_", source_deb.name)
    if name is None:
        raise InputError(f"{source_deb.name} is no kernel source package")
    top = f"linux-source-{name[1]}"
    raw = folder.parent / "source"
    raw.mkdir()
    members = " ".join(f"{top}/{file}" for file in SOURCE_FILES)
    inner = f"./usr/src/{top}.tar.xz"
    script = (  # the outer reader is stopped early on purpose once the inner archive has passed
        f"set -e; dpkg-deb --fsys-tarfile '{source_deb}' | tar -xO --occurrence=1 -f - '{inner}' > '{raw}/inner.tar.xz'"
        f" || [ -s '{raw}/inner.tar.xz' ]; tar -xJf '{raw}/inner.tar.xz' -C '{raw}' {members}; rm '{raw}/inner.tar.xz'"
    )
    programs.run(["sh", "-c", script], timeout_s=_UNPACK_S, log=log)
    folder.mkdir()
    for file in SOURCE_FILES:
        _copy(raw / top / file, folder)
    shutil.rmtree(raw)
    (folder / "gpio-sim.c").rename(folder / "gpio_sim_main.c")  # the module of that name has a second part
    for ours in (*KERNEL_FOLDER.glob("*.c"), KERNEL_FOLDER / "Kbuild"):
        shutil.copy(ours, folder)
    makefile = folder / "netdevsim" / "Makefile"
    makefile.write_text(makefile.read_text().replace("$(CONFIG_NETDEVSIM)", "m"))
    for edit, target in (("ptp_mock", "ptp_mock.c"), ("netdevsim", "netdevsim"), ("irq_sim", "irq_sim.c")):
        programs.run([sys.executable, KERNEL_FOLDER / "patch_drivers.py", edit, folder / target], log=log)


def _copy(source: Path, folder: Path) -> None:
    if not source.exists():
        raise InputError(
            f"the kernel source package has no {source.name}", hint="this kernel is not supported: use 6.12"
        )
    if source.is_dir():
        shutil.copytree(source, folder / source.name)
    else:
        shutil.copy(source, folder)


def _keep_wanted(programs: Programs, stock: Path, built: Sequence[Path], out: Path, release: str, log: Path) -> None:
    """Copy the closure, uncompressed (unpacking it would be emulated), and let depmod write the tables anew."""
    programs.run(["depmod", "-b", stock.parents[2], release], log=log)
    texts = [(stock / f"modules.{name}").read_text() for name in ("dep", "softdep", "builtin")]
    table = ModuleTable.parse(*texts)
    target = out / "lib" / "modules" / release
    for name in table.closure(MODULES):
        _unpacked(stock / table.paths[name], target / table.paths[name])
    for name in ("builtin", "builtin.modinfo", "order"):
        shutil.copy(stock / f"modules.{name}", target)
    (target / _EXTRA).mkdir()
    for file in built:
        shutil.copy(file, target / _EXTRA)
    programs.run(["depmod", "-b", out, release], log=log)
    order = [table.paths[name].removesuffix(".xz") for name in table.closure(INITRD_MODULES)]
    (out / "initrd-order").write_text("".join(f"{path}\n" for path in order))


def _unpacked(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".xz":
        target.with_suffix("").write_bytes(lzma.decompress(source.read_bytes()))
    elif source.suffix == ".ko":
        shutil.copy(source, target)
    else:
        raise ResourceError(f"{source.name}: modules compressed like this cannot be read here")
