"""The bytes of a trace file, in the ring and in the archive. Pure. Little-endian.

    head 32: "TLTR", version u16 = 1, head size u16 = 32, ring id 8 bytes, serial u64, 8 zero bytes
    then records: length u32, CRC-32 u32 of the payload (zlib's), payload

A record is whole or it is the torn tail, where reading ends. What a payload means is its writer's business
(``agent/trace``); the ring carries bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAGIC: Final = b"TLTR"
VERSION: Final = 1
_HEAD: Final = struct.Struct("<4sHH8sQ8x")
_RECORD: Final = struct.Struct("<II")
HEAD_BYTES: Final = _HEAD.size
RECORD_OVERHEAD: Final = _RECORD.size
MAX_PAYLOAD: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Head:
    """Which ring this is of, and which file of it."""

    ring_id: bytes
    serial: int

    def to_bytes(self) -> bytes:
        """The first 32 bytes of a file."""
        return _HEAD.pack(MAGIC, VERSION, HEAD_BYTES, self.ring_id, self.serial)


def read_head(data: bytes | memoryview) -> Head:
    """The head of a file. Raises ValueError in plain words."""
    if len(data) < HEAD_BYTES:
        raise ValueError(f"{len(data)} bytes are no trace file")
    magic, version, size, ring_id, serial = _HEAD.unpack_from(data)
    if magic != MAGIC or version != VERSION or size != HEAD_BYTES:
        raise ValueError(f"no trace file of version {VERSION}")
    return Head(ring_id, serial)


def record_bytes(payload: bytes) -> bytes:
    """A payload as it lies in a file. Raises ValueError when it is too large or empty."""
    if not 1 <= len(payload) <= MAX_PAYLOAD:
        raise ValueError(f"a record of {len(payload)} bytes; 1 to {MAX_PAYLOAD} are allowed")
    return _RECORD.pack(len(payload), zlib.crc32(payload)) + payload


def records_in(data: bytes | memoryview, start: int = HEAD_BYTES) -> Iterator[tuple[int, memoryview]]:
    """Each whole record's end in ``data`` and its payload; ends at the first that is torn or damaged."""
    view, at = memoryview(data), start
    while at + _RECORD.size <= len(view):
        length, checksum = _RECORD.unpack_from(view, at)
        end = at + _RECORD.size + length
        if not 1 <= length <= MAX_PAYLOAD or end > len(view):
            return
        payload = view[at + _RECORD.size : end]
        if zlib.crc32(payload) != checksum:
            return
        yield end, payload
        at = end
