"""The bundle as one tar file: the same inputs give the same bytes, so its hash can stand for its contents."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from flash.bundle import manifest as manifests
from flash.bundle.manifest import FileEntry, Manifest, compare, measure, parse_manifest
from touchline.errors import InputError

_MTIME_S = 1580601600  # 2020-02-02
_NOT_OURS = "give the file that touchline flash bundle create wrote"


def write_archive(out: Path, manifest: Manifest, sources: Mapping[str, Path]) -> None:
    """Write ``out`` in one step: names sorted, one fixed time, owner 0, the manifest first.

    Not compressed: wheels are.
    """
    partial = out.with_name(f".{out.name}.partial")
    try:
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, f"{manifest.folder}/{manifests.NAME}", manifest.to_json())
            for path in sorted(sources):
                info = _info(f"{manifest.folder}/{path}", sources[path].stat().st_size)
                with sources[path].open("rb") as stream:
                    tar.addfile(info, stream)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_info(name, len(data)), io.BytesIO(data))


def _info(name: str, size_bytes: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size_bytes, _MTIME_S, 0o755 if name.endswith("/install.py") else 0o644
    return info


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except tarfile.TarError as error:
        raise InputError(f"{path} is not a whole tar file: {error}", hint=_NOT_OURS) from error


def read_manifest(path: Path) -> Manifest:
    """The manifest of a bundle file, which is its first member."""
    with _opened(path) as tar:
        return _first(path, tar)


def _first(path: Path, tar: tarfile.TarFile) -> Manifest:
    first = tar.next()
    stream = None if first is None else tar.extractfile(first)
    if first is None or stream is None or PurePosixPath(first.name).name != manifests.NAME:
        raise InputError(f"{path} is not a Touchline bundle", hint=_NOT_OURS)
    return parse_manifest(stream.read())


def check_archive(path: Path) -> Manifest:
    """Hash every member; :class:`InputError` names the first that is missing, foreign or damaged."""
    with _opened(path) as tar:
        manifest = _first(path, tar)
        compare(manifest, _members(tar, manifest))
    return manifest


def _members(tar: tarfile.TarFile, manifest: Manifest) -> Iterator[FileEntry]:
    while (member := tar.next()) is not None:
        stream = tar.extractfile(member) if member.isfile() else None
        name = member.name.removeprefix(f"{manifest.folder}/")
        if stream is None:
            raise InputError(f"{name} in the bundle is not a plain file", hint=_NOT_OURS)
        yield measure(name, stream)
