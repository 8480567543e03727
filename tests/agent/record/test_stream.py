"""ffmpeg's output taken apart, however it is cut, and refused where it is none."""

from __future__ import annotations

import contextlib
import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.record.boxes import BoxError, make
from agent.record.stream import MAX_INIT_BYTES, FragmentStream, Init, Raw
from tests.agent.record.helpers import encode, start


@functools.cache
def real() -> bytes:
    return encode([number * 8333 for number in range(20)])


def taken(parts: list[bytes]) -> list[Init | Raw]:
    stream = FragmentStream()
    return [found for part in parts for found in stream.feed(part)]


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 100_000), max_size=30))
def test_however_it_is_cut_the_same_comes_out(cuts):
    data = real()
    edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    found = taken([data[a:b] for a, b in itertools.pairwise(edges)])
    assert found == taken([data])
    assert isinstance(found[0], Init)
    assert len(found) == 21


@given(data=st.binary(max_size=300))
def test_any_bytes_are_waited_for_or_an_error(data):
    with contextlib.suppress(BoxError):
        assert taken([data]) == []


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 100_000), value=st.integers(0, 255))
def test_a_damaged_stream_is_an_error_or_fragments(at, value):
    data = bytearray(real())
    data[at % len(data)] = value
    try:
        for found in taken([bytes(data)]):
            assert isinstance(found, Init) or len(found.data) == found.moof.data_bytes
    except BoxError:
        pass


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (make(b"moof"), "at the start"),
        (make(b"moov"), "at the start"),
        (make(b"ftyp") * 2, "at the start"),
        (start() + make(b"mdat"), "where a fragment"),
        (start() + make(b"moof"), "without traf"),
        (bytes([0, 32, 0, 0]) + b"ftyp" + bytes(MAX_INIT_BYTES), "more than"),
    ],
)
def test_what_is_no_output_of_ffmpeg_is_refused(data, words):
    with pytest.raises(BoxError, match=words):
        taken([data])


def test_samples_of_another_size_than_their_moof_says_are_refused():
    init, first = real(), b""
    at = init.index(b"mdat") - 4
    size = int.from_bytes(init[at : at + 4], "big")
    first = init[:at] + (size - 1).to_bytes(4, "big") + init[at + 4 : at + size - 1]
    with pytest.raises(BoxError, match="bytes of samples"):
        taken([first])
