"""Put a bundle together: our wheel, the locked wheels, the unpacking library, the units, the installer."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flash.bundle.archive import write_archive
from flash.bundle.fetch import build_own_wheel, download
from flash.bundle.lock import Pin, Target, pins
from flash.bundle.manifest import Manifest, measure
from flash.bundle.roles import LEFT_OUT
from touchline import __version__
from touchline.errors import ResourceError

CHECKOUT = Path(__file__).resolve().parents[2]
_UNIT_SUFFIXES = (".service", ".target", ".timer", ".socket", ".path")


def create(out: Path, target: Target, role: str, say: Callable[[str], None] = lambda _: None) -> Manifest:
    """Write the bundle for ``target`` and ``role`` to ``out`` and return its manifest."""
    if not (CHECKOUT / "pyproject.toml").exists():
        raise ResourceError("a bundle is made from a checkout, and this is an installed copy", hint="run it in a clone")
    with tempfile.TemporaryDirectory(prefix="touchline-bundle-") as name:
        work = Path(name)
        say("building our own wheel")
        (work / "own").mkdir()
        wheels = [build_own_wheel(CHECKOUT, work / "own")]
        locked = pins((CHECKOUT / "requirements" / "run.txt").read_text(), target, LEFT_OUT[role])
        say(f"fetching {len(locked)} wheels for {target.arch}, Python {target.python} ({role})")
        wheels += _fetched(locked, target, work / "wheels")
        tools = pins((Path(__file__).parent / "tools.txt").read_text(), target)
        sources = {f"wheels/{wheel.name}": wheel for wheel in wheels}
        sources |= {f"tools/{wheel.name}": wheel for wheel in _fetched(tools, target, work / "tools")}
        sources |= system_files(CHECKOUT / "systemd")
        sources["install.py"] = Path(__file__).parent / "install.py"
        manifest = describe(sources, target, role)
        say(f"writing {out}")
        write_archive(out, manifest, sources)
    return manifest


def _fetched(locked: Sequence[Pin], target: Target, into: Path) -> list[Path]:
    into.mkdir()
    download(locked, target, into)
    return sorted(into.glob("*.whl"))


def system_files(folder: Path) -> dict[str, Path]:
    """What goes to systemd, by its path in the bundle."""
    units = {f"system/system/{path.name}": path for path in folder.iterdir() if path.suffix in _UNIT_SUFFIXES}
    beside = {
        f"system/{kind}/{path.name}": path
        for kind in ("sysusers.d", "tmpfiles.d")
        for path in (folder / kind).iterdir()
    }
    return units | beside


def describe(sources: Mapping[str, Path], target: Target, role: str) -> Manifest:
    """The manifest of ``sources``."""
    entries = []
    for path in sorted(sources):
        with sources[path].open("rb") as stream:
            entries.append(measure(path, stream))
    unpacked = sum(_unpacked_bytes(source) for path, source in sources.items() if path.startswith("wheels/"))
    return Manifest(__version__, target.arch, target.python, role, unpacked, tuple(entries))


def _unpacked_bytes(wheel: Path) -> int:
    with zipfile.ZipFile(wheel) as archive:
        return sum(info.file_size for info in archive.infolist())
