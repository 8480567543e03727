"""The writer over a port that takes parts, nothing, or is gone; in simulated time."""

from __future__ import annotations

import errno
import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uart.line import END, RESYNC, Line, encode
from agent.uart.outbox import Outbox
from agent.uart.scan import Bad, Scanner
from agent.uart.writer import FIRST_PAUSE_NS, LONGEST_PAUSE_NS, STALL_NS, Writer
from tests.agent.uart.values import line
from touchline.errors import HardwareError

S, MS = 1_000_000_000, 1_000_000
GONE = OSError(errno.EIO, os.strerror(errno.EIO))


class FakePort:
    """Answers each write as told: a number of bytes taken, an errno, or all of it when nothing more is told."""

    def __init__(self, *answers: int | OSError) -> None:
        self.answers = list(answers)
        self.data = b""
        self.closed = False
        self.kernel: int | None = 0  # bytes that it keeps

    def fileno(self) -> int:
        return -1

    def write(self, data: bytes) -> int:
        answer = self.answers.pop(0) if self.answers else len(data)
        if isinstance(answer, OSError):
            raise answer
        if answer == 0:
            raise BlockingIOError
        self.data += data[:answer]
        return min(answer, len(data))

    def unsent(self) -> int | None:
        return self.kernel

    def close(self) -> None:
        self.closed = True


def writer_on(*ports: FakePort | Exception) -> Writer:
    waiting = list(ports)

    def opener() -> FakePort:
        one = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(one, Exception):
            raise one
        return one

    return Writer(Outbox(8, 800.0), opener)


def is_open(writer: Writer) -> bool:
    return writer.port is not None


def offer(writer: Writer, frame: int, now_ns: int = 0) -> None:
    writer.outbox.offer(encode(line(frame)), now_ns)


def test_it_begins_with_the_end_of_whatever_was_torn():
    port = FakePort()
    writer = writer_on(port)
    writer.pump(0)
    offer(writer, 1)
    writer.pump(0)
    assert port.data == RESYNC + encode(line(1)) + END
    assert writer.trouble == ""


def test_parts_are_continued():
    port = FakePort(4, 30, 0, 50, 37)
    writer = writer_on(port)
    writer.pump(0)
    offer(writer, 1)
    for ms in range(4):
        assert port.data in RESYNC + encode(line(1)) + END
        writer.pump(ms * MS)
        assert writer.stuck == (ms < 3)
    assert port.data == RESYNC + encode(line(1)) + END
    assert writer.outbox.books.lines == 1


@pytest.mark.parametrize("code", [errno.EIO, errno.ENODEV, errno.ENXIO, errno.EBADF])
def test_a_port_that_goes_away_is_opened_again_and_the_line_is_not_glued(code: int):
    first, second = FakePort(4, 30, OSError(code, os.strerror(code))), FakePort()
    writer = writer_on(first, second)
    writer.pump(0)
    offer(writer, 1)
    writer.pump(0)
    writer.pump(MS)
    assert first.closed and writer.port is None and os.strerror(code) in writer.trouble
    offer(writer, 2, MS)
    writer.pump(FIRST_PAUSE_NS - 2 * MS)
    assert writer.port is None, "not before its pause is over"
    writer.pump(FIRST_PAUSE_NS + 2 * MS)
    offer(writer, 3, FIRST_PAUSE_NS)
    writer.pump(FIRST_PAUSE_NS + 3 * MS)
    found = Scanner().feed(END + first.data[4:] + second.data)
    assert next(type(one) for one in found if not isinstance(one, Line)) is Bad
    assert [one.frame for one in found if isinstance(one, Line)] == [3]
    assert writer.outbox.books.dropped_port == 2 and writer.lost == 1 and writer.trouble == ""


def test_the_pauses_grow_to_a_bound_and_nothing_is_tried_in_between():
    tries: list[int] = []
    now_ns = 0

    def opener() -> FakePort:
        tries.append(now_ns)
        raise HardwareError("no such port", hint="plug it in")

    writer = Writer(Outbox(8, 800.0), opener)
    while now_ns < 60 * S:
        writer.pump(now_ns)
        wait_ns = writer.wait_ns(now_ns)
        assert wait_ns is not None
        now_ns += wait_ns
    pauses = [after - before for before, after in pairwise(tries)]
    assert pauses[0] == FIRST_PAUSE_NS and pauses == sorted(pauses) and pauses[-1] == LONGEST_PAUSE_NS
    assert writer.trouble == "no such port — plug it in"


def test_a_port_that_held_long_is_believed_again():
    writer = writer_on(GONE, GONE, GONE, FakePort(4, GONE), FakePort())
    now_ns = 0
    while writer.port is None:
        writer.pump(now_ns)
        now_ns += writer.wait_ns(now_ns) or 0
    now_ns += 60 * S
    offer(writer, 1, now_ns)
    writer.pump(now_ns)
    assert not is_open(writer) and writer.wait_ns(now_ns) == FIRST_PAUSE_NS


def test_a_port_that_takes_nothing_is_trouble_and_costs_the_oldest():
    port = FakePort(4, 50, *[0] * 1099)
    writer = writer_on(port)
    writer.pump(0)
    assert 1100 * MS > STALL_NS
    for ms in range(1100):
        offer(writer, ms, ms * MS)
        writer.pump(ms * MS)
    assert "takes nothing" in writer.trouble
    assert writer.outbox.books.dropped_queue == 1100 - 1 - 8
    writer.pump(1101 * MS)
    writer.pump(1200 * MS)
    assert writer.trouble == "" and not writer.stuck
    frames = [one.frame for one in Scanner().feed(port.data) if isinstance(one, Line)]
    assert frames[0] == 0, "the torn one is finished first"
    assert frames[1:] == sorted(frames[1:]) and frames[1] >= 1092


@given(st.lists(st.sampled_from([0, 1, 7, 60, 116, 117, 1000]), max_size=60))
def test_whatever_a_port_takes_lines_are_whole_and_in_order(answers: list[int]):
    port = FakePort(*answers)
    writer = writer_on(port)
    for step in range(len(answers) + 20):
        writer.pump(step * 2 * MS)
        offer(writer, step, step * 2 * MS)
    writer.pump(10 * S)
    found = Scanner().feed(port.data)
    assert not [one for one in found if isinstance(one, Bad)]
    frames = [one.frame for one in found if isinstance(one, Line)]
    assert frames == sorted(set(frames)) and len(frames) == writer.outbox.books.lines


LINE = len(encode(line(0)) + END)


@pytest.mark.parametrize(
    ("kernel", "sent"),
    [(0, 3), (1, 2), (LINE, 2), (LINE + 1, 1), (3 * LINE, 0), (3 * LINE + len(RESYNC), 0), (None, 0)],
)
@pytest.mark.parametrize("how", ["close", "lose"])
def test_lines_that_the_kernel_throws_away_are_not_sent(kernel: int | None, sent: int, how: str):
    """It keeps what the wire has not taken, and closing discards it; of a port that is gone nobody knows."""
    port = FakePort()
    writer = writer_on(port)
    writer.pump(0)
    port.kernel = 4096
    for frame in range(3):
        offer(writer, frame, frame * 10 * MS)
        writer.pump(frame * 10 * MS)
    books = writer.outbox.books
    assert (books.lines, books.dropped, writer.outbox.in_kernel) == (0, 0, 3)
    port.kernel = kernel
    writer.close() if how == "close" else writer.lose(40 * MS, "unplugged")
    assert (books.lines, books.dropped_port, writer.outbox.in_kernel) == (sent, 3 - sent, 0)


def test_what_the_kernel_held_is_counted_once_it_is_out():
    port = FakePort()
    writer = writer_on(port)
    port.kernel = 2 * LINE
    for ms in range(3):
        offer(writer, ms, ms * 10 * MS)
        writer.pump(ms * 10 * MS)
    assert writer.outbox.books.lines == 0, "nothing waits without a port, two are in its kernel"
    port.kernel = LINE
    writer.pump(40 * MS)
    assert writer.outbox.books.lines == 1
    port.kernel = 0
    writer.pump(50 * MS)
    assert (writer.outbox.books.lines, writer.outbox.in_kernel) == (2, 0)


def test_closing_gives_the_port_back():
    port = FakePort()
    writer = writer_on(port)
    writer.pump(0)
    writer.close()
    writer.close()
    assert port.closed and writer.port is None
