"""Build one release beside the others, under a name that nobody uses, and give it its name in one step at the end.

A release is ``venv/`` (PEP 405, made by hand: five links and a text file need no interpreter to run, so the same code
fills an image of another machine), ``bin/touchline``, ``system/`` (its own unit files) and ``release.json``.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Final

from flash.bundle.manifest import Manifest
from flash.bundle.node.place import SYSTEM_FOLDERS, Place, replace_link, sync_folder, write_file
from flash.bundle.node.target import Interpreter
from touchline.errors import InputError, ResourceError

RECORD: Final = "release.json"
_MAKING: Final = ".making-"


def is_complete(place: Place, name: str) -> bool:
    """Whether the release stands: it gets its name only when it is whole."""
    return (place.here(place.release(name)) / RECORD).is_file()


def build(place: Place, manifest: Manifest, bundle: Path, python: Interpreter) -> str:
    """Unpack, compile and name the release; returns what is worth saying. What a killed run left is made anew."""
    final = place.release(manifest.release)
    making = place.here(place.releases) / f"{_MAKING}{manifest.release}"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    venv = making / "venv"
    _make_venv(venv, python)
    _unpack(manifest, bundle, venv, final / "venv", python)
    compiled = _compile(place, venv, final / "venv", python)
    (making / "bin").mkdir()
    (making / "bin" / "touchline").symlink_to("../venv/bin/touchline")
    for kind in SYSTEM_FOLDERS:
        source = bundle / "system" / kind
        if source.is_dir():
            shutil.copytree(source, making / "system" / kind)
    write_file(making / RECORD, manifest.to_json())
    os.sync()
    shutil.rmtree(place.here(final), ignore_errors=True)  # a folder of that name without its record
    making.rename(place.here(final))
    sync_folder(place.here(place.releases))
    return f"{len(manifest.wheels())} wheels, {compiled}"


def _make_venv(venv: Path, python: Interpreter) -> None:
    """What ``python -m venv --without-pip`` makes, without running the interpreter."""
    (venv / "bin").mkdir(parents=True)
    (venv / "lib" / f"python{python.version}" / "site-packages").mkdir(parents=True)
    (venv / "lib64").symlink_to("lib")
    (venv / "bin" / "python").symlink_to(python.path)
    for name in ("python3", f"python{python.version}"):
        (venv / "bin" / name).symlink_to("python")
    lines = [f"home = {python.path.parent}", "include-system-site-packages = false", f"version = {python.version}"]
    (venv / "pyvenv.cfg").write_text("\n".join([*lines, ""]))


def _unpack(manifest: Manifest, bundle: Path, venv: Path, final: PurePosixPath, python: Interpreter) -> None:
    """Install every wheel with the library from the bundle, two at a time (unzipping leaves the interpreter lock)."""
    sys.path.insert(0, str(bundle / manifest.tool().path))
    try:
        library: Any = importlib.import_module("installer")
        places: Any = importlib.import_module("installer.destinations")
        sources: Any = importlib.import_module("installer.sources")
    finally:
        sys.path.pop(0)
    packages = str(venv / "lib" / f"python{python.version}" / "site-packages")
    scheme = {"purelib": packages, "platlib": packages, "scripts": str(venv / "bin"), "data": str(venv)}
    scheme["headers"] = str(venv / "include")

    def install(path: str) -> None:
        into = places.SchemeDictionaryDestination(scheme, interpreter=f"{final}/bin/python", script_kind="posix")
        try:
            with sources.WheelFile.open(bundle / path) as wheel:
                library.install(source=wheel, destination=into, additional_metadata={"INSTALLER": b"touchline"})
        except FileExistsError as error:
            raise InputError(f"{path} brings a file that another wheel has: {error}", hint="lock others") from error

    wheels = sorted(manifest.wheels(), key=lambda one: -one.size_bytes)
    with ThreadPoolExecutor(max_workers=_workers()) as pool:
        list(pool.map(install, [one.path for one in wheels]))


def _workers() -> int:
    return max(1, min(4, len(os.sched_getaffinity(0))))


# --- bytecode -----------------------------------------------------------------------------------------------------


def _compile(place: Place, venv: Path, final: PurePosixPath, python: Interpreter) -> str:
    """Compile all but the libraries' tests now: on the node the release is read-only."""
    files = [path for path in sorted(venv.rglob("*.py")) if not {"tests", "test"} & set(path.parts)]
    compiler = _compiler(place, python)
    if compiler is None:
        return f"no bytecode: Python {python.version} of another system cannot run here, so each start compiles anew"
    argv, seen = compiler
    inside = seen / venv.relative_to(place.root)
    names = [str(inside / path.relative_to(venv)) for path in files]
    groups = _shared_out(files, names, _workers())
    argv = [*argv, "-m", "compileall", "-q", "-s", str(inside), "-p", str(final), "-i", "-"]
    workers = [_start(argv, group) for group in groups]
    for worker in workers:
        worker.wait()
    made = sum(1 for _ in venv.rglob("*.pyc"))
    if made == 0 and files:
        raise ResourceError(f"{argv[0]} compiled none of {len(files)} files", hint="does the interpreter start there?")
    return f"{made} of {len(files)} modules compiled"


def _compiler(place: Place, python: Interpreter) -> tuple[list[str], Path] | None:
    """Who compiles, and the root that it sees. Bytecode is the same for a minor version on every machine."""
    if sys.implementation.cache_tag == f"cpython-{python.version.replace('.', '')}":
        return [sys.executable, "-I"], place.root
    if place.is_live:
        return [str(python.path), "-I"], place.root
    inside = ["chroot", str(place.root), str(python.path), "-I"]
    try:
        starts = subprocess.run([*inside, "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        starts = False
    return (inside, Path("/")) if starts else None


def _shared_out(files: Sequence[Path], names: Sequence[str], groups: int) -> list[list[str]]:
    """Share the names out so that each group has about as many bytes."""
    shares: list[list[str]] = [[] for _ in range(groups)]
    loads = [0] * groups
    for size, name in sorted(
        ((path.stat().st_size, name) for path, name in zip(files, names, strict=True)), reverse=True
    ):
        least = loads.index(min(loads))
        shares[least].append(name)
        loads[least] += size
    return [share for share in shares if share]


def _start(argv: Sequence[str], names: Iterable[str]) -> subprocess.Popen[str]:
    worker = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert worker.stdin is not None
    with worker.stdin:
        worker.stdin.write("\n".join(names))
    return worker


# --- older releases -----------------------------------------------------------------------------------------------


def superfluous(place: Place, keep: Iterable[str | None]) -> list[str]:
    """Folders among the releases that are neither kept nor being made."""
    folder = place.here(place.releases)
    if not folder.is_dir():
        return []
    return sorted(one.name for one in folder.iterdir() if one.name not in set(keep))


def remove(place: Place, names: Iterable[str]) -> str:
    """Delete old releases."""
    names = list(names)
    for name in names:
        shutil.rmtree(place.here(place.release(name)))
    return ", ".join(names)


def point(place: Place, link: str, name: str) -> None:
    """Let ``current`` or ``previous`` point to a release."""
    replace_link(place.here(place.releases).parent / link, f"releases/{name}")
