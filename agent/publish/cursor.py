"""Where the spool stands, on disk: two slots with a checksum each, written in turn, in place.

A crash in the middle of a write leaves the other slot. A lost or damaged cursor means that batches are sent again,
never that one is skipped: the receiver knows a batch that it has seen.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import google_crc32c

_SLOT: Final = struct.Struct("<4sIQQQ")  # magic, zero, generation, segment, offset
_CRC: Final = struct.Struct("<I")
_MAGIC: Final = b"TLC1"
_SLOT_STRIDE: Final = 512  # one slot per disk sector, so that a torn sector hurts only one


@dataclass(frozen=True, slots=True)
class Mark:
    """First position that still matters: segment number and byte offset in it."""

    segment: int
    offset: int


class CursorFile:
    """The cursor's file. :attr:`mark` is None when there was none or neither slot could be read."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._generation, self.mark = _newest(self._fd)
        if os.fstat(self._fd).st_size < 2 * _SLOT_STRIDE:
            try:
                os.posix_fallocate(self._fd, 0, 2 * _SLOT_STRIDE)  # later writes need no new space
            except OSError:
                os.close(self._fd)
                raise

    def write(self, mark: Mark) -> None:
        """Replace the older slot. Survives kill -9 at any moment; raises OSError."""
        generation = self._generation + 1
        body = _SLOT.pack(_MAGIC, 0, generation, mark.segment, mark.offset)
        os.pwrite(self._fd, body + _CRC.pack(google_crc32c.value(body)), (generation % 2) * _SLOT_STRIDE)
        self._generation, self.mark = generation, mark

    def close(self) -> None:
        """Sync and close."""
        try:
            os.fdatasync(self._fd)
        finally:
            os.close(self._fd)


def read_mark(path: Path) -> Mark | None:
    """The mark in a file that is not to be written, or cannot be; None where there is none. Never raises."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _newest(fd)[1]
    except OSError:
        return None
    finally:
        os.close(fd)


def _newest(fd: int) -> tuple[int, Mark | None]:
    """Generation and mark of the newer slot that can be read; 0 and None."""
    found: tuple[int, Mark | None] = (0, None)
    for index in range(2):
        slot = _read_slot(os.pread(fd, _SLOT.size + _CRC.size, index * _SLOT_STRIDE))
        if slot is not None and slot[0] > found[0]:
            found = slot
    return found


def _read_slot(raw: bytes) -> tuple[int, Mark] | None:
    if len(raw) < _SLOT.size + _CRC.size:
        return None
    body = raw[: _SLOT.size]
    magic, zero, generation, segment, offset = _SLOT.unpack(body)
    if magic != _MAGIC or zero != 0 or _CRC.unpack(raw[_SLOT.size :])[0] != google_crc32c.value(body):
        return None
    return generation, Mark(segment, offset)
