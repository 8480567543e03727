"""A movie fragment's head (``moof``): what its samples are. Reading any that ffmpeg writes, writing ours. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from agent.record.boxes import Box, BoxError, Buffer, full, make, walk

MAX_SAMPLES: Final = 1024
TRACK: Final = 1
MAX_DURATION_US: Final = 0xFFFFFFFF
_KEY_FLAGS: Final = 0x02000000  # depends on no other sample
_DELTA_FLAGS: Final = 0x01010000  # depends on others, is no sync sample
_NOT_SYNC: Final = 0x00010000

_DEFAULT_BASE_IS_MOOF: Final = 0x020000
_TFHD_BASE, _TFHD_DESCRIPTION, _TFHD_DURATION, _TFHD_SIZE, _TFHD_FLAGS = 0x1, 0x2, 0x8, 0x10, 0x20
_TRUN_OFFSET, _TRUN_FIRST_FLAGS = 0x1, 0x4
_TRUN_DURATION, _TRUN_SIZE, _TRUN_FLAGS, _TRUN_SHIFT = 0x100, 0x200, 0x400, 0x800


@dataclass(frozen=True, slots=True)
class Sample:
    """One encoded picture: its bytes, how long it is shown (us), whether decoding can begin with it."""

    size: int
    duration_us: int
    key: bool


@dataclass(frozen=True, slots=True)
class Moof:
    """A fragment of one track, its media times in us. ``description``: which sample entry of ``stsd``, from 1."""

    media_us: int
    samples: tuple[Sample, ...]
    description: int = 1

    @property
    def data_bytes(self) -> int:
        """Bytes of the samples together: the body of the ``mdat`` that follows."""
        return sum(sample.size for sample in self.samples)


class _Fields:
    """Big-endian words of a box's body, one after the other; running out of them is a BoxError."""

    def __init__(self, buffer: Buffer, box: Box) -> None:
        self._buffer, self._at, self._box = buffer, box.body, box

    def take(self, form: str) -> int:
        size = struct.calcsize(form)
        if self._at + size > self._box.end:
            raise BoxError(f"{self._box.kind.decode('latin-1')} is too short")
        (value,) = struct.unpack_from(form, self._buffer, self._at)
        self._at += size
        return int(value)


@dataclass(slots=True)
class _Defaults:
    description: int = 1
    duration: int = 0
    size: int = 0
    flags: int = _DELTA_FLAGS


def _read_tfhd(fields: _Fields) -> _Defaults:
    flags = fields.take(">I") & 0xFFFFFF
    fields.take(">I")  # track
    if flags & _TFHD_BASE or not flags & _DEFAULT_BASE_IS_MOOF:
        raise BoxError("a fragment that says where it lies in its file cannot be moved")
    defaults = _Defaults()
    if flags & _TFHD_DESCRIPTION:
        defaults.description = fields.take(">I")
    if flags & _TFHD_DURATION:
        defaults.duration = fields.take(">I")
    if flags & _TFHD_SIZE:
        defaults.size = fields.take(">I")
    if flags & _TFHD_FLAGS:
        defaults.flags = fields.take(">I")
    return defaults


def _read_tfdt(fields: _Fields) -> int:
    return fields.take(">Q" if fields.take(">I") >> 24 else ">I")


def _read_trun(fields: _Fields, defaults: _Defaults) -> tuple[int, list[Sample]]:
    """Return (data offset from the moof's start, samples)."""
    flags = fields.take(">I") & 0xFFFFFF
    count = fields.take(">I")
    if not 1 <= count <= MAX_SAMPLES:
        raise BoxError(f"a fragment of {count} samples")
    if not flags & _TRUN_OFFSET:
        raise BoxError("trun without a data offset")
    offset = fields.take(">i")
    first = fields.take(">I") if flags & _TRUN_FIRST_FLAGS else None
    samples: list[Sample] = []
    for index in range(count):
        duration = fields.take(">I") if flags & _TRUN_DURATION else defaults.duration
        size = fields.take(">I") if flags & _TRUN_SIZE else defaults.size
        own = fields.take(">I") if flags & _TRUN_FLAGS else defaults.flags
        if flags & _TRUN_SHIFT and fields.take(">i") != 0:
            raise BoxError("pictures are not in the order of their times: the encoder makes B-frames")
        word = first if index == 0 and first is not None else own
        samples.append(Sample(size, duration, not word & _NOT_SYNC))
    return offset, samples


def read_moof(buffer: Buffer, moof: Box) -> Moof:
    """Read a ``moof`` of one track and one run whose data follows at once; raises BoxError for any other."""
    boxes = {box.kind: box for box in walk(buffer, moof.body, moof.end)}
    if b"traf" not in boxes:
        raise BoxError("moof without traf")
    parts = list(walk(buffer, boxes[b"traf"].body, boxes[b"traf"].end))
    by_kind = {part.kind: part for part in parts}
    missing = {b"tfhd", b"tfdt", b"trun"} - set(by_kind)
    if missing or sum(part.kind == b"trun" for part in parts) != 1:
        raise BoxError("traf needs tfhd, tfdt and one trun")
    defaults = _read_tfhd(_Fields(buffer, by_kind[b"tfhd"]))
    media_us = _read_tfdt(_Fields(buffer, by_kind[b"tfdt"]))
    offset, samples = _read_trun(_Fields(buffer, by_kind[b"trun"]), defaults)
    if offset not in (moof.end - moof.start + 8, moof.end - moof.start + 16):
        raise BoxError(f"the samples lie {offset} bytes behind the moof")
    return Moof(media_us, tuple(samples), defaults.description)


def write_moof(moof: Moof, sequence: int) -> bytes:
    """The ``moof`` box whose ``mdat`` follows at once. ``sequence``: number of the fragment, from 1."""

    def run(offset: int) -> bytes:
        words = b"".join(
            struct.pack(">III", one.duration_us, one.size, _KEY_FLAGS if one.key else _DELTA_FLAGS)
            for one in moof.samples
        )
        flags = _TRUN_OFFSET | _TRUN_DURATION | _TRUN_SIZE | _TRUN_FLAGS
        return full(b"trun", 0, flags, struct.pack(">Ii", len(moof.samples), offset), words)

    def whole(offset: int) -> bytes:
        tfhd = full(b"tfhd", 0, _DEFAULT_BASE_IS_MOOF | _TFHD_DESCRIPTION, struct.pack(">II", TRACK, moof.description))
        tfdt = full(b"tfdt", 1, 0, struct.pack(">Q", moof.media_us))
        mfhd = full(b"mfhd", 0, 0, struct.pack(">I", sequence & 0xFFFFFFFF))
        return make(b"moof", mfhd, make(b"traf", tfhd, tfdt, run(offset)))

    return whole(len(whole(0)) + 8)


def durations(media_us: Sequence[int], last_us: int) -> list[int]:
    """How long each picture is shown: until the next; the last for ``last_us``.

    At most what the field holds, 71.6 min; after a longer gap the next fragment's own time places it.
    """
    shown = [after - before for before, after in pairwise(media_us)] + [last_us]
    return [min(one, MAX_DURATION_US) for one in shown]
