"""Recordings on disk: named by camera and time, bounded, with a disk that may be full or broken and says so."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from agent.record.fragment import Fragment, Head
from touchline.errors import ResourceError
from touchline.timeline import TAI_MINUS_UTC_S, monotonic_ns, utc_s

SUFFIX: Final = ".mp4"
RETRY_NS: Final = 5_000_000_000
_US_PER_MINUTE: Final = 60_000_000
_LOG: Final = logging.getLogger(__name__)

Say = Callable[[str, str, str], None]  # severity, code, text


def folder_of(folder: Path, camera: int, mirror: bool = False) -> Path:
    """Where one camera's recordings lie; ``mirror``: the twin's."""
    return (folder / "mirror" if mirror else folder) / f"cam{camera}"


def utc_of(ptp_ns: int) -> str:
    """PTP time as UTC in the form of a file name: ``20261121T100000.123456Z``."""
    seconds, rest_ns = divmod(ptp_ns, 1_000_000_000)
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds - TAI_MINUS_UTC_S)
    return f"{moment:%Y%m%dT%H%M%S}.{rest_ns // 1000:06d}Z"


def name_of(head: Head, ptp_ns: int) -> str:
    """A recording's file name: ``pitch-a1_cam1_20261121T100000.123456Z_1f2e3d4c.mp4``; the last is its stream's."""
    return f"{head.node}_cam{head.camera}_{utc_of(ptp_ns)}_{head.stream[:8]}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a folder may hold. ``file_bytes`` and ``file_us``: then a new file begins, at the next key frame."""

    max_bytes: int
    min_free_bytes: int = 0
    max_age_s: float = float("inf")
    file_bytes: int = 1 << 62
    file_us: int = 1 << 62


class Shelf:
    """The files of one camera in one folder: writes the open one, deletes the oldest. Used by one thread.

    A full or broken disk ends the file at its last whole fragment; what cannot be written is counted, and the disk is
    tried again every five seconds, at a key frame. ``say`` hears of each change once.

    Raises ResourceError when the folder cannot be made or written.
    """

    def __init__(self, folder: Path, bounds: Bounds, say: Say) -> None:
        self.folder, self._bounds, self._say = folder, bounds, say
        self.counters = {"fragments": 0, "frames": 0, "bytes": 0, "files": 0, "files_deleted": 0, "dropped_disk": 0}
        self.path: Path | None = None
        self.size = 0
        self._fd = -1
        self._head: Head | None = None
        self._init = b""
        self._begin_us = 0
        self._key_at = self._group = 0  # where the last key frame lies, the largest group of pictures
        self._trouble_ns: int | None = None
        self._sync_lock = threading.Lock()
        self._closed: list[int] = []  # files that ended and are to be brought to the disk
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "permission denied")
        except OSError as error:
            raise ResourceError(
                f"{folder} cannot be written: {error.strerror}", hint="make [record] folder writable for the agent"
            ) from error
        self._known = self._look()

    @property
    def trouble(self) -> bool:
        """Whether nothing can be written now."""
        return self._trouble_ns is not None

    def begin(self, head: Head, init: bytes) -> None:
        """A new run of the encoder: the next key frame begins a new file."""
        self.end()
        self._head, self._init = head, init

    def put(self, fragment: Fragment) -> bool:
        """Write one fragment; False when it could not be (and is counted)."""
        try:
            if self._wants_new_file(fragment):
                self._open(fragment)
            if self._fd >= 0:
                self._write(fragment.shifted(-self._begin_us).to_bytes())
                self.counters["fragments"] += 1
                self.counters["frames"] += len(fragment.marks)
                return True
        except OSError as error:
            self._fail(f"{self.folder}: {error.strerror}")
        self.counters["dropped_disk"] += len(fragment.marks)
        return False

    def end(self) -> None:
        """The open file ends; what is in it is whole. :meth:`sync` brings it to the disk."""
        if self._fd >= 0 and self.path is not None:
            self._known[self.path] = self.size
            with self._sync_lock:
                self._closed.append(self._fd)
                self._fd = -1
        self.path = None

    def close(self) -> None:
        """End the open file and bring it to the disk."""
        self.end()
        self.sync()

    def sync(self) -> None:
        """Bring to the disk what was written; for another thread than the writer's, for it may take long."""
        with self._sync_lock:
            closed, self._closed = self._closed, []
            fds = [*closed, *([os.dup(self._fd)] if self._fd >= 0 else [])]
        for fd in fds:
            try:
                os.fdatasync(fd)
            except OSError as error:  # the next write meets it too, and ends the file
                _LOG.error("%s: %s", self.folder, error.strerror)
            finally:
                os.close(fd)

    # --- files ------------------------------------------------------------------------------------------------------

    def _wants_new_file(self, fragment: Fragment) -> bool:
        if not fragment.key or self._head is None:
            return False
        if self._fd >= 0:
            long = fragment.moof.media_us - self._begin_us >= self._bounds.file_us
            self._group = max(self._group, self.size - self._key_at)
            self._key_at = self.size
            return long or self.size + self._group > self._bounds.file_bytes
        return self._trouble_ns is None or monotonic_ns() - self._trouble_ns >= RETRY_NS

    def _open(self, fragment: Fragment) -> None:
        assert self._head is not None
        self.end()
        self._make_room()
        head = Head(
            **{name: getattr(self._head, name) for name in Head.__dataclass_fields__ if name != "first_number"},
            first_number=fragment.number,
        )
        path = self._fresh(self.folder / name_of(head, fragment.marks[0].ptp_ns))
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        self.path, self.size, self._begin_us = path, 0, fragment.moof.media_us
        self._key_at = self._group = 0
        self._known[path] = 0
        self.counters["files"] += 1
        self._write(self._init + head.to_bytes())
        if self._trouble_ns is not None:
            self._trouble_ns = None
            self._say("info", "recording_resumed", f"recording goes on in {path}")

    @staticmethod
    def _fresh(path: Path) -> Path:
        """The same name with a number where a twin sends again what an earlier life of ours has written."""
        taken = (path.with_name(f"{path.stem}-{number}{SUFFIX}") for number in range(2, 1000))
        return next((one for one in (path, *taken) if not one.exists()), path)

    def _write(self, data: bytes) -> None:
        free = os.fstatvfs(self._fd) if self._bounds.min_free_bytes else None
        if free is not None and free.f_bavail * free.f_frsize < self._bounds.min_free_bytes + len(data):
            raise OSError(28, f"less than {self._bounds.min_free_bytes >> 20} MiB free (record.min_free)")
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self.size += len(data)
        self.counters["bytes"] += len(data)

    def _fail(self, why: str) -> None:
        """End the file at its last whole fragment and say so once."""
        first = self._trouble_ns is None
        self._trouble_ns = monotonic_ns()
        with self._sync_lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            try:
                os.ftruncate(fd, self.size)
            except OSError as error:  # the reader passes over a torn tail as well
                _LOG.error("%s: %s", self.path, error.strerror)
            os.close(fd)
            if self.path is not None:
                self._known[self.path] = self.size
                if self.size == 0:  # not even the head fitted
                    self.path.unlink(missing_ok=True)
                    self._known.pop(self.path)
        self.path = None
        if first:
            self._say("error", "recording_stopped", f"nothing is recorded: {why}; tried again every 5 s")

    # --- retention --------------------------------------------------------------------------------------------------

    def _look(self) -> dict[Path, int]:
        """The files that lie here, oldest first by their names' time."""
        found = [path for path in self.folder.glob(f"*{SUFFIX}") if path.is_file()]
        return {path: path.stat().st_size for path in sorted(found, key=age_key)}

    def _make_room(self) -> None:
        """Delete the oldest until the next file fits in the bound, and whatever is too old."""
        next_bytes = min(self._bounds.file_bytes, self._bounds.max_bytes // 4)
        total = sum(self._known.values())
        oldest_utc = utc_s() - self._bounds.max_age_s
        for path in sorted(self._known, key=age_key):
            too_old = self._bounds.max_age_s != float("inf") and _written(path) < oldest_utc
            if total + next_bytes <= self._bounds.max_bytes and not too_old:
                continue
            path.unlink(missing_ok=True)
            total -= self._known.pop(path)
            self.counters["files_deleted"] += 1
            _LOG.info("deleted %s: beyond record.%s", path, "max_age_h" if too_old else "max_size")


def age_key(path: Path) -> tuple[str, str]:
    """Sorts files by the time in their names, whatever node and camera stand before it."""
    parts = path.stem.rsplit("_", 2)
    return (parts[1] if len(parts) == 3 else "", path.name)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
