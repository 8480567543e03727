"""The optional kernel: Debian's sources of the same version with our own short configuration, compiled once and kept.

It adds what Debian's kernel has no module for: emulated temperatures in every thermal zone, the IIO dummy. The result
is a step of the same cache; ``build --kernel custom`` takes it.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hil.virtual.image.gather import Gatherer
from hil.virtual.image.host import check_host, check_space, host_arch
from hil.virtual.image.kernel import KernelTree, source_package
from hil.virtual.image.modules import cross_words, unpack_source
from hil.virtual.image.packages import Resolution
from hil.virtual.image.programs import Job, Programs
from hil.virtual.image.recipe import KERNEL_FOLDER, KERNEL_PROGRAMS, code_digest, digest
from hil.virtual.image.session import building
from hil.virtual.image.steps import OnEvent, Steps, discard
from touchline.errors import InputError, ResourceError

CONFIG: Final = KERNEL_FOLDER / "hil-6.12.config"
STEP: Final = "custom-kernel"
_CONFIG_S: Final = 300.0
_COMPILE_S: Final = 3 * 3600.0
_NOBODY: Final = (
    "KBUILD_BUILD_USER=touchline",
    "KBUILD_BUILD_HOST=virtual",
    "KBUILD_BUILD_TIMESTAMP=2020-02-02 00:00:00 UTC",
)
_FOR_MODULES: Final = ("Makefile", "Kbuild", ".config", "Module.symvers", "arch", "include", "scripts")
_FOR_ARCH: Final = re.compile(r".*\.(h|lds)|(Makefile|Kbuild).*")


@dataclass(frozen=True, slots=True)
class KernelRequest:
    """Where to keep the kernel, and which mirror its sources come from (empty: the host's own)."""

    cache: Path
    mirror: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True)
class KernelStatus:
    """The custom kernel of a cache. ``release`` None: there is none. ``current``: from today's inputs."""

    release: str | None
    current: bool
    folder: Path | None


def custom_key(resolved: Resolution) -> str:
    """Hash of what the kernel is compiled from."""
    source = source_package(resolved.kernel)
    return digest(source.sha256, CONFIG.read_bytes(), code_digest(Path(__file__)))


def need_custom(steps: Steps, resolved: Resolution) -> Path:
    """The folder of the kernel that was compiled from the same inputs; ResourceError when there is none."""
    folder = steps.find(STEP, custom_key(resolved))
    if folder is None:
        raise ResourceError(
            f"the custom kernel {resolved.kernel_version} is not built",
            hint="touchline hil virtual kernel build (10 to 15 min, once)",
        )
    return folder


def custom_tree(folder: Path) -> KernelTree:
    """What :func:`compile_kernel` left in ``folder``."""
    release = (folder / "release").read_text()
    return KernelTree(release, folder / "Image", folder / "lib" / "modules" / release, folder / "build")


def build_kernel(request: KernelRequest, on_event: OnEvent) -> KernelTree:
    """Compile, or find what was compiled from the same inputs.

    Raises:
        ResourceError: a host package is missing, the disk is full, another build works in this cache.
        LinkError: the sources cannot be had.
        InputError: the configuration asks for what this kernel does not have.
    """
    programs = Programs()
    steps = Steps(request.cache / "steps", on_event, force=request.force)
    gatherer = Gatherer(programs, request.cache, host_arch(), request.mirror)
    with building(programs, request.cache):
        with steps.timed("host"):
            check_host(programs, KERNEL_PROGRAMS)
            steps.sweep()
        resolved = gatherer.gather(steps)
        source = source_package(resolved.kernel)
        key = custom_key(resolved)

        def work(folder: Path) -> None:
            check_space(request.cache, [STEP])
            gatherer.archives.require([source])
            log = request.cache / "build-custom-kernel.log"
            log.unlink(missing_ok=True)
            compile_kernel(Job(programs, log), gatherer.archives.path(source), folder, steps)

        return custom_tree(steps.make(STEP, key, work, f"Linux {resolved.kernel_version}"))


def kernel_status(cache: Path) -> KernelStatus:
    """What a cache has, judged by the package list of its last build; nothing is fetched."""
    saved = cache / "resolution.json"
    steps = Steps(cache / "steps", lambda _event: None)
    if saved.exists() and CONFIG.exists():  # an installed copy has no configuration to compare with
        folder = steps.find(STEP, custom_key(Resolution.from_json(saved.read_text())))
        if folder is not None:
            return KernelStatus(custom_tree(folder).release, True, folder)
    older = steps.newest(STEP)
    return KernelStatus(None if older is None else custom_tree(older).release, False, older)


def compile_kernel(job: Job, source_deb: Path, out: Path, steps: Steps) -> None:
    """From the source package to an image, installed modules and a tree to make other modules against."""
    with steps.timed("kernel source"):
        top = unpack_source(job, source_deb, out / "source")
        tree = out / "build"
        top.rename(tree)
        shutil.rmtree(out / "source")
    make = ["make", "-C", str(tree), *cross_words(), *_NOBODY]
    with steps.timed("kernel configuration"):
        job.run([*make, f"KCONFIG_ALLCONFIG={CONFIG}", "allnoconfig"], timeout_s=_CONFIG_S)
        job.run([*make, "olddefconfig"], timeout_s=_CONFIG_S)
        refused = unmet(CONFIG.read_text(), (tree / ".config").read_text())
        if refused:
            raise InputError(f"the kernel does not take {', '.join(refused)}", hint=f"correct {CONFIG}")
    with steps.timed("kernel compilation", f"see {job.log}"):
        job.run([*make, f"-j{os.cpu_count() or 1}", "Image", "modules"], timeout_s=_COMPILE_S)
    with steps.timed("kernel modules"):
        job.run([*make, f"INSTALL_MOD_PATH={out}", "INSTALL_MOD_STRIP=1", "modules_install"], timeout_s=_CONFIG_S)
        release = (tree / "include" / "config" / "kernel.release").read_text().strip()
        shutil.copy(tree / "arch" / "arm64" / "boot" / "Image", out / "Image")
        (out / "lib" / "modules" / release / "build").unlink(missing_ok=True)  # it names this temporary folder
        job.run(["depmod", "-b", out, release])
        slim(tree)
    (out / "release").write_text(release)


def asked(fragment: str) -> dict[str, str]:
    """Symbols and values of a configuration; "n" for those that are said not to be set."""
    values: dict[str, str] = {}
    for line in fragment.splitlines():
        if (match := re.fullmatch(r"(CONFIG_\w+)=(.*)", line.strip())) is not None:
            values[match[1]] = match[2]
        elif (match := re.fullmatch(r"# (CONFIG_\w+) is not set", line.strip())) is not None:
            values[match[1]] = "n"
    return values


def unmet(fragment: str, config: str) -> list[str]:
    """What a fragment asks for and a configuration does not have; built in where a module was asked for is fine."""
    have = asked(config)
    wrong = []
    for symbol, value in asked(fragment).items():
        got = have.get(symbol, "n")
        if got != value and (value, got) != ("m", "y"):
            wrong.append(f"{symbol}={value} (is {got})")
    return wrong


def slim(tree: Path) -> None:
    """Leave of a compiled tree what other modules are made against: headers, makefiles, scripts, symbol versions."""
    for path in tree.iterdir():
        if path.name not in _FOR_MODULES:
            discard(path)
    for arch in (tree / "arch").iterdir():
        if arch.name == "arm64":
            _drop_sources(arch)
        else:
            discard(arch)


def _drop_sources(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for one in path.iterdir():
            _drop_sources(one)
        if not any(path.iterdir()):
            path.rmdir()
    elif not _FOR_ARCH.fullmatch(path.name):
        path.unlink()
