"""Out of any stream come the lines that are in it, and the rest is counted."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.uart.line import END, RESYNC, Line, encode
from agent.uart.scan import Anew, Bad, Edge, Found, Scanner, Tally
from tests.agent.uart.values import LINES, line

CLEAN = st.lists(LINES, min_size=1, max_size=6)
JUNK = st.binary(max_size=250).filter(lambda data: b"$TL1" not in data)


def scan(data: bytes, cuts: list[int] | None = None) -> list[Found]:
    scanner, found = Scanner(), []
    for first, last in pairwise(sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or ())})):
        found += scanner.feed(data[first:last])
    return [*found, *scanner.end()]


def lines_of(found: list[Found]) -> list[Line]:
    return [one for one in found if isinstance(one, Line)]


def stream(lines: list[Line]) -> bytes:
    return b"".join(encode(one) + END for one in lines)


@given(CLEAN, st.lists(st.integers(0, 10_000), max_size=20))
def test_a_clean_stream_is_its_lines_however_it_is_cut(lines, cuts):
    assert scan(stream(lines), cuts) == lines


@given(CLEAN, st.lists(JUNK, min_size=7, max_size=7), st.lists(st.integers(0, 10_000), max_size=10))
def test_junk_between_lines_costs_no_line(lines, junk, cuts):
    data = b"".join(piece + encode(one) + END for piece, one in zip(junk, lines, strict=False)) + junk[-1]
    found = scan(data, cuts)
    assert lines_of(found) == lines
    assert found == scan(data), "the pieces in which it comes make no difference"


@given(st.lists(LINES, min_size=3, max_size=6), st.data())
def test_a_hole_costs_the_lines_that_it_touches_and_no_more(lines, data):
    whole = stream(lines)
    first = data.draw(st.integers(0, len(whole) - 1))
    last = data.draw(st.integers(first + 1, min(len(whole), first + 300)))
    untouched = [one for n, one in enumerate(lines) if n * 117 + 115 <= first or n * 117 >= last]
    found = lines_of(scan(whole[:first] + whole[last:]))
    assert [one for one in found if one in untouched] == untouched


@given(st.binary(max_size=2000), st.lists(st.integers(0, 10_000), max_size=10))
def test_any_bytes_are_borne_and_none_is_lost(data, cuts):
    found = scan(data, cuts)
    kept = sum(len(one.data) for one in found if isinstance(one, Bad | Edge))
    assert not lines_of(found)
    assert kept <= len(data)
    assert kept >= len(data) - data.count(b"\r") - data.count(b"\n")


def test_memory_is_bounded_without_a_line_end():
    scanner = Scanner()
    scanner.feed(END)
    for _ in range(100):
        scanner.feed(b"$TL1" + b"x" * 1000)
    assert len(scanner._junk) + len(scanner._held) < 2000


def test_a_stream_joined_in_the_midst_is_no_damage():
    data = stream([line(1), line(2)])
    assert scan(data[50:-30]) == [Edge(data[50:115]), Edge(data[117:-30])]
    assert scan(data[50:]) == [Edge(data[50:115]), line(2)]
    assert scan(data + b"$TL1 0") == [line(1), line(2), Edge(b"$TL1 0")]


def test_a_torn_line_and_a_new_beginning():
    torn = encode(line(2))[:60]
    found = scan(stream([line(1)]) + torn + RESYNC + stream([line(3, count=0)]))
    assert found == [line(1), Bad(torn, "torn"), Anew(), line(3, count=0)]
    assert scan(RESYNC + stream([line(0)])) == [Anew(), line(0)]
    assert scan(stream([line(1)]) + RESYNC + RESYNC + stream([line(0)])) == [line(1), Anew(), line(0)]


def test_a_line_torn_after_its_first_bytes():
    for size in (1, 2, 3, 4):
        torn = encode(line(2))[:size]
        assert scan(stream([line(1)]) + torn + RESYNC) == [line(1), Bad(torn, "torn"), Anew()]


def test_reasons():
    damaged = encode(line(1)).replace(b"+00200", b"+00201")
    found = scan(END + damaged + END + b"boot: hello" + END + b"$TL2" + encode(line(1))[4:] + END)
    assert [one.reason for one in found if isinstance(one, Bad)] == ["checksum", "noise", "version"]


def test_gaps_are_counted_by_camera_and_by_count():
    tally = Tally()
    rows = [(10, 1, 5), (20, 2, 6), (11, 1, 7), (14, 1, 8), (21, 2, 11), (22, 2, 12)]
    for frame, camera, count in rows:
        tally.take(line(frame, camera, count))
    assert (tally.lines, tally.missing, tally.lost) == (6, 2, 2)
    assert tally.document()["cameras"]["1"] == {"lines": 3, "missing_frames": 2, "restarts": 0}


def test_numbers_run_over_and_begin_anew():
    tally = Tally()
    for frame, count in [(2**32 - 1, 999), (0, 0), (1, 1)]:
        tally.take(line(frame, 1, count))
    assert (tally.missing, tally.lost) == (0, 0)
    tally.take(Anew())
    tally.take(line(0, 1, 700))
    assert (tally.missing, tally.lost, tally.begun) == (0, 0, 1)
    assert tally.cameras[1].restarts == 1
