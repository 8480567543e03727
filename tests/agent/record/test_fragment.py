"""A fragment as bytes: the golden vector, every kind of tear and damage, and files of them."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.record.boxes import BoxError, box_at, make
from agent.record.fragment import HEAD_UUID, MAX_FRAGMENT_BYTES, Fragment, Head, Mark, read_fragment, read_head
from agent.record.moof import Moof, Sample
from tests.agent.record.helpers import HEAD, fragment
from touchline.timeline import ClockState

VECTOR = Path(__file__).parents[2] / "vectors" / "recording_v1.hex"
GOLDEN = Fragment(
    number=41,
    active=True,
    epoch=7,
    marks=(
        Mark(1_800_000_000_008_333_333, 4100, 250, 3, ClockState.LOCKED),
        Mark(1_800_000_000_016_666_667, 4101, 9_000_000_000, 3, ClockState.HOLDOVER),
    ),
    moof=Moof(8333, (Sample(5, 8334, True), Sample(3, 8333, False))),
    data=b"hellobye",
)


def read(data: bytes) -> Fragment:
    found = read_fragment(data, 0, len(data))
    assert found is not None
    assert found[1] == len(data)
    return replace(found[0], data=bytes(found[0].data))


def test_the_golden_bytes():
    head, body = VECTOR.read_text().split()
    assert HEAD.to_bytes().hex() == head
    assert GOLDEN.to_bytes().hex() == body
    assert read(bytes.fromhex(body)) == GOLDEN


words = st.integers(0, 2**64 - 1)
marks = st.builds(Mark, words, words, words, st.integers(0, 2**32 - 1), st.sampled_from(list(ClockState)))
pictures = st.lists(st.tuples(marks, st.binary(max_size=20), st.booleans()), min_size=1, max_size=6)


@st.composite
def fragments(draw):
    found = draw(pictures)
    moof = Moof(draw(st.integers(0, 2**60)), tuple(Sample(len(data), 100, key) for _, data, key in found))
    marked = tuple(mark for mark, _, _ in found)
    number, epoch = draw(st.integers(0, 2**32 - 1)), draw(words)
    return Fragment(number, draw(st.booleans()), epoch, marked, moof, b"".join(data for _, data, _ in found))


@given(one=fragments())
def test_a_fragment_comes_back_as_it_was(one):
    assert read(one.to_bytes()) == one


@given(one=fragments(), cut=st.integers(0, 10**6))
def test_a_torn_fragment_is_none(one, cut):
    data = one.to_bytes()
    assert read_fragment(data, 0, cut % len(data)) is None


@given(one=fragments(), at=st.integers(0, 10**6), flip=st.integers(1, 255))
@example(GOLDEN, 30, 1)
def test_a_damaged_byte_never_goes_unseen(one, at, flip):
    data = bytearray(one.to_bytes())
    data[at % len(data)] ^= flip
    try:
        found = read_fragment(data, 0, len(data))
    except BoxError:
        return
    assert found is None  # a size that lies: it waits for more


@given(data=st.binary(max_size=200))
def test_any_bytes_are_none_or_an_error(data):
    with contextlib.suppress(BoxError):
        assert read_fragment(data, 0, len(data)) is None


def test_what_is_larger_than_any_fragment_is_not_waited_for():
    data = (MAX_FRAGMENT_BYTES + 1).to_bytes(4, "big") + b"uuid"
    with pytest.raises(BoxError, match="more than"):
        read_fragment(data, 0, len(data))


def test_parts_that_do_not_belong_together_make_no_fragment():
    with pytest.raises(BoxError, match="belong together"):
        replace(GOLDEN, data=b"short")
    with pytest.raises(BoxError, match="belong together"):
        replace(GOLDEN, marks=GOLDEN.marks[:1])


def test_a_fragment_moves_in_media_time_and_keeps_its_ptp_time():
    moved = fragment(3).shifted(-1000)
    assert moved.moof.media_us == fragment(3).moof.media_us - 1000
    assert moved.marks == fragment(3).marks


def test_the_head_comes_back_and_others_boxes_are_passed_over():
    data = HEAD.to_bytes()
    box = box_at(data, 0, len(data))
    assert box is not None
    assert read_head(data, box) == HEAD
    other = make(b"uuid", bytes(16), b"x")
    strange = box_at(other, 0, len(other))
    assert strange is not None
    assert read_head(other, strange) is None


def head_with(**changes: object) -> bytes:
    fields = json.loads(HEAD.to_bytes()[24:])
    return make(b"uuid", HEAD_UUID, json.dumps({**fields, **changes}).encode())


@pytest.mark.parametrize(
    "data",
    [
        head_with(version=2),
        head_with(node=5),
        head_with(camera=True),
        head_with(rate_hz=0),
        head_with(rate_hz=float("nan")),
        head_with(stream=None),
        head_with(pieces="x"),
        make(b"uuid", HEAD_UUID, b"[1"),
        make(b"uuid", HEAD_UUID, b"[]"),
        make(b"uuid", HEAD_UUID, b"[" * 50_000),
        make(b"uuid", HEAD_UUID, b" " * 70_000),
    ],
)
def test_a_head_that_makes_no_sense_is_an_error(data):
    box = box_at(data, 0, len(data))
    assert box is not None
    with pytest.raises(BoxError, match="head"):
        read_head(data, box)


@given(data=st.binary(max_size=100))
def test_any_head_is_a_head_or_an_error(data):
    whole = make(b"uuid", HEAD_UUID, data)
    box = box_at(whole, 0, len(whole))
    assert box is not None
    with contextlib.suppress(BoxError):
        assert isinstance(read_head(whole, box), Head)
