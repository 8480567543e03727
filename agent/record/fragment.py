"""One fragment as it lies in a file and goes to the twin: its pictures, and the PTP time of each of them. Pure.

    ftyp | moov | uuid head | ( uuid marks | moof | mdat ) ...

Two ``uuid`` boxes of ours, which every player passes over, tie media time to PTP time (docs: agent/record/README.md):
``head`` says once whose recording this is, ``marks`` before each fragment gives its number in the encoder's run, the
node's role and epoch when it was made, and for each picture the exposure in PTP ns with its bound. A CRC-32C over
marks, moof and mdat tells a damaged fragment from a whole one. All numbers are big-endian, as MP4's are.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import google_crc32c

from agent.record.boxes import Box, BoxError, Buffer, box_at, make
from agent.record.moof import MAX_SAMPLES, Moof, read_moof, write_moof
from touchline.timeline import ClockState

HEAD_UUID: Final = UUID("6f1f2a56-8f0b-5d0e-9a35-2d5f0b7c1e01").bytes
MARKS_UUID: Final = UUID("6f1f2a56-8f0b-5d0e-9a35-2d5f0b7c1e02").bytes
VERSION: Final = 1
MAX_HEAD_BYTES: Final = 64 << 10
MAX_FRAGMENT_BYTES: Final = 64 << 20

_MARKS: Final = struct.Struct(">BBHIQI")  # version, role, pictures, number, epoch, CRC-32C
_MARK: Final = struct.Struct(">QQQIB3x")  # exposure (PTP ns), camera's number, bound (ns), clock epoch, clock state
_CRC_AT: Final = _MARKS.size - 4
_STATES: Final = (ClockState.LOCKED, ClockState.HOLDOVER, ClockState.UNLOCKED)
_STATE_CODES: Final = {state: code for code, state in enumerate(_STATES)}
_MAX_BOUND: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Mark:
    """When one picture was exposed: the frame's stamp and the camera's own number of it."""

    ptp_ns: int
    sequence: int
    bound_ns: int
    clock_epoch: int
    state: ClockState


@dataclass(frozen=True, slots=True)
class Fragment:
    """Pictures that belong together, with everything that a reader needs to place them.

    ``number`` counts the fragments of one run of the encoder from 0. ``active`` and ``epoch``: what the node was.
    """

    number: int
    active: bool
    epoch: int
    marks: tuple[Mark, ...]
    moof: Moof
    data: Buffer

    def __post_init__(self) -> None:
        if len(self.marks) != len(self.moof.samples) or len(self.data) != self.moof.data_bytes:
            raise BoxError("marks, samples and data of a fragment do not belong together")

    @property
    def key(self) -> bool:
        """Whether decoding can begin with it."""
        return self.moof.samples[0].key

    def shifted(self, by_us: int) -> Fragment:
        """The same at another media time."""
        return replace(self, moof=replace(self.moof, media_us=self.moof.media_us + by_us))

    def to_bytes(self) -> bytes:
        """Three boxes: marks, moof, mdat."""
        moof = write_moof(self.moof, self.number + 1)
        head = _MARKS.pack(VERSION, self.active, len(self.marks), self.number & 0xFFFFFFFF, self.epoch, 0)[:_CRC_AT]
        table = b"".join(
            _MARK.pack(
                mark.ptp_ns, mark.sequence, min(mark.bound_ns, _MAX_BOUND), mark.clock_epoch, _STATE_CODES[mark.state]
            )
            for mark in self.marks
        )
        mdat = make(b"mdat", bytes(self.data))
        crc = _crc(head, table, moof, mdat)
        return make(b"uuid", MARKS_UUID, head, struct.pack(">I", crc), table) + moof + mdat


def _crc(*parts: Buffer) -> int:
    crc = 0
    for part in parts:
        crc = google_crc32c.extend(crc, bytes(part))
    return int(crc)


def read_fragment(buffer: Buffer, at: int, end: int) -> tuple[Fragment, int] | None:
    """The fragment whose marks box begins at ``at``, and where it ends; None when it is not whole before ``end``.

    Its data is a view of ``buffer``. Raises BoxError when it is damaged or none of ours.
    """
    boxes: list[Box] = []
    for kind in (b"uuid", b"moof", b"mdat"):
        box = box_at(buffer, at, end)
        if box is None:
            _refuse_monsters(buffer, at, end)
            return None
        if box.kind != kind:
            raise BoxError(f"{box.kind.decode('latin-1')} at byte {at} instead of {kind.decode('latin-1')}")
        boxes.append(box)
        at = box.end
    uuid, head, data = boxes
    number, active, epoch, crc, marks = _read_marks(buffer, uuid)
    table_at = uuid.body + len(MARKS_UUID) + _MARKS.size
    view = memoryview(buffer)
    covered = (
        view[uuid.body + len(MARKS_UUID) : table_at - 4],
        view[table_at : uuid.end],
        view[head.start : head.end],
        view[data.start : data.end],
    )
    if _crc(*covered) != crc:
        raise BoxError(f"fragment {number} at byte {uuid.start} is damaged: its checksum differs")
    return Fragment(number, active, epoch, marks, read_moof(buffer, head), view[data.body : data.end]), at


def _refuse_monsters(buffer: Buffer, at: int, end: int) -> None:
    """A torn box may be waited for; one larger than any fragment is nonsense."""
    if end - at >= 4 and struct.unpack_from(">I", buffer, at)[0] > MAX_FRAGMENT_BYTES:
        raise BoxError(f"a box of more than {MAX_FRAGMENT_BYTES} bytes at byte {at}")


def _read_marks(buffer: Buffer, box: Box) -> tuple[int, bool, int, int, tuple[Mark, ...]]:
    at = box.body + len(MARKS_UUID)
    if box.end - at < _MARKS.size or bytes(buffer[box.body : at]) != MARKS_UUID:
        raise BoxError(f"the box at byte {box.start} is no marks box of ours")
    version, active, count, number, epoch, crc = _MARKS.unpack_from(buffer, at)
    at += _MARKS.size
    if version != VERSION or active > 1:
        raise BoxError(f"marks of version {version}; this program reads {VERSION}")
    if not 1 <= count <= MAX_SAMPLES or at + count * _MARK.size != box.end:
        raise BoxError(f"a marks box of {box.end - box.start} bytes for {count} pictures")
    marks = []
    for index in range(count):
        ptp_ns, sequence, bound_ns, clock_epoch, state = _MARK.unpack_from(buffer, at + index * _MARK.size)
        if state >= len(_STATES):
            raise BoxError(f"clock state {state}")
        marks.append(Mark(ptp_ns, sequence, bound_ns, clock_epoch, _STATES[state]))
    return number, bool(active), epoch, crc, tuple(marks)


@dataclass(frozen=True, slots=True)
class Head:
    """Whose recording a file is. ``stream``: the run of the encoder, 16 random bytes as hex; numbers belong to it."""

    node: str
    camera: int
    stream: str
    codec: str
    encoder: str
    width_px: int
    height_px: int
    rate_hz: float
    first_number: int = 0
    pieces: tuple[Mapping[str, Any], ...] = ()  # of a joined recording: where each part came from

    def to_bytes(self) -> bytes:
        """The head box."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        document = {"version": VERSION, **fields, "pieces": [dict(piece) for piece in self.pieces]}
        return make(b"uuid", HEAD_UUID, json.dumps(document, separators=(",", ":")).encode())


_HEAD_KINDS: Final = {
    "node": str,
    "camera": int,
    "stream": str,
    "codec": str,
    "encoder": str,
    "width_px": int,
    "height_px": int,
    "rate_hz": float,
    "first_number": int,
}


def read_head(buffer: Buffer, box: Box) -> Head | None:
    """The head in a ``uuid`` box; None when the box is somebody else's. Raises BoxError when it makes no sense."""
    at = box.body + len(HEAD_UUID)
    if box.kind != b"uuid" or box.end < at or bytes(buffer[box.body : at]) != HEAD_UUID:
        return None
    if box.end - at > MAX_HEAD_BYTES:
        raise BoxError(f"a head of {box.end - at} bytes")
    try:
        found = json.loads(bytes(buffer[at : box.end]))
    except (ValueError, RecursionError) as error:
        raise BoxError("the head is no JSON") from error
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise BoxError("a head of another version")
    values: dict[str, Any] = {}
    for name, kind in _HEAD_KINDS.items():
        value = found.get(name)
        value = float(value) if kind is float and type(value) is int else value
        if type(value) is not kind:
            raise BoxError(f"the head's {name} is {value!r}")
        values[name] = value
    if not 0 < values["rate_hz"] <= 10_000:
        raise BoxError(f"the head's rate is {values['rate_hz']!r}")
    pieces = found.get("pieces", [])
    if not isinstance(pieces, list) or not all(isinstance(piece, dict) for piece in pieces):
        raise BoxError("the head's pieces are no list of tables")
    return Head(**values, pieces=tuple(pieces))
