"""Build the image: resolve, fetch, root tree and modules side by side, then everything of ours, then ext4."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hil.virtual.image import recipe
from hil.virtual.image.bundle import Bundle, checkout_bundle, given_bundle
from hil.virtual.image.custom_kernel import custom_key, custom_tree, need_custom
from hil.virtual.image.devicetree import PARTS, make_device_tree
from hil.virtual.image.disk import OVERLAY, Parts, assemble, make_ext4
from hil.virtual.image.gather import Gatherer
from hil.virtual.image.host import check_host, check_space, host_arch
from hil.virtual.image.image import Image, drop_old, images_folder, load_image, remember, sweep_images, write_manifest
from hil.virtual.image.initrd import write_initrd
from hil.virtual.image.kernel import (
    KernelFiles,
    KernelTree,
    keep_wanted,
    loopback_package,
    source_package,
    unpack_stock,
)
from hil.virtual.image.modules import build_modules, inputs_digest
from hil.virtual.image.packages import Resolution, fingerprint
from hil.virtual.image.programs import Job, Programs
from hil.virtual.image.recipe import code_digest, digest, tree_digest
from hil.virtual.image.root import make_tree
from hil.virtual.image.session import building
from hil.virtual.image.steps import CACHED, OnEvent, StepEvent, Steps, discard
from hil.virtual.machine.qemu import MachineSpec, dump_argv, find_qemu
from touchline.errors import TouchlineError
from touchline.timeline import utc_text

STOCK: Final = "stock"
CUSTOM: Final = "custom"
_CODE: Final = Path(__file__).resolve().parent
_INIT: Final = _CODE / "init.sh"


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build. ``bundle`` None makes one of this checkout; ``mirror`` empty: the host's own apt decides.

    ``kernel``: "stock" is Debian's, "custom" the one that ``touchline hil virtual kernel build`` made. ``keep``: how
    many images, and of each step how many results, stay in the cache (at least one).
    """

    cache: Path
    bundle: Path | None = None
    mirror: str = ""
    kernel: str = STOCK
    force: bool = False
    keep: int = 2


def build_image(request: BuildRequest, on_event: OnEvent) -> Image:
    """Build, or find what was built from the same inputs. Every step tells ``on_event`` when it starts and ends.

    Raises:
        ResourceError: a host program or package is missing, the disk is full, another build works in this cache, the
            custom kernel is asked for and was not made.
        LinkError: the mirror cannot be reached and no earlier package list, or not all of its files, are at hand.
    """
    return Build(request, on_event).run()


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What goes in, and the keys made of it."""

    resolved: Resolution
    bundle: Bundle
    root_key: str
    kernel_key: str


class Build:
    """One build in its cache."""

    def __init__(self, request: BuildRequest, on_event: OnEvent) -> None:
        self.request, self._on_event = request, on_event
        self.programs = Programs()
        self.steps = Steps(request.cache / "steps", on_event, force=request.force)
        self._gatherer = Gatherer(self.programs, request.cache, host_arch(), request.mirror)
        self._archives = self._gatherer.archives

    def run(self) -> Image:
        """All steps in order."""
        with building(self.programs, self.request.cache):
            with self.steps.timed("host"):
                check_host(self.programs)
                self.steps.sweep()
                sweep_images(self.request.cache)
                check_space(self.request.cache, self._first_needs())
            inputs = self._inputs()
            image_id = self._image_id(inputs)
            return self._built(image_id) or self._make(image_id, inputs)

    def _first_needs(self) -> list[str]:
        """Steps that surely have to be made; what the rest needs is asked again once the inputs are known."""
        new = [name for name in ("root", "kernel") if not self.steps.has(name)]
        fetched = (self.request.cache / "resolution.json").exists()
        return [*new, *([] if fetched else ["packages", "bundle"]), *(["image"] if new else [])]

    # --- what goes in ---

    def _inputs(self) -> _Inputs:
        resolved = self._gatherer.gather(self.steps)
        given = self.request.bundle
        bundle = checkout_bundle(self.request.cache, self.steps) if given is None else given_bundle(given)
        root_key = digest(recipe.SCHEMA, fingerprint(resolved.root), code_digest(_CODE / "root.py"))
        kernel_key = digest(
            recipe.SCHEMA,
            fingerprint(resolved.kernel),
            custom_key(resolved) if self.request.kernel == CUSTOM else STOCK,
            json.dumps([self._wanted(), recipe.SOURCE_FILES]),
            inputs_digest(),
            code_digest(*(_CODE / f"{name}.py" for name in ("kernel", "modules", "closure"))),
        )
        return _Inputs(resolved, bundle, root_key, kernel_key)

    def _wanted(self) -> list[str]:
        return [*recipe.MODULES, *(recipe.CUSTOM_MODULES if self.request.kernel == CUSTOM else ())]

    def _image_id(self, inputs: _Inputs) -> str:
        anywhere = self._spec(Path("part"), "")
        return digest(
            inputs.root_key,
            inputs.kernel_key,
            fingerprint(inputs.resolved.initrd),
            inputs.bundle.sha256,
            tree_digest([OVERLAY]),
            *(file.read_bytes() for file in (_INIT, *PARTS)),
            code_digest(*(_CODE / f"{name}.py" for name in ("disk", "initrd", "devicetree"))),
            "\0".join([find_qemu().text, *dump_argv(anywhere, Path("virt.dtb"))]),
            str(recipe.ROOM_MIB),
        )[:16]

    def _built(self, image_id: str) -> Image | None:
        if self.request.force:
            return None
        try:
            found = load_image(self.request.cache, image_id)
        except TouchlineError:  # none, or a damaged one: it is built
            return None
        remember(found)
        self._on_event(StepEvent("image", CACHED, 0.0, found.image_id))
        return found

    # --- what is made ---

    def _make(self, image_id: str, inputs: _Inputs) -> Image:
        keys = {"root": inputs.root_key, "kernel": inputs.kernel_key}
        needs = [name for name, key in keys.items() if not self.steps.has(name, key)]
        check_space(self.request.cache, [*needs, "image"])
        with ThreadPoolExecutor(2) as pool:
            root = pool.submit(self._root, inputs)
            kernel = pool.submit(self._kernel, inputs)
            try:
                both: list[Future[Any]] = [root, kernel]
                for one in wait(both, return_when=FIRST_EXCEPTION).done:
                    one.result()
            except BaseException:  # one failed or Ctrl-C: the other's program is ended so that the pool can close
                self.programs.stop()
                raise
        parts = Parts(root.result(), kernel.result(), inputs.bundle.file)
        image = self._assemble(image_id, inputs.resolved, parts)
        self.steps.tidy(self.request.keep)
        self._archives.tidy(inputs.resolved.all)
        drop_old(self.request.cache, self.request.keep)
        return image

    def _root(self, inputs: _Inputs) -> Path:
        packages = inputs.resolved.root

        def work(folder: Path) -> None:
            self._archives.require(packages)
            make_tree(self._job("root"), packages, self._archives, folder)

        return self.steps.make("root", inputs.root_key, work, f"{len(packages)} Debian packages") / "tree"

    def _kernel(self, inputs: _Inputs) -> KernelFiles:
        def work(folder: Path) -> None:
            self._archives.require(inputs.resolved.kernel)
            job, beside = self._job("kernel"), folder / "work"
            beside.mkdir()
            tree = self._kernel_tree(job, inputs.resolved, beside)
            packages = inputs.resolved.kernel
            source_deb = self._archives.path(source_package(packages))
            loopback_deb = self._archives.path(loopback_package(packages))
            built = build_modules(job, source_deb, loopback_deb, tree.build, beside)
            keep_wanted(job, tree, self._wanted(), built, folder)
            shutil.rmtree(beside)

        custom = self.request.kernel == CUSTOM
        text = f"Linux {inputs.resolved.kernel_version}, {self.request.kernel}"
        if custom:
            need_custom(self.steps, inputs.resolved)
        return KernelFiles.read(self.steps.make("kernel", inputs.kernel_key, work, text))

    def _kernel_tree(self, job: Job, resolved: Resolution, work: Path) -> KernelTree:
        if self.request.kernel == CUSTOM:
            return custom_tree(need_custom(self.steps, resolved))
        return unpack_stock(job, resolved, self._archives, work)

    def _assemble(self, image_id: str, resolved: Resolution, parts: Parts) -> Image:
        target = images_folder(self.request.cache) / image_id
        part = target.with_name(f".{image_id}.part")
        discard(part)
        part.mkdir(parents=True)
        job = self._job("image")
        with self.steps.timed("boot files"):
            shutil.copy(parts.kernel.kernel, part / "vmlinuz")
            self._initrd(job, resolved, parts.kernel, part)
            make_device_tree(job, self._spec(part, image_id), part)
        with self.steps.timed("root file system"):
            release = assemble(job, parts, part / "tree")
            make_ext4(job, part / "tree", part / "root.img")
            shutil.rmtree(part / "tree")
        with self.steps.timed("image", image_id):
            facts = {
                "image_id": image_id,
                "kernel_release": parts.kernel.release,
                "touchline_release": release,
                "created_utc": utc_text(),
                "qemu": find_qemu().text,
                "packages": {one.name: one.version for one in (*resolved.root, *resolved.kernel)},
            }
            write_manifest(part, facts)
            discard(target)
            part.rename(target)
        return load_image(self.request.cache, image_id, verify=False)

    def _initrd(self, job: Job, resolved: Resolution, kernel: KernelFiles, part: Path) -> None:
        self._archives.require(resolved.initrd)
        unpacked = part / "busybox"
        job.run(["dpkg-deb", "-x", self._archives.path(resolved.initrd[0]), unpacked])
        busybox = next(path for path in unpacked.rglob("busybox") if path.is_file() and path.parent.name == "bin")
        write_initrd(part / "initrd.gz", busybox, _INIT, kernel.initrd_modules())
        shutil.rmtree(unpacked)

    def _spec(self, folder: Path, image_id: str) -> MachineSpec:
        return MachineSpec("a", folder / "vmlinuz", folder / "initrd.gz", folder / "root.img", folder, image_id)

    def _job(self, name: str) -> Job:
        log = self.request.cache / f"build-{name}.log"
        log.unlink(missing_ok=True)
        return Job(self.programs, log)
