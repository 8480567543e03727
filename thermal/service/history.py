"""What every tick saw and ordered, for ``identify`` and for who asks later: two files, bounded, oldest lost first.

Lines are :mod:`thermal.record`'s. They are not synced: a power cut costs what the kernel had not written yet, which is
nothing that keeps a node cool. A disk that refuses is said once and counted; the fan does not wait for disks, so lines
gather and are written by a thread.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from queue import Full, Queue
from typing import Final

from thermal.record import encode
from thermal.types import Command, Sample

FILE: Final = "thermal.jsonl"
ROTATED: Final = "thermal.1.jsonl"
MAX_BYTES: Final = 16 << 20  # of each of the two: some eight hours at a tick a second
MAX_WAITING: Final = 600  # lines: ten minutes of a disk that hangs
_LOG: Final = logging.getLogger("thermal.history")


def history_files(folder: Path) -> list[Path]:
    """The files that are there, oldest first: what ``read_record`` wants."""
    return [path for path in (folder / ROTATED, folder / FILE) if path.exists()]


class HistoryWriter:
    """Appends in a thread of its own. ``lost``: lines that were not written."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self.lost = 0
        self._folder = folder
        self._max_bytes = max_bytes
        self._failing = False
        self._lock = threading.Lock()  # of the two counters
        self._queue: Queue[bytes | None] = Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="thermal-history", daemon=True)
        self._thread.start()

    def add(self, sample: Sample, command: Command) -> None:
        """Note a tick. Never waits, never raises for the disk or for a value that no line can hold."""
        try:
            self._queue.put_nowait(encode(sample, command))
        except (Full, ValueError) as error:
            self._failed(f"{type(error).__name__} {error}")

    def close(self, wait_s: float = 2.0) -> None:
        """Write what waits, for at most ``wait_s``."""
        try:
            self._queue.put(None, timeout=wait_s)
        except Full:
            return
        self._thread.join(wait_s)

    def _run(self) -> None:
        while (raw := self._queue.get()) is not None:
            try:
                append(self._folder, raw, self._max_bytes)
            except OSError as error:
                self._failed(str(error))
            else:
                with self._lock:
                    self._failing = False

    def _failed(self, why: str) -> None:
        with self._lock:
            was, self._failing = self._failing, True
            self.lost += 1
        if not was:
            _LOG.warning("history in %s: %s; the service goes on without it", self._folder, why)


def append(folder: Path, raw: bytes, max_bytes: int = MAX_BYTES) -> None:
    """Append one line; a full file becomes the older of the two. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    if path.exists() and path.stat().st_size + len(raw) > max_bytes:
        path.replace(folder / ROTATED)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            raw = b"\n" + raw  # the line before was cut short
        if os.write(descriptor, raw) < len(raw):
            raise OSError("the line was not written whole; the disk is full")
    finally:
        os.close(descriptor)
