"""The guest's kernel: Debian's own, unpacked, or ours; and what of it the image takes: the wanted modules' closure."""

from __future__ import annotations

import lzma
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hil.virtual.image.archives import Archives
from hil.virtual.image.closure import ModuleTable
from hil.virtual.image.packages import Package, Resolution
from hil.virtual.image.programs import Job
from hil.virtual.image.recipe import INITRD_MODULES, LOOPBACK_PACKAGE
from touchline.errors import InputError

_UNPACK_S: Final = 300.0
_EXTRA: Final = "extra"
_TABLES: Final = ("builtin", "builtin.modinfo", "order")


@dataclass(frozen=True, slots=True)
class KernelTree:
    """A kernel as unpacked or compiled.

    ``image`` boots; ``modules`` is its ``lib/modules/RELEASE`` with depmod's tables; ``build`` is the tree that other
    modules are made against.
    """

    release: str
    image: Path
    modules: Path
    build: Path


@dataclass(frozen=True, slots=True)
class KernelFiles:
    """What the image takes, in one folder: the kernel, the tree below ``lib/modules``, the initrd's load order."""

    folder: Path
    release: str

    @staticmethod
    def read(folder: Path) -> KernelFiles:
        """What :func:`keep_wanted` left in ``folder``."""
        return KernelFiles(folder, next((folder / "lib" / "modules").iterdir()).name)

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


def unpack_stock(job: Job, resolved: Resolution, archives: Archives, work: Path) -> KernelTree:
    """Debian's kernel and its headers below ``work``, ready to compile modules against."""
    release = resolved.kernel_release
    headers = f"linux-headers-{release}"
    wanted = [one for one in resolved.kernel if not one.name.startswith(("linux-source-", LOOPBACK_PACKAGE))]
    for package in wanted:
        job.run(["dpkg-deb", "-x", archives.path(package), work], timeout_s=_UNPACK_S)
    build = work / "usr" / "src" / headers
    makefile = build / "Makefile"  # it names its common part by an absolute path
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{work}/usr/src/"))
    (build / "vmlinux").unlink(missing_ok=True)  # with it the build wants pahole, for type data that nobody reads
    job.run(["depmod", "-b", work, release])
    return KernelTree(release, work / "boot" / f"vmlinuz-{release}", work / "lib" / "modules" / release, build)


def source_package(packages: Iterable[Package]) -> Package:
    """The kernel's source package among these."""
    return next(one for one in packages if one.name.startswith("linux-source-"))


def loopback_package(packages: Iterable[Package]) -> Package:
    """The sources of v4l2loopback among these; InputError when the list is from before it was taken."""
    for one in packages:
        if one.name == LOOPBACK_PACKAGE:
            return one
    raise InputError(f"the saved package list has no {LOOPBACK_PACKAGE}", hint="run the build online")


def keep_wanted(job: Job, tree: KernelTree, wanted: Sequence[str], built: Sequence[Path], out: Path) -> KernelFiles:
    """Copy the kernel, the closure of the wanted modules (uncompressed: unpacking it would be emulated) and ``built``.

    depmod writes the tables anew for what was taken.
    """
    table = ModuleTable.parse(
        *((tree.modules / f"modules.{name}").read_text() for name in ("dep", "softdep", "builtin"))
    )
    files = KernelFiles(out, tree.release)
    shutil.copy(tree.image, files.kernel)
    for name in table.closure(wanted):
        _unpacked(tree.modules / table.paths[name], files.modules / table.paths[name])
    for name in _TABLES:
        shutil.copy(tree.modules / f"modules.{name}", files.modules)
    (files.modules / _EXTRA).mkdir()
    for file in built:
        shutil.copy(file, files.modules / _EXTRA)
    job.run(["depmod", "-b", out, tree.release])
    order = [table.paths[name].removesuffix(".xz") for name in table.closure(INITRD_MODULES)]
    (out / "initrd-order").write_text("".join(f"{path}\n" for path in order))
    return files


def _unpacked(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".xz":
        target.with_suffix("").write_bytes(lzma.decompress(source.read_bytes()))
    elif source.suffix == ".ko":
        shutil.copy(source, target)
    else:
        raise InputError(
            f"{source.name}: a module compressed like this cannot be read", hint="use Debian's 6.12 kernel"
        )
