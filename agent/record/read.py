"""Recordings read back: every picture's place in its file and its exposure, torn tails and damage left out."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.record.boxes import BoxError, box_at
from agent.record.fragment import MARKS_UUID, Fragment, Head, read_fragment, read_head
from agent.record.retention import SUFFIX
from touchline.errors import InputError
from touchline.timeline import ClockState

STATES: Final = (ClockState.LOCKED, ClockState.HOLDOVER, ClockState.UNLOCKED)
FRAME: Final = np.dtype(
    [
        ("ptp_ns", "u8"),
        ("sequence", "u8"),
        ("bound_ns", "u8"),
        ("epoch", "u8"),
        ("offset", "u8"),  # of the picture's bytes in its file
        ("number", "u4"),  # of its fragment in the encoder's run
        ("size", "u4"),
        ("clock_epoch", "u4"),
        ("file", "u4"),
        ("place", "u2"),  # in its fragment
        ("state", "u1"),
        ("active", "?"),
        ("key", "?"),
    ]
)
_HINT: Final = "give files that touchline recorded, or their folders"


@dataclass(frozen=True, slots=True)
class Recording:
    """One file. ``torn_bytes``: behind its last whole fragment; ``damaged_bytes``: passed over in its middle."""

    path: Path
    head: Head
    init: bytes
    frames: NDArray[np.void]
    torn_bytes: int
    damaged_bytes: int


class Source:
    """A file open for reading; its bytes are mapped, not loaded. Raises InputError when it cannot be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.size = file.seek(0, 2)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
        self.bytes = memoryview(self._map) if self._map is not None else memoryview(b"")

    def find(self, needle: bytes, at: int) -> int:
        """Where ``needle`` comes next; -1: nowhere."""
        return -1 if self._map is None else self._map.find(needle, at)

    def close(self) -> None:
        """Unmap it, at the latest when the last view of its bytes is gone."""
        with suppress(BufferError):
            self.bytes.release()
            if self._map is not None:
                self._map.close()


def recordings_in(paths: Iterable[Path]) -> list[Path]:
    """The files that are meant: files as they are, folders with all below them. Raises InputError for nothing."""
    found: list[Path] = []
    for path in paths:
        below = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not below or not below[0].is_file():
            raise InputError(f"{path}: no recording there", hint=_HINT)
        found += [one for one in below if one not in found]
    return found


def read_recording(path: Path, number: int = 0) -> Recording | None:
    """Read one file; None when it ends before its first fragment. ``number`` goes into its frames' ``file``.

    Raises InputError when it is no recording of ours.
    """
    source = Source(path)
    try:
        return _read(source, number)
    except BoxError as error:
        raise InputError(f"{path} is no recording of touchline: {error}", hint=_HINT) from error
    finally:
        source.close()


def _read(source: Source, number: int) -> Recording | None:
    begin = _read_start(source)
    if begin is None:
        return None
    head, init, at = begin
    rows: list[tuple[int | bool, ...]] = []
    damaged = 0
    while at < source.size:
        if bytes(source.bytes[at + 4 : at + 8]) == b"mfra":  # the index for players at the end of a joined recording
            at = source.size
            break
        try:
            found = read_fragment(source.bytes, at, source.size)
        except BoxError:
            again = source.find(MARKS_UUID, at + 24)
            damaged += (source.size if again < 0 else again - 8) - at
            at = source.size if again < 0 else again - 8
            continue
        if found is None:
            again = source.find(MARKS_UUID, at + 24)  # a size that lies looks like a torn tail
            if again < 0:
                break
            damaged += again - 8 - at
            at = again - 8
            continue
        fragment, end = found
        rows += _rows(fragment, end, number)
        at = end
    if not rows:
        return None
    return Recording(source.path, head, init, np.array(rows, FRAME), source.size - at, damaged)


def _read_start(source: Source) -> tuple[Head, bytes, int] | None:
    """(head, ftyp and moov, where the fragments begin); None when the file is torn before that."""
    at = 0
    for kind in (b"ftyp", b"moov", b"uuid"):
        if source.size - at >= 8 and bytes(source.bytes[at + 4 : at + 8]) != kind:
            raise BoxError(f"no {kind.decode()} at byte {at}")
        box = box_at(source.bytes, at, source.size)
        if box is None:
            return None
        if kind == b"uuid":
            head = read_head(source.bytes, box)
            if head is None:
                raise BoxError("no head of ours")
            return head, bytes(source.bytes[:at]), box.end
        at = box.end
    return None


def _rows(fragment: Fragment, end: int, file: int) -> list[tuple[int | bool, ...]]:
    at = end - len(fragment.data)
    rows: list[tuple[int | bool, ...]] = []
    for place, (mark, sample) in enumerate(zip(fragment.marks, fragment.moof.samples, strict=True)):
        rows.append(
            (
                mark.ptp_ns,
                mark.sequence,
                mark.bound_ns,
                fragment.epoch,
                at,
                fragment.number,
                sample.size,
                mark.clock_epoch,
                file,
                place,
                STATES.index(mark.state),
                fragment.active,
                sample.key,
            )
        )
        at += sample.size
    return rows
