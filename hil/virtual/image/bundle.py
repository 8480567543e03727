"""The bundle that is installed into the image: one that was given, or one made of this checkout when it changed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from flash.bundle.archive import read_manifest
from flash.bundle.create import CHECKOUT, create
from flash.bundle.lock import Target
from hil.virtual.image.recipe import GUEST_PYTHON, digest, file_sha256, tree_digest
from hil.virtual.image.steps import CACHED, Steps
from touchline.errors import InputError

_MACHINE: Final = "aarch64"
_ROLE: Final = "node"
_BESIDE: Final = ("pyproject.toml", "README.md", "LICENSE", "requirements/run.txt")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle file and its SHA-256."""

    file: Path
    sha256: str


def given_bundle(file: Path) -> Bundle:
    """One that somebody made; InputError unless it is for the guest's machine and Python."""
    manifest = read_manifest(file)
    if (manifest.arch, manifest.python) != (_MACHINE, GUEST_PYTHON):
        raise InputError(
            f"{file} is for {manifest.arch} and Python {manifest.python}; the node is {_MACHINE} with {GUEST_PYTHON}",
            hint=f"touchline flash bundle create --arch {_MACHINE} --python {GUEST_PYTHON} --out FILE",
        )
    return Bundle(file, file_sha256(file))


def checkout_bundle(cache: Path, steps: Steps, checkout: Path = CHECKOUT) -> Bundle:
    """That of this checkout, made again only when something that goes into it changed."""
    out, memory = cache / "bundle.tar", cache / "bundle.json"
    with steps.timed("bundle") as outcome:
        key = checkout_digest(checkout)
        sha256 = _remembered(memory, out, key)
        if sha256 is not None:
            outcome.state = CACHED
            return Bundle(out, sha256)
        memory.unlink(missing_ok=True)
        outcome.text = create(out, Target(_MACHINE, GUEST_PYTHON), _ROLE).release
        sha256 = file_sha256(out)
        memory.write_text(json.dumps({"inputs": key, "file": _mark(out), "sha256": sha256}))
    return Bundle(out, sha256)


def checkout_digest(checkout: Path) -> str:
    """Hash of what the bundle is made of: our packages, the units, the lock, and what builds the wheel."""
    packages = sorted(path.parent for path in checkout.glob("*/__init__.py") if path.parent.name != "tests")
    files = [path for name in _BESIDE if (path := checkout / name).is_file()]
    tools = f"Python {sys.version_info[:2]} hatchling {_version('hatchling')}"
    return digest(tools, tree_digest([*packages, checkout / "systemd"]), *(path.read_bytes() for path in files))


def _remembered(memory: Path, out: Path, key: str) -> str | None:
    try:
        known = json.loads(memory.read_text())
        return str(known["sha256"]) if (known["inputs"], known["file"]) == (key, _mark(out)) else None
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or cut off: it is made again
        return None


def _mark(file: Path) -> list[int]:
    state = file.stat()
    return [state.st_size, state.st_mtime_ns]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
