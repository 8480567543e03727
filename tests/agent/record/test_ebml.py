"""Raw frames as Matroska: the bytes, and that ffmpeg takes every microsecond of them as it is."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.camera.port import PixelFormat
from agent.record.command import Coding, Picture
from agent.record.ebml import frame_head, stream_head
from agent.record.media import times_of
from agent.record.stream import FragmentStream, Raw
from tests.agent.record.helpers import encode

GOLDEN_HEAD = (
    "1a45dfa30100000000000054428601000000000000010142f701000000000000010142f201000000000000010442f3010000000000000108"
)


def elements(data: bytes, at: int, end: int) -> list[tuple[bytes, int, int]]:
    """(id, body, end) of the EBML elements side by side, as RFC 8794 has them; ours have 8-byte sizes."""
    found = []
    while at < end:
        length = 9 - data[at].bit_length()
        name, at = data[at : at + length], at + length
        assert data[at] == 1
        size = int.from_bytes(data[at + 1 : at + 8], "big")
        at += 8
        stop = end if size == (1 << 56) - 1 else at + size
        found.append((name, at, stop))
        at = stop
    assert at == end
    return found


def test_the_head_is_ebml_then_an_endless_segment():
    head = stream_head(320, 192, PixelFormat.RGB24, 120.0)
    assert head.hex().startswith(GOLDEN_HEAD)
    (first, _, _), (segment, at, end) = elements(head, 0, len(head))
    assert (first.hex(), segment.hex()) == ("1a45dfa3", "18538067")
    info, tracks = elements(head, at, end)
    assert (info[0].hex(), tracks[0].hex()) == ("1549a966", "1654ae6b")
    inside = {name.hex(): head[a:b] for name, a, b in elements(head, info[1], info[2])}
    assert int.from_bytes(inside["2ad7b1"], "big") == 1000  # ns a tick
    entry = elements(head, tracks[1], tracks[2])[0]
    fields = {name.hex(): head[a:b] for name, a, b in elements(head, entry[1], entry[2])}
    assert fields["86"] == b"V_UNCOMPRESSED"
    assert int.from_bytes(fields["23e383"], "big") == 8_333_333


@given(media_us=st.integers(0, 2**62), size=st.integers(0, 2**40))
def test_a_frames_head_says_its_time_and_its_size(media_us, size):
    data = frame_head(media_us, size)
    assert data[:4].hex() == "1f43b675"
    cluster = int.from_bytes(data[5:12], "big")
    assert cluster == len(data) - 12 + size
    assert data[12:13].hex() == "e7"
    length = int.from_bytes(data[14:21], "big")
    assert int.from_bytes(data[21 : 21 + length], "big") == media_us
    block = data[21 + length :]
    assert block[:1].hex() == "a3"
    assert int.from_bytes(block[2:9], "big") == size + 4
    assert block[9:].hex() == "81000080"


def test_a_frame_too_large_for_ebml_is_refused():
    with pytest.raises(ValueError, match="element"):
        frame_head(0, 1 << 56)


def through_ffmpeg(times_us: list[int], coding: Coding, picture: Picture) -> tuple[list[int], list[int]]:
    """(times, numbers of the key frames) of what comes out."""
    raws = [one for one in FragmentStream().feed(encode(times_us, coding, picture)) if isinstance(one, Raw)]
    times = list(itertools.chain.from_iterable(times_of(raw.moof) for raw in raws))
    samples = list(itertools.chain.from_iterable(raw.moof.samples for raw in raws))
    return times, [number for number, sample in enumerate(samples) if sample.key]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_120_frames_a_second_with_gaps_come_through_exactly(codec):
    dice = random.Random(5)
    times, at = [], 0
    for number in range(100):
        times.append(at)
        at += 8334 if number % 3 == 2 else 8333
        at += dice.randrange(1, 2_000_000) if number in (20, 21, 50) else 0
        at -= 7000 if number == 60 else 0  # two exposures only 1.3 ms apart
    coding = Coding(codec=codec, preset="ultrafast")
    got, keys = through_ffmpeg(times, coding, Picture(64, 64, PixelFormat.GRAY8, 120.0))
    assert got == times
    assert keys == list(range(0, 100, 15))


@settings(max_examples=8, deadline=None)
@given(steps=st.lists(st.integers(1, 400_000), min_size=1, max_size=40), fragment=st.integers(1, 15))
def test_any_rising_times_come_through_exactly(steps, fragment):
    times = [0, *itertools.accumulate(steps)]
    coding = Coding(preset="ultrafast", fragment=fragment)
    got, keys = through_ffmpeg(times, coding, Picture(64, 64, PixelFormat.RGB24, 120.0))
    assert got == times
    assert keys == list(range(0, len(times), 15))
