"""One piece of the spool: whole batches back to back, in a file or, when the disk refuses, in memory.

A batch describes and checks itself (80-byte header, CRC-32C), so a file needs no framing of its own: after a crash it
is read from the start, a torn tail is cut, and a damaged middle is skipped up to the next batch that checks out.
"""

from __future__ import annotations

import errno
import mmap
import os
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from touchline.record import HEADER_BYTES, MAGIC, RECORD_BYTES, RecordError, batch_bytes, read_header, unpack_batch

SUFFIX: Final = ".seg"


@dataclass(frozen=True, slots=True)
class Entry:
    """One batch in the spool: where it stands, its record count and its size in bytes."""

    segment: int
    index: int
    records: int
    size: int


@dataclass(frozen=True, slots=True)
class Damage:
    """What a scan could not use: bytes of a torn tail, bytes in damaged regions, and how many such regions."""

    torn_bytes: int = 0
    corrupt_bytes: int = 0
    corrupt_regions: int = 0

    def __add__(self, other: Damage) -> Damage:
        return Damage(
            self.torn_bytes + other.torn_bytes,
            self.corrupt_bytes + other.corrupt_bytes,
            self.corrupt_regions + other.corrupt_regions,
        )


class Segment(ABC):
    """An ordered run of batches; entries are addressed by index, and on disk by byte offset."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.size = 0
        self.records = 0
        self._starts = array("Q")
        self._counts = array("I")

    def __len__(self) -> int:
        return len(self._counts)

    def entry(self, index: int) -> Entry:
        """The entry at ``index``."""
        count = self._counts[index]
        return Entry(self.number, index, count, HEADER_BYTES + count * RECORD_BYTES)

    def totals(self, first: int = 0) -> tuple[int, int, int]:
        """(batches, records, bytes) of the entries from ``first`` on."""
        records = sum(self._counts[first:])
        batches = max(0, len(self) - first)
        return batches, records, batches * HEADER_BYTES + records * RECORD_BYTES

    def offset(self, index: int) -> int:
        """Byte offset of entry ``index``; of the end when there is no such entry yet."""
        return self._starts[index] if index < len(self) else self.size

    def index_at(self, offset: int) -> int:
        """Index of the first entry that starts at or after byte ``offset``."""
        return bisect_left(self._starts, offset)

    def append(self, data: bytes, records: int) -> None:
        """Add one batch. Raises OSError and keeps the earlier content when it does not fit."""
        self._write(data)
        self._note(self.size, records)
        self.size += len(data)

    @abstractmethod
    def read(self, index: int) -> bytes:
        """The bytes of entry ``index``; shorter when the medium lost some. Raises OSError."""

    def _note(self, start: int, records: int) -> None:
        self._starts.append(start)
        self._counts.append(records)
        self.records += records

    @abstractmethod
    def _write(self, data: bytes) -> None:
        """Add the bytes of one batch at the end."""

    def sync(self) -> None:  # noqa: B027 - memory has nothing to sync
        """Make the content survive a power cut, where the medium can."""

    def seal(self) -> None:  # noqa: B027 - memory keeps no disk from becoming read-only
        """Be read only from now on. Raises OSError."""

    def close(self) -> None:  # noqa: B027 - memory has nothing to close
        """Give up the file descriptor."""

    @abstractmethod
    def delete(self) -> None:
        """Remove the content for good."""


class DiskSegment(Segment):
    """A segment in a file ``<number, 20 digits>.seg``; only its creator appends to it, never a later process."""

    def __init__(self, number: int, path: Path, fd: int) -> None:
        super().__init__(number)
        self.path = path
        self._fd = fd
        self._sealed = False

    @classmethod
    def create(cls, folder: Path, number: int) -> DiskSegment:
        """Start a new file. Raises OSError."""
        path = folder / f"{number:020d}{SUFFIX}"
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        return cls(number, path, os.open(path, flags, 0o600))

    @classmethod
    def recover(cls, path: Path) -> tuple[DiskSegment, Damage]:
        """Open a file that an earlier process left, whatever its state, to be read. Raises OSError for I/O errors."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        segment = cls(int(path.stem), path, fd)
        segment._sealed = True
        length = os.fstat(fd).st_size
        if length == 0:
            return segment, Damage()
        with mmap.mmap(fd, length, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            found, damage = scan(view)
        for start, records in found:
            segment._note(start, records)
        segment.size = length - damage.torn_bytes
        if damage.torn_bytes:
            with suppress(OSError):  # a disk that is read-only: it stays, and is passed over again next time
                os.truncate(path, segment.size)
        return segment, damage

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise

    def read(self, index: int) -> bytes:
        """The bytes of entry ``index``; shorter when the file was cut behind us. Raises OSError."""
        return os.pread(self._fd, self.entry(index).size, self._starts[index])

    def sync(self) -> None:
        """fdatasync."""
        os.fdatasync(self._fd)

    def seal(self) -> None:
        """Open the file read-only under the same descriptor: a thread that syncs it just now is not disturbed."""
        if self._sealed or self._fd < 0:
            return
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # removed behind our back: only this descriptor still reads it
            return
        try:
            os.dup2(fd, self._fd, inheritable=False)
        finally:
            os.close(fd)
        self._sealed = True

    def close(self) -> None:
        """Close the file; harmless when done twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def delete(self) -> None:
        """Close and unlink."""
        self.close()
        self.path.unlink(missing_ok=True)


class MemorySegment(Segment):
    """A segment in memory: what the disk refuses can still reach the broker, but not survive this process."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._batches: list[bytes] = []

    def _write(self, data: bytes) -> None:
        self._batches.append(data)

    def read(self, index: int) -> bytes:
        """The bytes of entry ``index``."""
        return self._batches[index]

    def delete(self) -> None:
        """Drop the content."""
        self._batches.clear()


def scan(view: memoryview) -> tuple[list[tuple[int, int]], Damage]:
    """Find every batch in ``view``: ([(start, records), ...], damage). Total over any bytes."""
    found: list[tuple[int, int]] = []
    corrupt_bytes = regions = position = 0
    end = len(view)
    while position < end:
        size = _batch_at(view, position)
        if size:
            found.append((position, (size - HEADER_BYTES) // RECORD_BYTES))
            position += size
            continue
        following = _next_batch(view, position + 1)
        if following is None:
            return found, Damage(end - position, corrupt_bytes, regions)
        regions += 1
        corrupt_bytes += following - position
        position = following
    return found, Damage(0, corrupt_bytes, regions)


def _batch_at(view: memoryview, start: int) -> int:
    """Size of the valid batch that starts here, 0 if there is none."""
    try:
        size = batch_bytes(read_header(view[start : start + HEADER_BYTES]))
        unpack_batch(view[start : start + size])
    except RecordError:
        return 0
    return size


def _next_batch(view: memoryview, start: int) -> int | None:
    raw = view.obj
    assert isinstance(raw, bytes | mmap.mmap)
    candidate = raw.find(MAGIC, start)
    while candidate >= 0:
        if _batch_at(view, candidate):
            return candidate
        candidate = raw.find(MAGIC, candidate + 1)
    return None
