"""The queue: bounded, paced, fresh, and never two lines in one, whatever the port does."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.uart.line import END, RESYNC, Line, encode
from agent.uart.outbox import BURST_LINES, MOST_AGE_NS, Outbox
from agent.uart.scan import Bad, Edge, Scanner
from tests.agent.uart.values import line
from touchline.config.uart import UartSection

MS = 1_000_000
PACE = UartSection().paced_per_s
INTERVAL_NS = round(1e9 / PACE)


def opened(most: int = 8, per_s: float = PACE) -> Outbox:
    outbox = Outbox(most, per_s)
    outbox.opened()
    outbox.wrote(len(outbox.next(0)))
    return outbox


def offer(outbox: Outbox, frame: int, now_ns: int = 0) -> None:
    outbox.offer(encode(line(frame)), now_ns)


def drained(outbox: Outbox, now_ns: int) -> bytes:
    out = b""
    while data := outbox.next(now_ns):
        out += data
        outbox.wrote(len(data))
    outbox.out(0)
    return out


def test_nothing_waits_without_a_port():
    outbox = Outbox(8, PACE)
    offer(outbox, 1)
    assert outbox.next(0) == b"" and outbox.wants(0) is None
    assert outbox.books.dropped_port == 1
    outbox.opened()
    assert drained(outbox, 0) == RESYNC


def test_the_oldest_goes_when_it_is_full():
    outbox = opened(most=3)
    for frame in range(10):
        offer(outbox, frame)
    assert outbox.books.dropped_queue == 7
    frames = [one.frame for one in Scanner().feed(drained(outbox, 10**9 // 2 - 260 * MS)) if isinstance(one, Line)]
    assert frames == [7, 8]  # and the third when its time has come
    assert outbox.waiting == 1


def test_no_line_leaves_that_is_old():
    outbox = opened()
    offer(outbox, 1, 0)
    offer(outbox, 2, 100 * MS)
    assert encode(line(2)) in drained(outbox, MOST_AGE_NS + MS)
    assert (outbox.books.lines, outbox.books.dropped_old) == (1, 1)


def test_lines_begin_at_the_pace():
    outbox = opened(most=256)
    now_ns, begun = 0, []
    for frame in range(200):
        offer(outbox, frame)
    while now_ns < 100 * MS:
        if drained(outbox, now_ns):
            begun.append(now_ns)
        wants = outbox.wants(now_ns)
        assert wants is not None and wants > 0
        now_ns += wants
    assert outbox.books.lines == BURST_LINES + 100 * MS // INTERVAL_NS


def test_what_is_written_in_part_goes_on_where_it_stopped():
    outbox = opened()
    offer(outbox, 1)
    offer(outbox, 2)
    whole = encode(line(1)) + END
    assert outbox.next(0) == whole
    outbox.wrote(40)
    assert outbox.next(10**12) == whole[40:], "however long it takes"
    outbox.wrote(77)
    assert (outbox.books.lines, outbox.in_kernel) == (0, 1)
    outbox.out(0)
    assert (outbox.books.lines, outbox.in_kernel) == (1, 0)


def test_a_lost_port_costs_the_torn_line_and_what_waits():
    outbox = opened()
    for frame in range(3):
        offer(outbox, frame)
    outbox.next(0)
    outbox.wrote(40)
    outbox.lost()
    assert outbox.books.dropped_port == 3
    outbox.opened()
    offer(outbox, 9)
    assert drained(outbox, INTERVAL_NS) == RESYNC + encode(line(9)) + END


class Wire:
    """A kernel's buffer of 4096 bytes before a wire of 1 Mbaud, in simulated time."""

    def __init__(self, room: int = 4096, bytes_per_s: float = 100_000.0) -> None:
        self.room, self.per_ns = room, bytes_per_s / 1e9
        self.level, self.at_ns, self.highest = 0.0, 0, 0.0
        self.out = bytearray()

    def take(self, data: bytes, now_ns: int) -> int:
        self.level = max(0.0, self.level - (now_ns - self.at_ns) * self.per_ns)
        self.at_ns = now_ns
        count = min(len(data), int(self.room - self.level))
        self.level += count
        self.highest = max(self.highest, self.level)
        self.out += data[:count]
        return count


def run(outbox: Outbox, wire: Wire, made: Callable[[int], int], seconds: float) -> int:
    """Offer ``made(ms)`` lines each millisecond, write as the wire takes it; how many were offered."""
    offered = 0
    for ms in range(int(seconds * 1000)):
        for _ in range(made(ms)):
            outbox.offer(encode(line(offered)), ms * MS)
            offered += 1
        while data := outbox.next(ms * MS):
            count = wire.take(data, ms * MS)
            outbox.wrote(count)
            if count < len(data):
                break
    outbox.out(0)
    return offered


def test_two_cameras_at_120_fit_without_a_loss():
    """Both fire together, each 8.33 ms: 240 lines a second of 854."""
    outbox, wire = opened(UartSection().queue_lines), Wire()
    offered = run(outbox, wire, lambda ms: 2 if ms * 120 // 1000 != (ms - 1) * 120 // 1000 else 0, 10.0)
    assert offered == 2400
    assert outbox.books.lines == offered and outbox.books.dropped == 0
    assert wire.highest <= BURST_LINES * 117


def test_more_than_the_wire_carries_is_dropped_here_and_not_late():
    outbox, wire = opened(UartSection().queue_lines), Wire()
    offered = run(outbox, wire, lambda ms: 2, 5.0)
    books = outbox.books
    assert offered == books.lines + books.dropped + outbox.waiting
    assert 0.9 * PACE * 5 < books.lines <= PACE * 5 + BURST_LINES
    assert wire.highest <= (BURST_LINES + 1) * 117, "the kernel's buffer stays empty: what is sent is fresh"


@given(st.lists(st.tuples(st.sampled_from("otplr"), st.integers(0, 200)), max_size=120))
@example([("r", 0), ("o", 0), ("p", 4), ("p", 8), ("l", 0), ("r", 0), ("p", 2)])
def test_no_torn_line_runs_into_another(steps):
    """Lines, time, parts, losses in any order: between whole lines the wire shows torn ones alone, each ended."""
    outbox, out, now_ns, frame = Outbox(4, PACE), b"", 0, 0
    for what, size in steps:
        if what == "o":
            frame += 1
            offer(outbox, frame, now_ns)
        elif what == "t":
            now_ns += size * MS
        elif what == "p":
            part = outbox.next(now_ns)[:size]
            out += part
            outbox.wrote(len(part))
            outbox.out(0)
        else:
            outbox.lost() if what == "l" else outbox.opened()
    scanner = Scanner()
    found = [*scanner.feed(END + out), *scanner.end()]
    whole = [one for one in found if isinstance(one, Line)]
    assert len(whole) <= outbox.books.lines + 1  # one may lack its line end alone
    assert [one.frame for one in whole] == sorted({one.frame for one in whole})
    bad, tag = [one for one in found if isinstance(one, Bad)], encode(line(0))[:5]
    assert all(one.reason == "torn" and tag.startswith(one.data[:5]) for one in bad)
    assert sum(isinstance(one, Edge) for one in found) <= 1


class Bookkeeping(RuleBasedStateMachine):
    """Every line that was offered is out, waits, is in the hand or in the kernel, or is dropped by name."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox, self.now_ns, self.offered = Outbox(3, PACE), 0, 0
        self.open = self.torn = False

    @rule(count=st.integers(1, 6))
    def offer(self, count: int) -> None:
        for _ in range(count):
            self.offered += 1
            offer(self.outbox, self.offered, self.now_ns)

    @rule(ms=st.integers(0, 400))
    def pass_time(self, ms: int) -> None:
        self.now_ns += ms * MS

    @precondition(lambda self: not self.open)
    @rule()
    def plug(self) -> None:
        self.outbox.opened()
        self.open = True

    @precondition(lambda self: self.open)
    @rule()
    def unplug(self) -> None:
        self.outbox.lost()
        self.open = self.torn = False

    @precondition(lambda self: self.open)
    @rule(most=st.integers(1, 130))
    def write(self, most: int) -> None:
        data = self.outbox.next(self.now_ns)
        self.torn = self.outbox._torn
        self.outbox.wrote(min(most, len(data)))
        self.torn = self.outbox._torn

    @precondition(lambda self: self.open)
    @rule(unsent=st.integers(0, 400))
    def look(self, unsent: int) -> None:
        before = self.outbox.in_kernel
        self.outbox.out(unsent)
        assert before >= self.outbox.in_kernel >= min(before, (unsent - 116) // 117)

    @invariant()
    def balanced(self) -> None:
        books = self.outbox.books
        assert self.offered == books.lines + books.dropped + self.outbox.waiting + self.torn + self.outbox.in_kernel
        assert self.outbox.waiting <= 3


TestBookkeeping = Bookkeeping.TestCase
