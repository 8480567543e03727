"""The record and the batch: sizes, golden bytes, round trips, and every kind of bad input as a typed error."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from touchline.record import (
    HEADER,
    HEADER_BYTES,
    LAYOUT_HASH,
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    RECORD,
    RECORD_BYTES,
    BatchHeader,
    CorruptBatch,
    Flag,
    ForeignBatch,
    OversizedBatch,
    RecordError,
    TruncatedBatch,
    check_node_name,
    class_of,
    detection_keys,
    new_records,
    pack_batch,
    unpack_batch,
)

VECTORS = Path(__file__).parents[1] / "vectors"
HEAD = BatchHeader("pitch-a1", bytes(range(16)), epoch=7, batch_number=42, first_record=1234, count=3)


def golden_records() -> np.ndarray:
    records = new_records(3)
    records["flags"] = [Flag.CLOCK_IN_BOUND, Flag.PREDICTED | 0x20, 0]
    records["camera"] = 4
    records["frame"] = [100, 100, 101]
    records["ptp_ns"] = [1_795_000_037_000_000_000, 1_795_000_037_000_000_000, 1_795_000_037_008_333_333]
    records["key"] = detection_keys(4, 1_795_000_037_000_000_000, np.array([[1, 2, 3, 4.125]] * 3))
    records["x_m"] = [0.0, 52.5, 105.0]
    records["y_m"] = [34.0, -0.25, 68.0]
    records["vx_mps"] = [0.5, -7.25, 0.0]
    records["height_m"] = 1.83
    return records


def any_batch(count: int = 3) -> bytes:
    head = BatchHeader("n", bytes(16), 0, 0, 0, count)
    return pack_batch(head, new_records(count))


def test_sizes_are_the_asked_ones():
    assert RECORD.itemsize == RECORD_BYTES == 104
    assert HEADER.itemsize == HEADER_BYTES == 80


def test_golden_batch_is_byte_for_byte_the_one_on_disk():
    assert pack_batch(HEAD, golden_records()) == (VECTORS / "batch_v1.tlb").read_bytes()


def test_golden_batch_decodes_without_numpy_to_the_same_values():
    data = (VECTORS / "batch_v1.tlb").read_bytes()
    magic, count, layout, node, boot, epoch, number, first, reserved, _crc = struct.unpack_from(
        "<4sI8s16s16sQQQII", data
    )
    assert (magic, count, layout, node.rstrip(b"\0")) == (b"TLB1", 3, LAYOUT_HASH, b"pitch-a1")
    assert (boot, epoch, number, first, reserved) == (bytes(range(16)), 7, 42, 1234, 0)
    version, flags, camera, frame, ptp_ns, _key, player, x, y, vx, _vy, _ax, _ay, height = struct.unpack_from(
        "<BBHIQ16s16s7d", data, 80 + 104
    )
    assert (version, flags, camera, frame, ptp_ns) == (1, 0x21, 4, 100, 1_795_000_037_000_000_000)
    assert (player, x, y, vx, height) == (bytes(16), 52.5, -0.25, -7.25, 1.83)


def test_layout_hash_is_pinned_so_that_a_change_of_layout_is_a_decision():
    assert LAYOUT_HASH.hex() == (VECTORS / "layout_v1.hash").read_text().strip()


def test_key_is_the_documented_hash():
    material = struct.pack("<HQ4i", 4, 99, 8, 16, 24, 33)
    key = detection_keys(4, 99, np.array([[1.0, 2.0, 3.0, 4.125]]))
    assert key.tobytes() == hashlib.sha256(material).digest()[:16]


def test_keys_of_no_boxes_are_no_keys():
    assert detection_keys(1, 2, np.empty((0, 4))).shape == (0, 16)


@given(st.integers(0, 40), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.binary(min_size=16, max_size=16))
def test_round_trip(count, epoch, first, boot):
    records = new_records(count)
    records["x_m"] = np.arange(count)
    head = BatchHeader("node-7", boot, epoch, 5, first, count)
    got, back = unpack_batch(pack_batch(head, records))
    assert got == head
    assert np.array_equal(back, records)


def test_unpacked_records_are_a_read_only_view():
    _, records = unpack_batch(any_batch())
    with pytest.raises(ValueError, match="read-only"):
        records["x_m"] = 1.0


@given(st.integers(0, 80 + 3 * 104 - 1))
def test_every_truncation_is_truncated(cut):
    with pytest.raises(TruncatedBatch):
        unpack_batch(any_batch()[:cut])


@given(st.integers(0, 80 + 3 * 104 - 1), st.integers(1, 255))
def test_every_flipped_byte_is_a_typed_error(index, flip):
    data = bytearray(any_batch())
    data[index] ^= flip
    with pytest.raises(RecordError):
        unpack_batch(bytes(data))


@given(st.binary(max_size=600))
def test_noise_never_crashes(noise):
    with pytest.raises(RecordError):
        unpack_batch(noise)


@given(st.binary(max_size=300))
def test_noise_behind_a_true_magic_and_hash_never_crashes(noise):
    with pytest.raises(RecordError):
        unpack_batch(any_batch()[:16] + noise)


def test_foreign_magic_and_layout():
    data = bytearray(any_batch())
    data[8] ^= 1
    with pytest.raises(ForeignBatch, match="layout"):
        unpack_batch(bytes(data))
    with pytest.raises(ForeignBatch, match="magic"):
        unpack_batch(b"PK\3\4" + any_batch()[4:])


def test_oversized_is_refused_before_it_is_parsed():
    with pytest.raises(OversizedBatch):
        unpack_batch(bytes(MAX_BATCH_BYTES + 1))
    with pytest.raises(OversizedBatch, match="after the end"):
        unpack_batch(any_batch() + b"\0")
    data = bytearray(any_batch())
    data[4:8] = (MAX_BATCH_RECORDS + 1).to_bytes(4, "little")
    with pytest.raises(OversizedBatch):
        unpack_batch(bytes(data))


def test_corrupt_crc_names_both_values():
    data = bytearray(any_batch())
    data[-1] ^= 1
    with pytest.raises(CorruptBatch, match="CRC-32C"):
        unpack_batch(bytes(data))


@pytest.mark.parametrize("name", ["", "a" * 17, "Node", "a/b", "a b", "a\0"])
def test_node_names_that_cannot_stand_in_a_topic(name):
    with pytest.raises(RecordError, match="1 to 16"):
        check_node_name(name)


def test_pack_refuses_what_does_not_fit():
    with pytest.raises(RecordError):
        pack_batch(HEAD, new_records(2))
    with pytest.raises(OversizedBatch):
        pack_batch(BatchHeader("n", bytes(16), 0, 0, 0, 8193), new_records(8193))
    with pytest.raises(RecordError, match="boot id"):
        pack_batch(BatchHeader("n", b"short", 0, 0, 0, 0), new_records(0))


def test_class_sits_above_the_flags():
    assert class_of(np.array([0x21, 0xF0, 0x0F], np.uint8)).tolist() == [2, 15, 0]
