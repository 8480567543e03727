"""The record and the batch: the one definition of every byte that leaves a node (REC-1).

A record is 104 bytes, little-endian, one per detection. A batch is an 80-byte header followed by its records. Both
layouts are NumPy structured dtypes, so packing and unpacking 1,200 records is one memory copy. The layout hash in the
header is computed from the two dtypes themselves: change a field and every reader refuses the batch by name instead
of misreading it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from touchline.errors import InputError

LAYOUT_VERSION: Final = 1
NIL_PLAYER: Final = bytes(16)
MAX_BATCH_RECORDS: Final = 8192  # 852 kB: three full MSG-1 bursts, and a bound for anything that claims to be a batch

RECORD: Final = np.dtype(
    [
        ("version", "u1"),
        ("flags", "u1"),
        ("camera", "<u2"),
        ("frame", "<u4"),
        ("ptp_ns", "<u8"),
        ("key", "u1", (16,)),
        ("player", "u1", (16,)),
        ("x_m", "<f8"),
        ("y_m", "<f8"),
        ("vx_mps", "<f8"),
        ("vy_mps", "<f8"),
        ("ax_mps2", "<f8"),
        ("ay_mps2", "<f8"),
        ("height_m", "<f8"),
    ]
)
RECORD_BYTES: Final = 104

HEADER: Final = np.dtype(
    [
        ("magic", "S4"),
        ("count", "<u4"),
        ("layout_hash", "u1", (8,)),
        ("node", "S16"),
        ("boot_id", "u1", (16,)),
        ("epoch", "<u8"),
        ("batch_number", "<u8"),
        ("first_record", "<u8"),
        ("reserved", "<u4"),
        ("crc32c", "<u4"),
    ]
)
HEADER_BYTES: Final = 80
MAGIC: Final = b"TLB1"
MAX_BATCH_BYTES: Final = HEADER_BYTES + MAX_BATCH_RECORDS * RECORD_BYTES

FIELD_MEANING: Final = {
    "version": "layout version, 1",
    "flags": (
        "bit 0 predicted, 1 clock within bound, 2 from standby (recorded while its node was standby and sent after it "
        "took over), 3 identity confirmed; class in bits 4..7"
    ),
    "camera": "camera number, unique across the site (the twins of a pair share it)",
    "frame": "the camera's own frame sequence number",
    "ptp_ns": "start of exposure, PTP time, ns since the TAI epoch",
    "key": "first 128 bits of SHA-256 over (camera, exposure time, quantised box)",
    "player": "player UUID, nil while unknown",
    "x_m": "pitch position along the touchline, m",
    "y_m": "pitch position across the pitch, m",
    "vx_mps": "velocity along x, m/s",
    "vy_mps": "velocity along y, m/s",
    "ax_mps2": "acceleration along x, m/s^2",
    "ay_mps2": "acceleration along y, m/s^2",
    "height_m": "height above the grass, m",
    "magic": "'TLB1'",
    "count": "records in this batch",
    "layout_hash": "first 64 bits of SHA-256 over both layouts",
    "node": "node name, ASCII, NUL padded",
    "boot_id": "random id of this start of the agent; a node that becomes standby counts on in the last 4 bytes",
    "epoch": "fencing epoch",
    "batch_number": "batch number under this boot id",
    "first_record": "number of the first record under this boot id",
    "reserved": "0",
    "crc32c": "CRC-32C (Castagnoli) of header up to here and all records",
}

_CRC_OFFSET: Final = 76
_EPOCH_OFFSET: Final = 48
_NODE_NAME: Final = re.compile(r"[a-z0-9-]{1,16}")


class Flag(IntFlag):
    """The low four bits of a record's ``flags`` byte; the class number sits above them."""

    PREDICTED = 1
    CLOCK_IN_BOUND = 2
    FROM_STANDBY = 4
    IDENTITY_CONFIRMED = 8


class RecordError(InputError):
    """Bytes that are not a batch of this layout."""


class TruncatedBatch(RecordError):
    """The bytes end before the batch does."""


class CorruptBatch(RecordError):
    """The checksum, a reserved field or a name is wrong."""


class ForeignBatch(RecordError):
    """Another magic or another layout hash: not ours, or another version of ours."""


class OversizedBatch(RecordError):
    """More records than a batch may hold, or bytes after its end."""


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """Who sent a batch and where its records stand in that sender's sequence.

    ``node`` is 1..16 of ``[a-z0-9-]``; ``boot_id`` is 16 bytes; the numbers are unsigned 64 bit, ``count`` at most
    ``MAX_BATCH_RECORDS``.
    """

    node: str
    boot_id: bytes
    epoch: int
    batch_number: int
    first_record: int
    count: int


def layout_text(dtype: np.dtype[Any]) -> str:
    """Return one line per field, ``offset type name``: the canonical text that the layout hash covers."""
    fields: Any = dtype.fields or {}
    return "\n".join(f"{fields[n][1]} {fields[n][0].str}{fields[n][0].shape} {n}" for n in dtype.names or ())


def _layout_hash() -> bytes:
    text = f"touchline batch {LAYOUT_VERSION}\n{layout_text(HEADER)}\n--\n{layout_text(RECORD)}\n"
    return hashlib.sha256(text.encode()).digest()[:8]


LAYOUT_HASH: Final = _layout_hash()


def check_node_name(node: str) -> str:
    """Return ``node`` if it can stand in a header and a topic, else raise :class:`RecordError`."""
    if not _NODE_NAME.fullmatch(node):
        raise RecordError(f"node name {node!r} is not usable", hint="use 1 to 16 characters of a-z, 0-9 and '-'")
    return node


def topic_det(node: str) -> str:
    """Topic of a node's record batches."""
    return f"tl/v1/{node}/det"


def topic_health(node: str) -> str:
    """Topic of a node's retained health document (JSON)."""
    return f"tl/v1/{node}/health"


def topic_clock(node: str) -> str:
    """Topic of a node's retained clock document (JSON)."""
    return f"tl/v1/{node}/clock"


def topic_event(node: str) -> str:
    """Topic of a node's events (JSON)."""
    return f"tl/v1/{node}/event"


def new_records(count: int) -> NDArray[np.void]:
    """Return ``count`` zeroed records with the version byte set."""
    records = np.zeros(count, RECORD)
    records["version"] = LAYOUT_VERSION
    return records


def detection_keys(camera: int, ptp_ns: int, boxes_px: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return the (n, 16) detection keys of ``boxes_px`` (n, 4: x1, y1, x2, y2), all from one exposure.

    The box is quantised to 1/8 px (int32), so the key is stable across platforms' last-bit float differences.
    """
    n = len(boxes_px)
    material = np.zeros((n, 26), np.uint8)
    material[:, 0:2] = np.frombuffer(int(camera).to_bytes(2, "little"), np.uint8)
    material[:, 2:10] = np.frombuffer(int(ptp_ns).to_bytes(8, "little"), np.uint8)
    quantised = np.rint(np.asarray(boxes_px, np.float64) * 8.0).clip(-(2**31), 2**31 - 1).astype("<i4")
    material[:, 10:26] = quantised.view(np.uint8).reshape(n, 16)
    raw = material.tobytes()
    sha = hashlib.sha256
    digests = b"".join([sha(raw[i : i + 26]).digest()[:16] for i in range(0, 26 * n, 26)])
    return np.frombuffer(digests, np.uint8).reshape(n, 16)


def pack_batch(header: BatchHeader, records: NDArray[np.void]) -> bytes:
    """Return the wire bytes of one batch.

    Raises :class:`RecordError` when the header and the records do not fit each other or the layout.
    """
    if records.dtype != RECORD or len(records) != header.count:
        raise RecordError(
            f"batch of {header.count} cannot hold {len(records)} records of {records.dtype.itemsize} bytes"
        )
    if header.count > MAX_BATCH_RECORDS:
        raise OversizedBatch(f"{header.count} records in one batch", hint=f"at most {MAX_BATCH_RECORDS}; split it")
    if len(header.boot_id) != 16:
        raise RecordError(f"boot id has {len(header.boot_id)} bytes, not 16")
    head = np.zeros((), HEADER)
    head["magic"] = MAGIC
    head["count"] = header.count
    head["layout_hash"] = np.frombuffer(LAYOUT_HASH, np.uint8)
    head["node"] = check_node_name(header.node).encode()
    head["boot_id"] = np.frombuffer(header.boot_id, np.uint8)
    for name in ("epoch", "batch_number", "first_record"):
        head[name] = getattr(header, name)
    head_bytes = head.tobytes()[:_CRC_OFFSET]
    body = records.tobytes()
    crc = google_crc32c.extend(google_crc32c.value(head_bytes), body)
    return b"".join((head_bytes, crc.to_bytes(4, "little"), body))


def with_epoch(data: bytes, epoch: int) -> bytes:
    """Return the same batch under another fencing epoch: eight bytes and the checksum differ. ``data`` is a batch."""
    rest = data[_EPOCH_OFFSET + 8 : _CRC_OFFSET]
    head = b"".join((data[:_EPOCH_OFFSET], epoch.to_bytes(8, "little"), rest))
    body = data[HEADER_BYTES:]
    crc = google_crc32c.extend(google_crc32c.value(head), body)
    return b"".join((head, crc.to_bytes(4, "little"), body))


def read_header(data: bytes | memoryview) -> BatchHeader:
    """Parse and bound-check the first 80 bytes; does not need the records (for readers of streams and spools)."""
    if len(data) < HEADER_BYTES:
        raise TruncatedBatch(f"{len(data)} bytes, a batch header has {HEADER_BYTES}")
    head = np.frombuffer(data, HEADER, count=1)[0]
    if bytes(head["magic"]) != MAGIC:
        raise ForeignBatch(f"magic {bytes(head['magic'])!r}, not {MAGIC!r}", hint="this is no Touchline batch")
    found = head["layout_hash"].tobytes()
    if found != LAYOUT_HASH:
        raise ForeignBatch(
            f"layout {found.hex()}, this version reads {LAYOUT_HASH.hex()}",
            hint="run the same Touchline release on both ends",
        )
    count = int(head["count"])
    if count > MAX_BATCH_RECORDS:
        raise OversizedBatch(f"header claims {count} records", hint=f"at most {MAX_BATCH_RECORDS}")
    node = bytes(head["node"]).decode("ascii", "replace")
    if not _NODE_NAME.fullmatch(node) or int(head["reserved"]) != 0:
        raise CorruptBatch(f"node name {node!r} or reserved field is invalid")
    return BatchHeader(
        node=node,
        boot_id=head["boot_id"].tobytes(),
        epoch=int(head["epoch"]),
        batch_number=int(head["batch_number"]),
        first_record=int(head["first_record"]),
        count=count,
    )


def batch_bytes(header: BatchHeader) -> int:
    """Length on the wire of the batch that ``header`` announces."""
    return HEADER_BYTES + header.count * RECORD_BYTES


def unpack_batch(data: bytes | memoryview) -> tuple[BatchHeader, NDArray[np.void]]:
    """Return the header and a read-only view of the records; the input must be exactly one batch.

    Raises :class:`TruncatedBatch`, :class:`CorruptBatch`, :class:`ForeignBatch` or :class:`OversizedBatch`; nothing
    else, whatever the bytes.
    """
    if len(data) > MAX_BATCH_BYTES:
        raise OversizedBatch(f"{len(data)} bytes, a batch has at most {MAX_BATCH_BYTES}")
    header = read_header(data)
    size = batch_bytes(header)
    if len(data) < size:
        raise TruncatedBatch(f"{len(data)} of {size} bytes")
    if len(data) > size:
        raise OversizedBatch(f"{len(data) - size} bytes after the end of the batch")
    view = memoryview(data).toreadonly()
    wanted = int.from_bytes(view[_CRC_OFFSET:HEADER_BYTES], "little")
    crc = google_crc32c.extend(google_crc32c.value(bytes(view[:_CRC_OFFSET])), bytes(view[HEADER_BYTES:]))
    if crc != wanted:
        raise CorruptBatch(f"CRC-32C {crc:08x}, header says {wanted:08x}")
    records = np.frombuffer(view, RECORD, count=header.count, offset=HEADER_BYTES)
    if header.count and not bool((records["version"] == LAYOUT_VERSION).all()):
        raise CorruptBatch(f"a record's version is not {LAYOUT_VERSION}")
    return header, records


def class_of(flags: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the class numbers (0..15) held in the upper bits of ``flags``."""
    return np.asarray(flags >> 4, np.uint8)
