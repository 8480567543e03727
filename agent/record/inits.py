"""What a joined file begins and ends with: one ``moov`` for several encoders' pictures, an index for players. Pure.

Encoders that were set up alike have the same sample entry, and their pictures go together as they are. Where entries
differ, ISO 14496-12 would allow several in one file, but ffmpeg passes over which of them a fragment names (seen with
5.1). So each key frame then brings its own parameter sets, as ``avc3`` and ``hev1`` (ISO 14496-15) allow.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from agent.record.boxes import BoxError, Node, full, make, tree, walk
from touchline.errors import InputError

_STSD: Final = (b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_ENTRY_BYTES: Final = 8 + 78  # box and VisualSampleEntry, before the boxes inside
_IN_BAND: Final = {b"avc1": b"avc3", b"avc3": b"avc3", b"hvc1": b"hev1", b"hev1": b"hev1"}
_LENGTH_BYTES: Final = 4


def merge(inits: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """One start for all of them, and what to put before each one's key frames (nothing where all are alike).

    Raises InputError when their pictures cannot be in one track.
    """
    try:
        ftyp, moov = _take_apart(inits[0])
        entries = [_entry_of(init) for init in inits]
        if len(set(entries)) == 1:
            return ftyp + moov.to_bytes(), [b""] * len(inits)
        kinds = {_IN_BAND.get(entry[4:8], entry[4:8]) for entry in entries}
        if len(kinds) > 1:
            raise InputError("the recordings are of different kinds of sample", hint="join recordings of one codec")
        first = entries[0][:4] + kinds.pop() + entries[0][8:]
        moov.at(_STSD).data = struct.pack(">II", 0, 1) + first
        return ftyp + moov.to_bytes(), [parameter_sets(entry) for entry in entries]
    except BoxError as error:
        raise InputError(f"the start of a recording cannot be used: {error}") from error


def _take_apart(init: bytes) -> tuple[bytes, Node]:
    boxes = list(walk(init, 0, len(init)))
    if [box.kind for box in boxes] != [b"ftyp", b"moov"]:
        raise BoxError("a start without ftyp and moov")
    return init[: boxes[0].end], tree(init, boxes[1])


def _entry_of(init: bytes) -> bytes:
    stsd = _take_apart(init)[1].at(_STSD).data
    own = [stsd[box.start : box.end] for box in walk(stsd, min(8, len(stsd)), len(stsd))]
    if len(own) != 1:
        raise BoxError(f"{len(own)} sample entries")
    return own[0]


def parameter_sets(entry: bytes) -> bytes:
    """The parameter sets of a sample entry as they stand in a picture: each behind its length of four bytes."""
    boxes = {box.kind: entry[box.body : box.end] for box in walk(entry, min(_ENTRY_BYTES, len(entry)), len(entry))}
    if b"avcC" in boxes:
        units = _of_avc(boxes[b"avcC"])
    elif b"hvcC" in boxes:
        units = _of_hevc(boxes[b"hvcC"])
    else:
        raise BoxError("a sample entry without avcC or hvcC")
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in units)


class _Bytes:
    """Bytes one after the other; running out of them is a BoxError."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise BoxError("a decoder configuration that is too short")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def units(self, count: int) -> list[bytes]:
        return [self.take(self.number(2)) for _ in range(count)]


def _need_length(word: int) -> None:
    if word & 3 != _LENGTH_BYTES - 1:
        raise BoxError("pictures whose units have no length of four bytes")


def _of_avc(data: bytes) -> list[bytes]:
    fields = _Bytes(data, 4)
    _need_length(fields.number(1))
    sequence = fields.units(fields.number(1) & 0x1F)
    return sequence + fields.units(fields.number(1))


def _of_hevc(data: bytes) -> list[bytes]:
    fields = _Bytes(data, 21)
    _need_length(fields.number(1))
    units: list[bytes] = []
    for _ in range(fields.number(1)):
        fields.number(1)  # their kind
        units += fields.units(fields.number(2))
    return units


def with_duration(init: bytes, total_us: int) -> bytes:
    """The same start with the length of the whole in ``mehd``, which players show."""
    ftyp, moov = _take_apart(init)
    mvhd = moov.child(b"mvhd").data
    (timescale,) = struct.unpack_from(">I", mvhd, 20 if mvhd[0] == 1 else 12)
    mehd = Node(b"mehd", struct.pack(">IQ", 1 << 24, round(total_us * timescale / 1e6)))
    children = moov.child(b"mvex").children
    assert children is not None
    children[:] = [mehd, *(child for child in children if child.kind != b"mehd")]
    return ftyp + moov.to_bytes()


def random_access(index: Sequence[tuple[int, int]]) -> bytes:
    """``mfra`` from (media us, where its moof lies) of each key frame: players seek without reading all of the file."""
    entries = b"".join(struct.pack(">QQBBB", time_us, offset, 1, 1, 1) for time_us, offset in index)
    tfra = full(b"tfra", 1, 0, struct.pack(">III", 1, 0, len(index)), entries)
    size = len(tfra) + 8 + 16
    return make(b"mfra", tfra, full(b"mfro", 0, 0, struct.pack(">I", size)))
