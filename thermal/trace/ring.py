"""The writer of a trace ring: files in a tmpfs, bounded by bytes, the oldest lost first and counted.

One writer a folder (an advisory lock). The open file is ``00000007.open``; a full one is renamed to
``00000007-1234.seg``, with the count of its records, so that its loss can be counted without reading it. A writer that
died leaves a torn tail at most: the next one cuts it, closes the file and goes on. Nothing here waits for a disk.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thermal.trace.segment import HEAD_BYTES, MAX_PAYLOAD, RECORD_OVERHEAD, Head, read_head, record_bytes, records_in
from touchline.errors import ResourceError
from touchline.timeline import new_boot_id
from touchline.units import format_bytes

OPEN: Final = re.compile(r"(\d{8})\.open")
CLOSED: Final = re.compile(r"(\d{8})-(\d{1,10})\.seg")
SEGMENTS: Final = 32  # a full ring is at least so many files; what is lost at once is one of them
LEAST_SEGMENT: Final = 64 << 10
MOST_SEGMENT: Final = 64 << 20  # a flush reads a file as a whole
IN_MEMORY: Final = ("tmpfs", "ramfs")
RETRY_NS: Final = 1_000_000_000  # a ring that refused is tried again after so long
_LOCK: Final = ".writer"


@dataclass(frozen=True, slots=True)
class Room:
    """What the machine has: memory that is free for use, and bytes free in the ring's tmpfs."""

    memory_bytes: int
    folder_bytes: int
    kind: str


@dataclass(frozen=True, slots=True)
class RingBounds:
    """``max_bytes`` of all files; ``spare_bytes`` of memory stay free beside them."""

    max_bytes: int = 2_000_000_000
    spare_bytes: int = 2 << 30

    @property
    def segment_bytes(self) -> int:
        """Size at which a file is closed."""
        return min(max(self.max_bytes // SEGMENTS, LEAST_SEGMENT), MOST_SEGMENT)


@dataclass(slots=True)
class Counts:
    """Records by what became of them. ``overwritten``: lost to the bound before anybody flushed them."""

    written: int = 0
    bytes: int = 0
    overwritten: int = 0
    too_large: int = 0
    refused: int = 0  # the tmpfs or the machine's memory was full
    torn: int = 0  # tails that an earlier life left

    @property
    def dropped(self) -> int:
        """All that is not in the ring any more, or never was."""
        return self.overwritten + self.too_large + self.refused


def room_at(folder: Path) -> Room:
    """The machine's memory and the tmpfs below ``folder``. Raises OSError."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.M)
    status = os.statvfs(folder)
    return Room(int(found[1]) << 10 if found else 0, status.f_bavail * status.f_frsize, _kind_of(folder))


class TraceRing:
    """See the module. One thread.

    Raises ResourceError when the folder is no memory, is another writer's, or memory is short.
    """

    def __init__(self, folder: Path, bounds: RingBounds, room: Callable[[Path], Room] = room_at) -> None:
        self.counts = Counts()
        self.trouble = ""
        self._folder, self._bounds, self._room = folder, bounds, room
        self._fd, self._size, self._records = -1, 0, 0
        self._retry_ns = 0
        self._ring_id = new_boot_id()[:8]
        self._lock = _own(folder)
        try:
            self._serial = self._adopt()
            self._refuse_without_room()
        except BaseException:  # also KeyboardInterrupt: nobody else knows this lock
            os.close(self._lock)
            raise

    def put(self, payload: bytes, now_ns: int) -> bool:
        """Append one record; False when it was dropped (and counted). Never raises, never waits for a disk."""
        try:
            raw = record_bytes(payload)
        except ValueError:
            self.counts.too_large += 1
            return False
        if self.trouble and now_ns < self._retry_ns:
            self.counts.refused += 1
            return False
        try:
            self._write(raw)
        except OSError as error:
            self._refused(error, now_ns)
            return False
        self.trouble = ""
        self.counts.written += 1
        self.counts.bytes += len(raw)
        return True

    def held_bytes(self) -> int:
        """What lies in the ring now; a flush may have taken some of it."""
        return sum(size for _, size in self._closed()) + self._size

    def close(self) -> None:
        """Close the open file and let the folder go; what is in the ring stays for a flush."""
        if self._lock >= 0:
            self._close_file()
            os.close(self._lock)
            self._lock = -1

    # --- writing ------------------------------------------------------------------------------------------------------

    def _write(self, raw: bytes) -> None:
        if self._fd < 0 or self._size + len(raw) > max(self._bounds.segment_bytes, HEAD_BYTES + len(raw)):
            self._roll(len(raw))
        if os.write(self._fd, raw) != len(raw):
            os.ftruncate(self._fd, self._size)
            raise OSError(28, "the tmpfs is full")
        self._size += len(raw)
        self._records += 1

    def _roll(self, need: int) -> None:
        self._close_file()
        self._make_room(max(self._bounds.segment_bytes, HEAD_BYTES + need))
        self._serial += 1
        path = self._folder / f"{self._serial:08d}.open"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        head = Head(self._ring_id, self._serial).to_bytes()
        if os.write(fd, head) != len(head):
            os.close(fd)
            path.unlink()
            raise OSError(28, "the tmpfs is full")
        self._fd, self._size, self._records = fd, len(head), 0

    def _make_room(self, need: int) -> None:
        """Delete the oldest until another file fits the bound and leaves memory to others."""
        rows = self._closed()
        held = sum(size for _, size in rows)
        memory = self._room(self._folder).memory_bytes
        while rows and (held + need > self._bounds.max_bytes or memory < self._bounds.spare_bytes // 2 + need):
            path, size = rows.pop(0)
            path.unlink(missing_ok=True)
            held, memory = held - size, memory + size
            found = CLOSED.fullmatch(path.name)
            self.counts.overwritten += int(found[2]) if found else 0
        if memory < self._bounds.spare_bytes // 2 + need:
            raise OSError(12, f"only {format_bytes(memory)} of memory are free")

    def _close_file(self) -> None:
        if self._fd < 0:
            return
        os.close(self._fd)
        self._fd = -1
        path = self._folder / f"{self._serial:08d}.open"
        try:
            path.rename(self._folder / f"{self._serial:08d}-{self._records}.seg")
        except OSError:  # gone below our hands: so are its records
            self.counts.overwritten += self._records
        self._size = self._records = 0

    def _refused(self, error: OSError, now_ns: int) -> None:
        self.trouble = error.strerror or str(error)
        self._retry_ns = now_ns + RETRY_NS
        self.counts.refused += 1

    def _closed(self) -> list[tuple[Path, int]]:
        """Closed files with their sizes, oldest first."""
        found: list[tuple[Path, int]] = []
        for path in sorted(path for path in self._folder.iterdir() if CLOSED.fullmatch(path.name)):
            try:
                found.append((path, path.stat().st_size))
            except FileNotFoundError:
                continue  # flushed this moment
        return found

    # --- opening ------------------------------------------------------------------------------------------------------

    def _adopt(self) -> int:
        """Close what an earlier life left open; the largest number in the folder."""
        serial = 0
        for path in sorted(self._folder.iterdir()):
            found = OPEN.fullmatch(path.name) or CLOSED.fullmatch(path.name)
            if found is None:
                continue
            serial = max(serial, int(found[1]))
            if path.suffix == ".open":
                self._finish(path)
        return serial

    def _finish(self, path: Path) -> None:
        with path.open("r+b") as file:
            end, records, size = whole_part(file.fileno())
            self.counts.torn += end < size
            if records:
                file.truncate(end)
        if records:
            path.rename(path.with_name(f"{path.stem}-{records}.seg"))
        else:
            path.unlink()

    def _refuse_without_room(self) -> None:
        bounds, room = self._bounds, self._room(self._folder)
        more = max(0, bounds.max_bytes - self.held_bytes())
        if room.kind not in IN_MEMORY:
            raise ResourceError(
                f"the trace ring in {self._folder} is on {room.kind}, not in memory", hint="set protect.trace_dir"
            )
        if room.memory_bytes < more + bounds.spare_bytes:
            raise ResourceError(
                f"a trace ring of {format_bytes(bounds.max_bytes)} leaves less than {format_bytes(bounds.spare_bytes)} "
                f"of {format_bytes(room.memory_bytes)} free memory",
                hint="lower protect.trace_max, or 0 for none",
            )
        if room.folder_bytes < more:
            raise ResourceError(
                f"{self._folder} has room for {format_bytes(room.folder_bytes)}, the trace ring needs "
                f"{format_bytes(more)} more",
                hint="lower protect.trace_max, or set protect.trace_dir to a larger tmpfs",
            )


def whole_part(descriptor: int) -> tuple[int, int, int]:
    """Of a trace file: where its whole records end, how many they are, and its size. 0, 0: not even a head."""
    size = os.fstat(descriptor).st_size
    if size < HEAD_BYTES:
        return 0, 0, size
    data = os.pread(descriptor, size, 0)
    try:
        read_head(data)
    except ValueError:
        return 0, 0, size
    end, count = HEAD_BYTES, 0
    for end, _ in records_in(data):  # noqa: B007 - the last one counts
        count += 1
    return end, count, size


def _own(folder: Path) -> int:
    """The folder, made if it is not there, and the writer's lock on it. Raises ResourceError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        if folder.stat().st_uid not in (os.geteuid(), 0):
            raise ResourceError(f"{folder} belongs to somebody else", hint="set protect.trace_dir")
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    except OSError as error:
        raise ResourceError(f"the trace ring in {folder}: {error.strerror}", hint="set protect.trace_dir") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ResourceError(f"another process writes the trace ring in {folder}", hint="wait for its end") from error
    return descriptor


def _kind_of(folder: Path) -> str:
    """File system below ``folder``, of the longest mount point that holds it."""
    here = os.path.realpath(folder)
    best, kind = -1, "an unknown file system"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        left, dash, right = line.partition(" - ")
        target = left.split(" ")[4] if dash else ""
        inside = here == target or here.startswith(target.rstrip("/") + "/")
        if target and inside and len(target) >= best:
            best, kind = len(target), right.split(" ")[0]
    return kind


__all__ = ["MAX_PAYLOAD", "RECORD_OVERHEAD", "Counts", "RingBounds", "Room", "TraceRing", "room_at", "whole_part"]
