"""What apt would install: names, versions and hashes, read from its own plan. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from urllib.parse import unquote

from touchline.errors import InputError

_PLANNED = re.compile(r"^'[^']+' (?P<file>\S+) (?P<size>\d+)(?: SHA256:(?P<sha256>[0-9a-f]{64}))?")


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One Debian package file. ``file``: its name as apt stores it."""

    name: str
    version: str
    arch: str
    file: str
    size_bytes: int
    sha256: str

    @property
    def request(self) -> str:
        """How ``apt-get download`` is asked for exactly this one."""
        arch = "" if self.arch == "all" else f":{self.arch}"
        return f"{self.name}{arch}={self.version}"


def parse_uris(text: str) -> list[Package]:
    """Packages of ``apt-get --print-uris``, sorted; a line without SHA-256 is an :class:`InputError`."""
    found = []
    for line in text.splitlines():
        match = _PLANNED.match(line)
        if match is None or not match["file"].endswith(".deb"):
            continue
        name, version, arch = unquote(match["file"]).removesuffix(".deb").split("_")
        if match["sha256"] is None:
            raise InputError(f"apt names no SHA-256 for {name}", hint="use a mirror with current package lists")
        found.append(Package(name, version, arch, match["file"], int(match["size"]), match["sha256"]))
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Resolution:
    """Exact packages of the image: the root's, the initrd's, the kernel's (all of one version)."""

    root: tuple[Package, ...]
    initrd: tuple[Package, ...]
    kernel: tuple[Package, ...]
    kernel_release: str
    kernel_version: str

    @property
    def all(self) -> tuple[Package, ...]:
        """Every package of every part."""
        return (*self.root, *self.initrd, *self.kernel)

    def to_json(self) -> str:
        """One JSON document."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> Resolution:
        """Undo :meth:`to_json`; :class:`InputError` for anything else."""
        try:
            value = json.loads(text)
            groups = {name: tuple(Package(**one) for one in value[name]) for name in ("root", "initrd", "kernel")}
            return Resolution(**groups, kernel_release=value["kernel_release"], kernel_version=value["kernel_version"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"the saved package list is damaged: {error!r}", hint="run the build online") from error


def fingerprint(packages: Iterable[Package]) -> str:
    """SHA-256 over names, versions and file hashes: where they came from does not count."""
    lines = [f"{one.name} {one.version} {one.arch} {one.sha256}" for one in sorted(packages)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
