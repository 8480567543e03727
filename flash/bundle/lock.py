"""Read the hash-locked requirements for another machine: its markers, not ours. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from touchline.errors import InputError

OLDEST_GLIBC_MINOR = 31  # Ubuntu 20.04 under JetPack 5, the oldest system that a node runs
_FIRST_MANYLINUX_MINOR = 17


@dataclass(frozen=True)
class Target:
    """The machine that a bundle is for. ``arch`` as the kernel says it, ``python`` as ``3.11``."""

    arch: str
    python: str

    def platforms(self) -> list[str]:
        """Wheel platforms that run there, as pip names them."""
        minors = range(OLDEST_GLIBC_MINOR, _FIRST_MANYLINUX_MINOR - 1, -1)
        return [f"manylinux_2_{minor}_{self.arch}" for minor in minors] + [f"manylinux2014_{self.arch}"]

    def markers(self) -> dict[str, str]:
        """The environment that requirement markers are judged in."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.arch,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
            "extra": "",
        }


@dataclass(frozen=True)
class Pin:
    """One locked requirement that holds for the target."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def line(self) -> str:
        """As a line of a requirements file."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={one}" for one in self.hashes)])


def pins(lock_text: str, target: Target, left_out: Collection[str] = ()) -> list[Pin]:
    """The pins of a lock file that hold on ``target``, less those named in ``left_out``, sorted by name."""
    found = [pin for pin in _parse(lock_text, target) if pin.name not in left_out]
    return sorted(found, key=lambda pin: pin.name)


def _parse(lock_text: str, target: Target) -> Iterable[Pin]:
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*$", "", lock_text))
    for line in filter(None, map(str.strip, joined.splitlines())):
        text, *hashes = re.split(r"\s+--hash=", line)
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise InputError(f"the lock has a line that is no requirement: {text}", hint="make lock") from error
        exact = [one.version for one in requirement.specifier if one.operator == "=="]
        if len(exact) != 1 or not hashes:
            raise InputError(f"the lock does not pin {requirement.name} to one version with hashes", hint="make lock")
        if requirement.marker is None or requirement.marker.evaluate(dict(target.markers())):
            yield Pin(canonicalize_name(requirement.name), exact[0], tuple(one.strip() for one in hashes))
