"""Build the image: resolve, fetch, root tree and modules side by side, then everything of ours, then ext4."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flash.bundle.create import create
from flash.bundle.lock import Target
from hil.virtual.image import recipe
from hil.virtual.image.apt import PrivateApt, host_mirror, kernel_suites, root_suites
from hil.virtual.image.devicetree import make_device_tree
from hil.virtual.image.disk import OVERLAY, assemble, make_ext4
from hil.virtual.image.host import check_host
from hil.virtual.image.image import Image, drop_old, images_folder, load_image, write_manifest
from hil.virtual.image.initrd import write_initrd
from hil.virtual.image.modules import KERNEL_FOLDER, KernelFiles, make_kernel
from hil.virtual.image.packages import Resolution, by_name, fingerprint
from hil.virtual.image.programs import Programs
from hil.virtual.image.recipe import digest, file_sha256, tree_digest
from hil.virtual.image.root import make_repository, make_tree
from hil.virtual.image.steps import CACHED, OnEvent, StepEvent, Steps, only_build
from hil.virtual.machine.qemu import MachineSpec, find_qemu
from touchline.errors import LinkError, TouchlineError
from touchline.timeline import utc_text

CODE: Final = Path(__file__).resolve().parent
_HOST_ARCH: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build. ``bundle`` None makes one of this checkout; ``mirror`` empty: the host's own apt decides."""

    cache: Path
    bundle: Path | None = None
    mirror: str = ""
    force: bool = False
    keep: int = 2


def build_image(request: BuildRequest, on_event: OnEvent) -> Image:
    """Build, or find what was built from the same inputs. Every step tells ``on_event`` when it starts and ends.

    Raises:
        ResourceError: a host program or package is missing, the disk is full, another build works in this cache.
        LinkError: the mirror cannot be reached and no earlier package list is at hand.
    """
    with only_build(request.cache):
        build = _Build(request, on_event)
        try:
            return build.run()
        except BaseException:  # also Ctrl-C: the programs end, their finished steps stay
            build.programs.stop()
            raise


class _Build:
    """One build in its cache."""

    def __init__(self, request: BuildRequest, on_event: OnEvent) -> None:
        self.request, self._on_event = request, on_event
        self.programs = Programs()
        self.steps = Steps(request.cache / "steps", on_event, force=request.force)
        self.archives = request.cache / "archives"
        self.log = request.cache / "build.log"
        self.host_arch = _HOST_ARCH.get(os.uname().machine, "amd64")

    def run(self) -> Image:
        """All steps in order."""
        self.log.write_bytes(b"")
        with self.steps.timed("host"):
            check_host(self.programs)
        resolved = self._resolve()
        bundle = self._bundle()
        image_id = self._image_id(resolved, bundle)
        if not self.request.force and (found := self._built(image_id)) is not None:
            return found
        with ThreadPoolExecutor(2) as pool:
            root = pool.submit(self._root, resolved)
            kernel = pool.submit(self._kernel, resolved)
            try:
                root.result()
                kernel.result()
            except BaseException:  # one failed or Ctrl-C: the other's program is ended so that the pool can close
                self.programs.stop()
                raise
        image = self._assemble(image_id, resolved, root.result(), kernel.result(), bundle)
        self.steps.tidy()
        drop_old(self.request.cache, self.request.keep)
        return image

    # --- what goes in ---

    def _resolve(self) -> Resolution:
        saved = self.request.cache / "resolution.json"
        try:
            with self.steps.timed("packages"):
                resolved = self._ask_apt()
                self._fetch(resolved)
        except LinkError as error:
            if not saved.exists():
                raise
            self._on_event(StepEvent("packages", CACHED, 0.0, f"the last list is used, since {error.message}"))
            return Resolution.from_json(saved.read_text())
        saved.write_text(resolved.to_json())
        return resolved

    def _ask_apt(self) -> Resolution:
        mirror = host_mirror(self.programs, self.request.mirror)
        self._root_apt = self._apt("root")
        self._root_apt.configure(root_suites(mirror, recipe.GUEST_ARCH))
        self._kernel_apt = self._apt("kernel")
        self._kernel_apt.configure(kernel_suites(mirror, (recipe.GUEST_ARCH, self.host_arch)))
        self._root_apt.update()
        self._kernel_apt.update()
        essential = self._root_apt.essential()
        version = self._kernel_apt.field(recipe.KERNEL_META, "Version")
        depends = self._kernel_apt.field(recipe.KERNEL_META, "Depends")
        release = depends.split()[0].removeprefix("linux-image-")
        return Resolution(
            root=tuple(self._root_apt.plan([*essential, *recipe.PACKAGES])),
            initrd=tuple(self._root_apt.locate(recipe.INITRD_PACKAGES)),
            kernel=tuple(self._kernel_apt.locate(_kernel_packages(release, version, self.host_arch))),
            kernel_release=release,
            kernel_version=version,
        )

    def _apt(self, name: str) -> PrivateApt:
        return PrivateApt(self.programs, self.request.cache / "apt" / name, recipe.GUEST_ARCH, self.archives)

    def _fetch(self, resolved: Resolution) -> None:
        self._root_apt.download([*resolved.root, *resolved.initrd])
        self._kernel_apt.download(resolved.kernel)

    def _bundle(self) -> Path:
        if self.request.bundle is not None:
            return self.request.bundle
        out = self.request.cache / "bundle.tar"
        with self.steps.timed("bundle"):
            create(out, Target("aarch64", recipe.GUEST_PYTHON), "node", say=lambda _text: None)
        return out

    def _image_id(self, resolved: Resolution, bundle: Path) -> str:
        return digest(
            self._root_key(resolved),
            self._kernel_key(resolved),
            fingerprint(resolved.initrd),
            tree_digest([OVERLAY]),
            (CODE / "init.sh").read_bytes(),
            find_qemu().text,
            file_sha256(bundle),
            str(recipe.ROOM_MIB),
        )[:16]

    def _built(self, image_id: str) -> Image | None:
        try:
            found = load_image(self.request.cache, image_id)
        except TouchlineError:  # none, or a damaged one: it is built
            return None
        (found.folder / "manifest.json").touch()  # the newest, which others take
        self._on_event(StepEvent("image", CACHED, 0.0, found.image_id))
        return found

    # --- what is made ---

    def _root_key(self, resolved: Resolution) -> str:
        return digest(recipe.SCHEMA, fingerprint(resolved.root), (CODE / "root.py").read_bytes())

    def _kernel_key(self, resolved: Resolution) -> str:
        modules = json.dumps([recipe.MODULES, recipe.SOURCE_FILES])
        return digest(
            recipe.SCHEMA,
            fingerprint(resolved.kernel),
            modules,
            (CODE / "modules.py").read_bytes(),
            tree_digest([KERNEL_FOLDER]),
        )

    def _root(self, resolved: Resolution) -> Path:
        def work(folder: Path) -> None:
            repository = folder / "repository"
            repository.mkdir()
            make_repository(self.programs, resolved.root, self.archives, repository)
            make_tree(self.programs, resolved.root, recipe.GUEST_ARCH, repository, folder / "tree", self._log("root"))
            shutil.rmtree(repository)

        text = f"{len(resolved.root)} Debian packages"
        return self.steps.make("root", self._root_key(resolved), work, text) / "tree"

    def _kernel(self, resolved: Resolution) -> KernelFiles:
        def work(folder: Path) -> None:
            packages = by_name(resolved.kernel)
            make_kernel(self.programs, packages, self.archives, resolved.kernel_release, folder, self._log("kernel"))

        text = f"Linux {resolved.kernel_release}"
        folder = self.steps.make("kernel", self._kernel_key(resolved), work, text)
        return KernelFiles(folder, resolved.kernel_release)

    def _assemble(self, image_id: str, resolved: Resolution, root: Path, kernel: KernelFiles, bundle: Path) -> Image:
        target = images_folder(self.request.cache) / image_id
        part = target.with_name(f".{image_id}.part")
        for old in (part, target):
            shutil.rmtree(old, ignore_errors=True)
        part.mkdir(parents=True)
        log = self._log("image")
        with self.steps.timed("boot files"):
            shutil.copy(kernel.kernel, part / "vmlinuz")
            self._initrd(resolved, kernel, part, log)
            spec = MachineSpec("a", part / "vmlinuz", part / "initrd.gz", part / "root.img", part, image_id)
            make_device_tree(self.programs, spec, part, log)
        tree = part / "tree"
        with self.steps.timed("root file system"):
            assemble(self.programs, root, kernel, bundle, tree, log)
            release = (tree / "opt" / "touchline" / "current").readlink().name
            make_ext4(self.programs, tree, part / "root.img", log)
            shutil.rmtree(tree)
        with self.steps.timed("image", image_id):
            facts = {
                "image_id": image_id,
                "kernel_release": resolved.kernel_release,
                "touchline_release": release,
                "created_utc": utc_text(),
                "qemu": find_qemu().text,
                "packages": {one.name: one.version for one in (*resolved.root, *resolved.kernel)},
            }
            write_manifest(part, facts)
            part.rename(target)
        return load_image(self.request.cache, image_id, verify=False)

    def _initrd(self, resolved: Resolution, kernel: KernelFiles, part: Path, log: Path) -> None:
        unpacked = part / "busybox"
        self.programs.run(["dpkg-deb", "-x", self.archives / resolved.initrd[0].file, unpacked], log=log)
        busybox = next(path for path in unpacked.rglob("busybox") if path.is_file() and path.parent.name == "bin")
        write_initrd(part / "initrd.gz", busybox, CODE / "init.sh", kernel.initrd_modules())
        shutil.rmtree(unpacked)

    def _log(self, name: str) -> Path:
        return self.log.with_name(f"build-{name}.log")


def _kernel_packages(release: str, version: str, host_arch: str) -> list[str]:
    """The kernel, its headers, the build tools for this host, and the sources, all of one version."""
    flavour = f"-{recipe.GUEST_ARCH}"
    plain = release.removesuffix(flavour)
    series = ".".join(plain.split(".")[:2])
    return [
        f"linux-image-{release}",
        f"linux-headers-{release}={version}",
        f"linux-headers-{plain}-common={version}",
        f"linux-kbuild-{plain}:{host_arch}={version}",
        f"linux-source-{series}={version}",
    ]
