"""What every tick saw and ordered, for ``identify`` and for who asks later: two files, bounded, oldest lost first.

Lines are :mod:`thermal.record`'s. They are not synced: a power cut costs what the kernel had not written yet, which is
nothing that keeps a node cool. A disk that refuses is said once and counted; the fan does not wait for disks, so lines
gather and are written by a thread.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from thermal.record import encode
from thermal.types import Command, Sample
from touchline.lines import LineWriter

FILE: Final = "thermal.jsonl"
ROTATED: Final = "thermal.1.jsonl"
MAX_BYTES: Final = 16 << 20  # of each of the two: some eight hours at a tick a second
MAX_WAITING: Final = 600  # lines: ten minutes of a disk that hangs
_LOG: Final = logging.getLogger("thermal.history")


def history_files(folder: Path) -> list[Path]:
    """The files that are there, oldest first: what ``read_record`` wants."""
    return [path for path in (folder / ROTATED, folder / FILE) if path.exists()]


class HistoryWriter(LineWriter):
    """Appends in a thread of its own. ``lost``: lines that were not written."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(folder, lambda raw: append(folder, raw, max_bytes), MAX_WAITING, _LOG)

    def add(self, sample: Sample, command: Command) -> None:
        """Note a tick. Never waits, never raises for the disk or for a value that no line can hold."""
        self.add_line(lambda: encode(sample, command))


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
