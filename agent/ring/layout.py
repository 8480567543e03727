"""Layout of the ring's memory: the only definition, from which offsets, packing and the version hash follow.

    control region   identity (128 B) | writer (128 B) | one place per reader (128 B each) | slot table (64 B per slot)
    payload region   slot 0 | slot 1 | ...      each slot starts on a page

Both regions start on a page, so that a reader can map the payload read-only. Every field is an aligned native 8-byte
or 4-byte word: a counter is stored by one machine store (:func:`words`), never byte by byte.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np

from agent.ring.core import RingSpec
from touchline.timeline import ClockState

MAGIC: Final = int.from_bytes(b"TLRING1\0", "little")
LAYOUT_VERSION: Final = 1
WORD_BYTES: Final = 8
LINE_BYTES: Final = 128  # two 64-byte cache lines: the adjacent-line prefetcher of Arm and x86 pulls pairs
SLOT_META_BYTES: Final = 64

WRITER_NEVER: Final = 0
WRITER_ATTACHED: Final = 1
WRITER_CLOSED: Final = 2

STATES: Final = (ClockState.LOCKED, ClockState.HOLDOVER, ClockState.UNLOCKED)


def _record(size: int, fields: Sequence[tuple[str, str]]) -> np.dtype[np.void]:
    names = [name for name, _ in fields]
    formats = [form for _, form in fields]
    offsets, at = [], 0
    for form in formats:
        width = np.dtype(form).itemsize
        at += -at % width
        offsets.append(at)
        at += width
    if at > size:
        raise AssertionError(f"fields take {at} bytes of {size}")
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


def _words(*names: str) -> list[tuple[str, str]]:
    return [(name, "u8") for name in names]


IDENTITY: Final = _record(
    LINE_BYTES,
    _words(
        "magic", "version", "layout_hash", "slots", "slot_bytes", "stride_bytes", "readers", "guard_slots",
        "page_bytes", "control_bytes", "locked",
    ),
)  # fmt: skip
WRITER: Final = _record(
    LINE_BYTES,
    _words(
        "claimed",  # frames whose slot was taken
        "committed",  # frames finished
        "camera_drops",  # frames that the camera itself lost, by its own sequence numbers (CAP-4)
        "abandoned",  # frames half written when a writer died
        "lives",  # writers that ever attached
        "state",  # WRITER_NEVER | WRITER_ATTACHED | WRITER_CLOSED
        "pid",
        "start_ticks",  # /proc/PID/stat field 22: tells a reused pid from the writer
        "attached_monotonic_ns",
    ),
)
READER: Final = _record(
    LINE_BYTES,
    _words(
        "handed",  # frames handed out; the next frame wanted is handed + skipped
        "skipped",  # committed frames passed over
        "late",  # frames overwritten while in use
        "abandoned",  # frames in hand when the reader died
        "overruns",  # times the reader fell into the guard band
        "in_hand",  # frame number + 1 of the frame in use, 0 when none
        "lives",
        "pid",
        "start_ticks",
    ),
)
SLOT: Final = _record(
    SLOT_META_BYTES,
    [
        ("stamp", "u8"),  # generation: odd while being written
        ("sequence", "u8"),
        ("ptp_ns", "u8"),
        ("bound_ns", "u8"),
        ("landed_monotonic_ns", "u8"),
        ("dropped_before", "u8"),
        ("epoch", "u4"),
        ("state", "u4"),
    ],
)

WRITER_OFFSET: Final = IDENTITY.itemsize
READERS_OFFSET: Final = WRITER_OFFSET + WRITER.itemsize

META: Final = struct.Struct("@QQQQQII")  # a slot's fields after its stamp, in the order of SLOT
META_OFFSET: Final = WORD_BYTES


def offset_of(record: np.dtype[np.void], field: str) -> int:
    """Return the byte offset of ``field`` in ``record``."""
    if record.fields is None:
        raise AssertionError("not a structured dtype")
    return int(record.fields[field][1])


def word_of(record: np.dtype[np.void], field: str, base: int) -> int:
    """Return the index of an 8-byte field among the 8-byte words of the control region."""
    return (base + offset_of(record, field)) // WORD_BYTES


def reader_offset(index: int) -> int:
    """Return the byte offset of reader ``index``'s place."""
    return READERS_OFFSET + index * READER.itemsize


def slot_table_offset(readers: int) -> int:
    """Return the byte offset of the slot table."""
    return READERS_OFFSET + readers * READER.itemsize


def round_up(value: int, step: int) -> int:
    """Round ``value`` up to a multiple of ``step``."""
    return value + -value % step


def control_bytes(spec: RingSpec, page_bytes: int) -> int:
    """Return the size of the control region in bytes."""
    return round_up(slot_table_offset(spec.readers) + spec.slots * SLOT.itemsize, page_bytes)


def stride_bytes(spec: RingSpec) -> int:
    """Return the distance of two slots in bytes: whole base pages, whatever pages carry the ring."""
    return round_up(spec.slot_bytes, mmap.PAGESIZE)


def total_bytes(spec: RingSpec, page_bytes: int) -> int:
    """Return the bytes of the whole ring."""
    return control_bytes(spec, page_bytes) + round_up(stride_bytes(spec) * spec.slots, page_bytes)


def layout_hash() -> int:
    """Return the 64-bit hash of this definition; two programs share a ring only if theirs are equal."""
    parts = [f"{dtype.fields}{dtype.itemsize}" for dtype in (IDENTITY, WRITER, READER, SLOT)]
    text = "|".join([str(LAYOUT_VERSION), META.format, *parts, *(state.value for state in STATES)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
