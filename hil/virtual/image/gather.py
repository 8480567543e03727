"""Which packages the image takes, and their files: asked of the mirror, or as they were last time without one."""

from __future__ import annotations

from pathlib import Path

from hil.virtual.image import recipe
from hil.virtual.image.apt import PrivateApt, Suite, host_mirror, kernel_suites, root_suites
from hil.virtual.image.archives import Archives
from hil.virtual.image.packages import Resolution
from hil.virtual.image.programs import Programs
from hil.virtual.image.steps import CACHED, Steps
from touchline.errors import LinkError


class Gatherer:
    """Finds and fetches the packages for a build in ``cache``."""

    def __init__(self, programs: Programs, cache: Path, host_arch: str, mirror: str = "") -> None:
        self._programs, self._cache, self._host_arch, self._mirror = programs, cache, host_arch, mirror
        self._saved = cache / "resolution.json"
        self.archives = Archives(cache / "archives")

    def gather(self, steps: Steps) -> Resolution:
        """The packages, their files at hand; without a mirror those of the last build, if there was one."""
        with steps.timed("packages") as outcome:
            try:
                resolved = self._from_mirror()
            except LinkError as error:
                if not self._saved.exists():
                    raise
                outcome.state, outcome.text = CACHED, f"the last list is used, since {error.message}"
                return Resolution.from_json(self._saved.read_text())
            part = self._saved.with_suffix(".part")
            part.write_text(resolved.to_json())
            part.replace(self._saved)
            outcome.text = f"{len(resolved.all)} packages, {sum(one.size_bytes for one in resolved.all) / 1e6:.0f} MB"
        return resolved

    def _from_mirror(self) -> Resolution:
        mirror = host_mirror(self._programs, self._mirror)
        root = self._apt("root", root_suites(mirror, recipe.GUEST_ARCH))
        kernel = self._apt("kernel", kernel_suites(mirror, (recipe.GUEST_ARCH, self._host_arch)))
        version = kernel.field(recipe.KERNEL_META, "Version")
        release = kernel.field(recipe.KERNEL_META, "Depends").split()[0].removeprefix("linux-image-")
        resolved = Resolution(
            root=tuple(root.plan([*root.essential(), *recipe.PACKAGES])),
            initrd=tuple(root.locate(recipe.INITRD_PACKAGES)),
            kernel=tuple(kernel.locate(kernel_packages(release, version, self._host_arch))),
            kernel_release=release,
            kernel_version=version,
        )
        root.download(self.archives.missing([*resolved.root, *resolved.initrd]), self.archives.folder)
        kernel.download(self.archives.missing(resolved.kernel), self.archives.folder)
        self.archives.require(resolved.all)
        return resolved

    def _apt(self, name: str, suites: list[Suite]) -> PrivateApt:
        apt = PrivateApt(self._programs, self._cache / "apt" / name, recipe.GUEST_ARCH)
        apt.configure(suites)
        apt.update()
        return apt


def kernel_packages(release: str, version: str, host_arch: str) -> list[str]:
    """The kernel, its headers, the build tools for this host, and the sources, all of one version; one more driver."""
    plain = release.removesuffix(f"-{recipe.GUEST_ARCH}")
    series = ".".join(plain.split(".")[:2])
    return [
        f"linux-image-{release}",
        f"linux-headers-{release}={version}",
        f"linux-headers-{plain}-common={version}",
        f"linux-kbuild-{plain}:{host_arch}={version}",
        f"linux-source-{series}={version}",
        recipe.LOOPBACK_PACKAGE,
    ]
