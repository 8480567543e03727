"""What a power cut leaves on the data disk: a volatile write cache lost, writes torn and reordered.

QEMU logs every write to that disk in the format of Linux's dm-log-writes. After the cut the disk is the one QEMU
started with plus everything up to the last flush, plus FUA writes, plus a seeded random choice of what came later.
"""

from __future__ import annotations

import mmap
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hil.virtual.machine.disks import DATA_BASE, copy_sparse
from hil.virtual.machine.qemu import DATA_DISK, DATA_LOG
from touchline.errors import InputError

SECTOR_BYTES: Final = 512  # what the guest takes for atomic, and the log's unit
MAGIC: Final = 0x6A73_6677_7368_72  # drivers/md/dm-log-writes.c: WRITE_LOG_MAGIC
VERSION: Final = 1
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8

_SUPER: Final = struct.Struct("<QQQI")  # magic, version, entries, sector size; alone in sector 0
_ENTRY: Final = struct.Struct("<QQQQ")  # first sector, sectors, flags, bytes of a mark; alone in its sector
_FLAGS: Final = FLUSH | FUA | DISCARD | MARK


@dataclass(frozen=True, slots=True)
class Entry:
    """One request the disk saw, in the order in which they completed. ``data``: empty for a flush and a discard."""

    sector: int
    flags: int
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Patch:
    """Bytes that reached the disk."""

    offset: int
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class PowerCut:
    """What was lost. A write is lost when at least one of its sectors is, and torn when another of them is not."""

    lost_writes: int
    torn_writes: int
    kept_writes: int
    lost_bytes: int
    flushes: int


def parse_log(log: bytes | memoryview) -> Iterator[Entry]:
    """Requests of a log as QEMU left it when it was killed; raises InputError for what is no such log.

    The count in the superblock is old by then, so it is not used: the log ends where the file does. A request that was
    being logged may be missing (zeros) or cut off at the end; the guest had no answer to it.
    """
    view = memoryview(log)
    if len(view) >= _SUPER.size and any(view[: _SUPER.size]):
        magic, version, _, sector_bytes = _SUPER.unpack_from(view)
        if (magic, version, sector_bytes) != (MAGIC, VERSION, SECTOR_BYTES):
            raise InputError("the log of writes is none: its first sector is foreign", hint="boot the node again")
    at = SECTOR_BYTES
    while at + SECTOR_BYTES <= len(view):
        sector, count, flags, _ = _ENTRY.unpack_from(view, at)
        begin, at = at, at + SECTOR_BYTES
        if sector == count == flags == 0:
            continue
        if flags & ~_FLAGS or flags & MARK or any(view[begin + _ENTRY.size : at]):
            raise InputError(f"the log of writes is corrupt at byte {begin}", hint="boot the node from a snapshot")
        size = 0 if flags & DISCARD else count * SECTOR_BYTES
        if at + size > len(view):
            return
        yield Entry(sector, flags, view[at : at + size])
        at += size


def survive(entries: Sequence[Entry], seed: int) -> tuple[list[Patch], PowerCut]:
    """What of ``entries`` is on the disk after the power went, in the order in which to write it. Pure.

    Of what no flush covers, a third of the writes is whole, a third gone and a third torn sector by sector. A discard
    changes nothing: the old content is one of the things that it may leave.
    """
    chance = random.Random(seed)
    durable = max((index for index, entry in enumerate(entries) if entry.flags & FLUSH), default=-1)
    patches: list[Patch] = []
    lost = torn = kept = lost_bytes = 0
    for index, entry in enumerate(entries):
        if not entry.data:
            continue
        if index < durable or entry.flags & FUA:
            mask = [True] * (len(entry.data) // SECTOR_BYTES)
        else:
            mask = _fate(chance, len(entry.data) // SECTOR_BYTES)
        patches.extend(_kept(entry, mask))
        missing = mask.count(False)
        kept += not missing
        lost += missing > 0
        torn += 0 < missing < len(mask)
        lost_bytes += missing * SECTOR_BYTES
    flushes = sum(bool(entry.flags & FLUSH) for entry in entries)
    return patches, PowerCut(lost, torn, kept, lost_bytes, flushes)


def cut(run_dir: Path, seed: int) -> PowerCut:
    """Rebuild the data disk of a killed QEMU in ``run_dir`` as a power cut leaves it."""
    path = run_dir / DATA_LOG
    log: bytes | mmap.mmap = b""
    if path.stat().st_size:
        with path.open("rb") as file:
            log = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # unmapped with the last entry that points there
    return _rebuild(run_dir, list(parse_log(memoryview(log))), seed)


def _rebuild(run_dir: Path, entries: Sequence[Entry], seed: int) -> PowerCut:
    patches, result = survive(entries, seed)
    rebuilt = run_dir / f"{DATA_DISK}.cut"
    copy_sparse(run_dir / DATA_BASE, rebuilt)
    size = rebuilt.stat().st_size
    with rebuilt.open("r+b") as disk:
        for patch in patches:
            if patch.offset + len(patch.data) > size:
                raise InputError(f"the log of writes goes beyond the disk, at byte {patch.offset}")
            disk.seek(patch.offset)
            disk.write(patch.data)
    rebuilt.replace(run_dir / DATA_DISK)
    return result


def _fate(chance: random.Random, sectors: int) -> list[bool]:
    how = chance.randrange(3)
    if how == 2:
        return [chance.random() < 0.5 for _ in range(sectors)]
    return [how == 1] * sectors


def _kept(entry: Entry, mask: Sequence[bool]) -> Iterator[Patch]:
    """Runs of neighbouring sectors that stay."""
    begin: int | None = None
    for index, stays in enumerate([*mask, False]):
        if stays and begin is None:
            begin = index
        elif not stays and begin is not None:
            part = entry.data[begin * SECTOR_BYTES : index * SECTOR_BYTES]
            yield Patch((entry.sector + begin) * SECTOR_BYTES, part)
            begin = None
