"""Boxes and movie fragments: what we write can be read, and nothing that is read can do harm."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.record.boxes import MAX_BOXES, BoxError, box_at, full, make, tree, walk
from agent.record.moof import MAX_SAMPLES, Moof, Sample, read_moof, write_moof

samples = st.lists(
    st.builds(Sample, st.integers(0, 2**20), st.integers(0, 2**32 - 1), st.booleans()), min_size=1, max_size=20
)
moofs = st.builds(Moof, st.integers(0, 2**63), samples.map(tuple), st.integers(1, 9))


def box_of(data: bytes):
    box = box_at(data, 0, len(data))
    assert box is not None
    return box


@given(moof=moofs, sequence=st.integers(0, 2**40))
def test_a_moof_comes_back_as_it_was(moof, sequence):
    data = write_moof(moof, sequence)
    assert read_moof(data, box_of(data)) == moof


@given(data=st.binary(max_size=300))
def test_any_bytes_are_boxes_or_an_error(data):
    try:
        found = list(walk(data, 0, len(data)))
    except BoxError:
        return
    assert sum(box.end - box.start for box in found) == len(data)


@given(moof=moofs, at=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 10**6))
def test_a_damaged_moof_is_an_error_or_another_moof(moof, at, value, cut):
    data = bytearray(write_moof(moof, 1))
    data[at % len(data)] = value
    del data[max(8, cut % (2 * len(data))) :]
    try:
        box = box_at(data, 0, len(data))
        if box is not None:
            found = read_moof(data, box)
            assert 1 <= len(found.samples) <= MAX_SAMPLES
    except BoxError:
        pass


def test_a_large_box_has_a_64_bit_size():
    data = struct.pack(">I4sQ", 1, b"mdat", 16 + 3) + b"abc" + make(b"free")
    first, second = walk(data, 0, len(data))
    assert (first.kind, first.body, first.end) == (b"mdat", 16, 19)
    assert second.kind == b"free"


@pytest.mark.parametrize("size", [0, 2, 7])
def test_a_size_below_its_own_head_is_an_error(size):
    with pytest.raises(BoxError, match="box of"):
        box_at(struct.pack(">I4s", size, b"free"), 0, 8)


def test_a_torn_box_is_none_and_cannot_be_walked():
    data = make(b"mdat", b"12345678")[:-1]
    assert box_at(data, 0, len(data)) is None
    with pytest.raises(BoxError, match="torn"):
        list(walk(data, 0, len(data)))


def test_more_boxes_than_any_file_has_are_an_error():
    data = make(b"free") * (MAX_BOXES + 1)
    with pytest.raises(BoxError, match="more than"):
        list(walk(data, 0, len(data)))


def test_boxes_nested_too_deep_are_an_error():
    data = b""
    for _ in range(20):
        data = make(b"moov", data)
    with pytest.raises(BoxError, match="deep"):
        tree(data, box_of(data))


def test_a_tree_gives_the_same_bytes_and_its_parts_by_path():
    data = make(b"moov", make(b"trak", make(b"mdia", full(b"mdhd", 0, 0, b"x"))), make(b"udta", b"y"))
    moov = tree(data, box_of(data))
    assert moov.to_bytes() == data
    assert moov.at([b"trak", b"mdia", b"mdhd"]).data == bytes(4) + b"x"
    with pytest.raises(BoxError, match="no mvex"):
        moov.child(b"mvex")


def moof_with(tfhd_flags: int = 0x020000, trun: bytes | None = None, extra: bytes = b"") -> bytes:
    run = trun if trun is not None else full(b"trun", 0, 0x1, struct.pack(">Ii", 1, 0))
    tfhd = full(b"tfhd", 0, tfhd_flags, struct.pack(">IQ", 1, 0))
    return make(b"moof", make(b"traf", tfhd, full(b"tfdt", 1, 0, bytes(8)), run, extra))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (make(b"moof", make(b"mfhd")), "without traf"),
        (make(b"moof", make(b"traf", make(b"tfhd"))), "needs tfhd, tfdt"),
        (moof_with(tfhd_flags=0x1), "cannot be moved"),
        (moof_with(trun=full(b"trun", 0, 0x1, struct.pack(">Ii", MAX_SAMPLES + 1, 0))), "samples"),
        (moof_with(trun=full(b"trun", 0, 0x0, struct.pack(">I", 1))), "data offset"),
        (moof_with(trun=full(b"trun", 0, 0x801, struct.pack(">Iii", 1, 0, 5))), "B-frames"),
        (moof_with(trun=full(b"trun", 0, 0x301, struct.pack(">Ii", 2, 0))), "too short"),
        (moof_with(), "behind the moof"),
        (moof_with(extra=full(b"trun", 0, 0x1, struct.pack(">Ii", 1, 0))), "one trun"),
    ],
)
def test_what_cannot_be_moved_or_understood_is_refused(data, words):
    with pytest.raises(BoxError, match=words):
        read_moof(data, box_of(data))
