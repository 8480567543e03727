"""Half-time: from the ring to the NVMe. Each file whole or not at all: copied beside, synced, renamed, folder synced.

A closed file leaves the ring once it is on the disk. The open one is copied up to its last whole record and stays; the
next flush replaces that copy with a longer one. So a flush needs nothing from the writer, and doing it twice, or
killing it in between, loses and doubles nothing.

The archive is bounded: before a flush the files that were flushed first go, by the time of their copy, and are counted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thermal.trace.ring import CLOSED, OPEN, whole_part
from thermal.trace.segment import HEAD_BYTES, read_head
from touchline.alone import alone
from touchline.errors import ResourceError
from touchline.units import format_bytes

SUFFIX: Final = ".trace"
PART: Final = ".part"
SPARE_BYTES: Final = 64 << 20  # left to others on the archive's disk
_CHUNK: Final = 4 << 20


@dataclass(slots=True)
class Flushed:
    """What a flush did. ``damaged``: files of the ring that were none, left where they are."""

    files: int = 0
    records: int = 0
    bytes: int = 0
    damaged: int = 0
    left: int = 0  # files that stay in the ring: the open ones
    dropped: int = 0  # files of the archive that went for the bound
    dropped_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Archive:
    """Where a flush goes. ``max_bytes``: of this node's files there; ``quiet``: why nothing may be written, or ""."""

    folder: Path
    node: str
    max_bytes: int
    quiet: Callable[[], str] = lambda: ""


Progress = Callable[[str, int, int], None]  # writer's name, files done, files in all


def rings_in(trace_dir: Path) -> list[Path]:
    """The rings below a node's trace folder, a folder each writer."""
    if not trace_dir.is_dir():
        return []
    return sorted(path for path in trace_dir.iterdir() if path.is_dir() and not path.is_symlink())


def flush_rings(trace_dir: Path, archive: Archive, progress: Progress = lambda *_: None) -> Flushed:
    """Flush every ring of a node. Raises ResourceError when the archive cannot or must not take it.

    OSError of the disk. What is not flushed stays in the ring.
    """
    rows = [(ring, sorted(_files(ring))) for ring in rings_in(trace_dir)]
    done = Flushed()
    total = sum(len(paths) for _, paths in rows)
    if not total:
        return done
    _heed(archive)
    folder = archive.folder
    with alone(folder, f"another flush writes to {folder}"):
        owner = folder.stat()
        _drop_parts(folder)
        need = _bytes_of(path for _, paths in rows for path in paths)
        _bound(archive, need, done)
        _need_room(folder, need)
        for ring, paths in rows:
            for path in paths:
                _heed(archive)
                _flush_file(path, folder, f"{archive.node}_{ring.name}", done)
                progress(ring.name, done.files + done.damaged, total)
        for path in folder.glob(f"{archive.node}_*{SUFFIX}"):
            _give(path, owner)
    return done


def _heed(archive: Archive) -> None:
    if why := archive.quiet():
        raise ResourceError(
            f"{archive.folder} must stay as it is: {why}", hint="touchline protect status; the ring keeps it meanwhile"
        )


def _bound(archive: Archive, need: int, done: Flushed) -> None:
    """Make the archive so small that it holds ``need`` more."""
    rows = sorted(
        (about.st_mtime_ns, path.name, about.st_size, path)
        for path in archive.folder.glob(f"{archive.node}_*{SUFFIX}")
        if stat.S_ISREG((about := path.lstat()).st_mode)
    )
    held = sum(size for *_, size, _ in rows)
    for *_, size, path in rows:
        if held + need <= archive.max_bytes:
            return
        path.unlink()
        held -= size
        done.dropped, done.dropped_bytes = done.dropped + 1, done.dropped_bytes + size


def _files(ring: Path) -> list[Path]:
    return [path for path in ring.iterdir() if OPEN.fullmatch(path.name) or CLOSED.fullmatch(path.name)]


def _bytes_of(paths: Iterable[Path]) -> int:
    need = 0
    for path in paths:
        with suppress(FileNotFoundError):
            need += path.stat().st_size
    return need


def _need_room(archive: Path, need: int) -> None:
    status = os.statvfs(archive)
    free = status.f_bavail * status.f_frsize
    if free < need + SPARE_BYTES:
        raise ResourceError(
            f"{archive} has {format_bytes(free)} free, the trace needs {format_bytes(need + SPARE_BYTES)}",
            hint="make room; the ring keeps it meanwhile",
        )


def _flush_file(path: Path, archive: Path, name: str, done: Flushed) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return  # closed, or lost to the bound, this moment; closed ones are found by the next flush
    try:
        end, records, _ = whole_part(descriptor)
        if end == 0:
            done.damaged += path.suffix != ".open"
            done.left += 1
            return
        head = read_head(os.pread(descriptor, HEAD_BYTES, 0))
        final = archive / f"{name}_{head.ring_id.hex()}_{head.serial:08d}{SUFFIX}"
        _copy(descriptor, end, final)
    finally:
        os.close(descriptor)
    done.files, done.records, done.bytes = done.files + 1, done.records + records, done.bytes + end
    if path.suffix == ".open":
        done.left += 1
    else:
        path.unlink(missing_ok=True)


def _copy(descriptor: int, size: int, final: Path) -> None:
    part = final.with_name(final.name + PART)
    out = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        at = 0
        while at < size:
            chunk = os.pread(descriptor, min(_CHUNK, size - at), at)
            if not chunk:
                raise OSError(5, "the ring's file became shorter", str(final))
            at += _write_all(out, chunk)
        os.fsync(out)
    finally:
        os.close(out)
    part.replace(final)
    folder = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_all(descriptor: int, chunk: bytes) -> int:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    return len(chunk)


def _drop_parts(archive: Path) -> None:
    for path in archive.glob(f"*{SUFFIX}{PART}"):  # of a flush that was killed; we alone write here
        path.unlink(missing_ok=True)


def _give(path: Path, owner: os.stat_result) -> None:
    """Root's flush of a service's folder leaves files that are the service's."""
    if os.geteuid() == 0 and path.stat().st_uid != owner.st_uid:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
