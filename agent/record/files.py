"""Recordings on disk: numbered and named by camera and time, bounded, with a disk that may be full or broken."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.record.fragment import Fragment, Head, Mark
from agent.record.retention import (
    AGED_AT_ONCE,
    SETTLE_NS,
    SUFFIX,
    Label,
    SteadyClock,
    label_of,
    name_of,
    old_files,
    order_key,
)
from touchline.errors import ResourceError
from touchline.timeline import monotonic_ns

RETRY_NS: Final = 5_000_000_000
_CLOSE_S: Final = 1.0  # a writer that a disk holds up is not waited for any longer
_LOG: Final = logging.getLogger(__name__)

Say = Callable[[str, str, str], None]  # severity, code, text
Quiet = Callable[[int], str]  # why the disk is to be left alone at this monotonic time; "" while it may be written


def folder_of(folder: Path, camera: int, mirror: bool = False) -> Path:
    """Where one camera's recordings lie; ``mirror``: the twin's."""
    return (folder / "mirror" if mirror else folder) / f"cam{camera}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a folder may hold. ``file_bytes`` and ``file_us``: then a new file begins, at the next key frame."""

    max_bytes: int
    min_free_bytes: int = 0
    max_age_s: float = float("inf")
    file_bytes: int = 1 << 62
    file_us: int = 1 << 62


class Shelf:
    """The files of one camera in one folder: writes the open one, deletes the oldest. Written by one thread at a time.

    A full or broken disk ends the file at its last whole fragment; what cannot be written is counted, and the disk is
    tried again every five seconds, at a key frame. Beyond ``max_bytes`` the files with the smallest numbers go; by age
    only what is surely old, while the clock can be trusted, and two files at a time. ``say`` hears of each change once.
    While ``quiet`` answers (the disk is to become read-only) no file is open for writing, as if the disk were full.

    Raises ResourceError when the folder cannot be made or written, unless it is quiet.
    """

    def __init__(self, folder: Path, bounds: Bounds, say: Say, quiet: Quiet = lambda _: "") -> None:
        self.folder, self._bounds, self._say, self._quiet = folder, bounds, say, quiet
        names = ("fragments", "frames", "bytes", "files", "files_deleted", "files_aged", "dropped_disk")
        self.counters = dict.fromkeys(names, 0)
        self.path: Path | None = None
        self.size = 0
        self._fd = -1
        self._head: Head | None = None
        self._init = b""
        self._begin_us = 0
        self._key_at = self._group = 0  # where the last key frame lies, the largest group of pictures
        self._trouble_ns: int | None = None
        self.why = ""  # why nothing can be written now, in words
        self._turn = threading.Lock()
        self._sync_lock = threading.Lock()
        aged = bounds.max_age_s != float("inf")
        self._clock = SteadyClock(min(SETTLE_NS, round(bounds.max_age_s * 1e9))) if aged else None
        self._doubted = False
        self._closed: list[int] = []  # files that ended and are to be brought to the disk
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "permission denied")
        except OSError as error:
            if not folder.is_dir() or not self._hush():
                raise ResourceError(
                    f"{folder} cannot be written: {error.strerror}", hint="make [record] folder writable for the agent"
                ) from error
        self._known = self._look()
        self._serial = max((label.serial for label, _ in self._known.values()), default=0)

    @property
    def trouble(self) -> bool:
        """Whether nothing can be written now."""
        return self._trouble_ns is not None

    def begin(self, head: Head, init: bytes) -> None:
        """A new run of the encoder: the next key frame begins a new file."""
        with self._turn:
            self._end()
            self._head, self._init = head, init

    def put(self, fragment: Fragment) -> bool:
        """Write one fragment; False when it could not be (and is counted)."""
        with self._turn:
            self._watch_clock(fragment.marks[-1])
            try:
                if not self._hush() and self._wants_new_file(fragment):
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

    def close(self) -> None:
        """End the open file and bring it to the disk; where the disk holds the writer up, it is left as it is."""
        if not self._turn.acquire(timeout=_CLOSE_S):
            _LOG.error("%s: the disk is stuck; %s is left as it is", self.folder, self.path)
            return
        try:
            self._end()
        finally:
            self._turn.release()
        self.sync()

    def sync(self) -> None:
        """Bring to the disk what was written; for another thread than the writer's, for it may take long.

        Also ends the file of a writer that has had nothing to write since the disk is to be left alone.
        """
        if self._fd >= 0 and self._turn.acquire(blocking=False):
            try:
                self._hush()
            finally:
                self._turn.release()
        with self._sync_lock:
            current = [os.dup(self._fd)] if self._fd >= 0 else []
            fds, self._closed = [*self._closed, *current], []
        for fd in fds:
            try:
                os.fdatasync(fd)
            except OSError as error:  # the next write meets it too, and ends the file
                _LOG.error("%s: %s", self.folder, error.strerror)
            finally:
                os.close(fd)

    # --- files ------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """The open file ends; what is in it is whole. :meth:`sync` brings it to the disk."""
        if self._fd >= 0 and self.path is not None:
            self._resize(self.path)
            with self._sync_lock:
                self._closed.append(self._fd)
                self._fd = -1
        self.path = None

    def _resize(self, path: Path) -> None:
        self._known[path] = (self._known[path][0], self.size)

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
        self._end()
        self._make_room(fragment.marks[0])
        head = Head(
            **{name: getattr(self._head, name) for name in Head.__dataclass_fields__ if name != "first_number"},
            first_number=fragment.number,
        )
        path = self._fresh(head, fragment.marks[0])
        label = label_of(path)
        assert label is not None
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        self.path, self.size, self._begin_us = path, 0, fragment.moof.media_us
        self._key_at = self._group = 0
        self._known[path] = (label, 0)
        self.counters["files"] += 1
        self._write(self._init + head.to_bytes())
        if self._trouble_ns is not None:
            self._trouble_ns, self.why = None, ""
            self._say("info", "recording_resumed", f"recording goes on in {path}")

    def _fresh(self, head: Head, mark: Mark) -> Path:
        """The next number that is free; somebody may have put files here meanwhile."""
        while True:
            self._serial += 1
            path = self.folder / name_of(head, mark, self._serial)
            if not path.exists():
                return path

    def _write(self, data: bytes) -> None:
        free = os.fstatvfs(self._fd) if self._bounds.min_free_bytes else None
        if free is not None and free.f_bavail * free.f_frsize < self._bounds.min_free_bytes + len(data):
            raise OSError(28, f"less than {self._bounds.min_free_bytes >> 20} MiB free (record.min_free)")
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self.size += len(data)
        self.counters["bytes"] += len(data)

    def _hush(self) -> bool:
        """Whether the disk is to be left alone; then what is open ends, and the pause begins anew."""
        now_ns = monotonic_ns()
        why = self._quiet(now_ns)
        if why and (self._fd >= 0 or self._trouble_ns is None):
            self._fail(f"{why}, its files are kept closed", "warning")
        if why:
            self._trouble_ns, self.why = now_ns, why
        return bool(why)

    def _fail(self, why: str, severity: str = "error") -> None:
        """End the file at its last whole fragment and say so once."""
        first = self._trouble_ns is None
        self._trouble_ns, self.why = monotonic_ns(), why
        with self._sync_lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            try:
                self._cut(fd)
            except OSError as error:  # the reader passes over a torn tail as well, and over a file without a head
                _LOG.error("%s: %s", self.path, error.strerror)
        self.path = None
        if first:
            self._say(severity, "recording_stopped", f"nothing is recorded: {why}; tried again every 5 s")

    def _cut(self, fd: int) -> None:
        if self.path is not None:
            self._resize(self.path)
        try:
            os.ftruncate(fd, self.size)
        finally:
            os.close(fd)
        if self.path is not None and self.size == 0:  # not even the head fitted
            self.path.unlink(missing_ok=True)
            self._known.pop(self.path)

    # --- retention --------------------------------------------------------------------------------------------------

    def _look(self) -> dict[Path, tuple[Label, int]]:
        """The files of ours that lie here, in the order of their recording, with their sizes."""
        found: dict[Path, tuple[Label, int]] = {}
        for path in sorted(self.folder.glob(f"*{SUFFIX}"), key=order_key):
            label = label_of(path)
            if label is not None and path.is_file():
                found[path] = (label, path.stat().st_size)
        return found

    def _make_room(self, mark: Mark) -> None:
        """Delete the oldest until the next file fits in the bound; then what is surely too old."""
        next_bytes = min(self._bounds.file_bytes, self._bounds.max_bytes // 4)
        total = sum(size for _, size in self._known.values())
        for path in list(self._known):
            if total + next_bytes <= self._bounds.max_bytes:
                break
            total -= self._known[path][1]
            self._delete(path, "max_size")
        for path in list(self._known)[: self._aged(mark)]:
            self._delete(path, "max_age_h")
            self.counters["files_aged"] += 1

    def _delete(self, path: Path, key: str) -> None:
        path.unlink(missing_ok=True)
        self._known.pop(path)
        self.counters["files_deleted"] += 1
        _LOG.info("deleted %s: beyond record.%s", path, key)

    def _watch_clock(self, mark: Mark) -> None:
        step_ns = 0 if self._clock is None else self._clock.see(mark, monotonic_ns())
        if self._clock is not None and step_ns:
            doubt = self._clock.doubt(monotonic_ns())
            text = f"the clock stepped by {step_ns / 1e9:+,.0f} s: {doubt}, and nothing goes by age"
            self._say("warning", "recording_clock_stepped", text)

    def _aged(self, mark: Mark) -> int:
        """How many of the oldest files go by age now; where that cannot be told they stay, and it is said once."""
        if self._clock is None:
            return 0
        labels = [label for label, _ in self._known.values()]
        seem, sure = old_files(labels, mark.ptp_ns, mark.ptp_ns - round(self._bounds.max_age_s * 1e9))
        doubt = self._clock.doubt(monotonic_ns()) or ("" if sure else "no locked clock told their times")
        waits = self._clock.locked and sure  # only for the hour to be over
        if doubt and seem and not waits and not self._doubted:
            text = f"{seem} files seem older than record.max_age_h and are kept ({doubt}); max_size bounds them"
            self._say("warning", "recording_age_unsure", text)
        self._doubted = bool(doubt and seem)
        return 0 if doubt else min(sure, AGED_AT_ONCE)
