"""What lies in a bundle: every file with its size and SHA-256. Standard library only: the node reads it too."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from touchline.errors import InputError

SCHEMA: Final = "touchline.bundle/1"
NAME: Final = "manifest.json"
_CHUNK_BYTES: Final = 1 << 20
_DAMAGED: Final = "copy the bundle again; the one that you have is damaged"


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle, by its path below the bundle's folder."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The bundle's own description.

    ``arch``: the kernel's name of the machine (``aarch64``). ``python``: major and minor version (``3.11``).
    ``role``: ``node`` or ``rack``. ``unpacked_bytes``: what the wheels take once unpacked, without bytecode.
    """

    version: str
    arch: str
    python: str
    role: str
    unpacked_bytes: int
    files: tuple[FileEntry, ...]

    def to_json(self) -> bytes:
        """The same bytes for the same contents."""
        return (json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, sort_keys=True) + "\n").encode()

    @property
    def sha256(self) -> str:
        """Hash of the manifest, and through it of every file."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @property
    def release(self) -> str:
        """Name of the release on the node: version and the first eight digits of the hash."""
        return f"{self.version}-{self.sha256[:8]}"

    @property
    def folder(self) -> str:
        """Name of the bundle's folder inside the archive."""
        return f"touchline-{self.version}-{self.role}-{self.arch}-cp{self.python.replace('.', '')}"

    def wheels(self) -> list[FileEntry]:
        """The wheels that are installed."""
        return [one for one in self.files if one.path.startswith("wheels/")]

    def own_wheel(self) -> FileEntry:
        """Touchline's own wheel."""
        return _one(
            [one for one in self.wheels() if PurePosixPath(one.path).name.startswith("touchline-")], "our wheel"
        )

    def tool(self) -> FileEntry:
        """The wheel of the library that unpacks wheels."""
        return _one([one for one in self.files if one.path.startswith("tools/installer-")], "the tool 'installer'")


def _one(found: list[FileEntry], what: str) -> FileEntry:
    if len(found) != 1:
        raise InputError(f"{NAME} names {len(found)} files for {what}, not one", hint="create the bundle again")
    return found[0]


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest; anything unknown, missing or unsafe in it is an :class:`InputError`."""
    try:
        table = json.loads(data)
        if not isinstance(table, dict) or table.pop("schema", None) != SCHEMA:
            raise InputError(f"{NAME}: not a bundle of schema {SCHEMA}", hint="use the installer of the same version")
        files = tuple(FileEntry(**entry) for entry in table.pop("files"))
        manifest = Manifest(files=files, **table)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{NAME} cannot be read: {error}", hint=_DAMAGED) from error
    _check_values(manifest)
    return manifest


def _check_values(manifest: Manifest) -> None:
    shapes: Mapping[str, tuple[Any, str]] = {
        "version": (manifest.version, r"\d[0-9a-z.+]{0,40}"),
        "arch": (manifest.arch, r"[a-z0-9_]{1,20}"),
        "python": (manifest.python, r"3\.\d{1,2}"),
        "role": (manifest.role, r"[a-z]{1,10}"),
    }
    for key, (value, shape) in shapes.items():
        if not isinstance(value, str) or not re.fullmatch(shape, value):
            raise InputError(f"{NAME}: {key} = {value!r} is not allowed", hint=_DAMAGED)
    for entry in manifest.files:
        path = PurePosixPath(entry.path)
        if path.is_absolute() or ".." in path.parts or str(path) != entry.path:
            raise InputError(f"{NAME}: the path {entry.path!r} leads out of the bundle", hint=_DAMAGED)


def measure(path: str, stream: IO[bytes]) -> FileEntry:
    """Size and hash of one file, under its name in the bundle."""
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return FileEntry(path, size, digest.hexdigest())


def compare(manifest: Manifest, found: Iterable[FileEntry]) -> None:
    """Raise :class:`InputError` that names the first file which is missing, foreign or not what was packed."""
    wanted = {entry.path: entry for entry in manifest.files}
    for entry in found:
        right = wanted.pop(entry.path, None)
        if right is None:
            raise InputError(f"{entry.path} does not belong to this bundle", hint=_DAMAGED)
        if entry != right:
            what = "cut short" if entry.size_bytes < right.size_bytes else "not what was packed"
            raise InputError(f"{entry.path} is {what} (SHA-256 {entry.sha256[:12]}...)", hint=_DAMAGED)
    if wanted:
        raise InputError(f"{min(wanted)} is missing from the bundle", hint=_DAMAGED)


def check_folder(manifest: Manifest, folder: Path) -> None:
    """Hash every file of an unpacked bundle and compare."""

    def found() -> Iterable[FileEntry]:
        for entry in manifest.files:
            if (folder / entry.path).is_file():
                with (folder / entry.path).open("rb") as stream:
                    yield measure(entry.path, stream)

    compare(manifest, found())
