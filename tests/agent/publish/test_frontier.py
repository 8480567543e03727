"""Cursors: never ahead of what is at the rack; what a standby believes of its twin's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.publish.frontier import DOUBT_NS, TIME_MOVED_NS, UNCLAIMED_NS, Frontier, spans_of
from agent.publish.segment import Entry
from failover.core.types import CameraCursor

MS = 1_000_000
P = 20 * MS
T0 = 10**18


def entry(index: int) -> Entry:
    return Entry(1, index, 1, 184)


class Books:
    """A frontier whose batches are closed by number."""

    def __init__(self) -> None:
        self.frontier = Frontier()
        self.closed: set[int] = set()
        self.count = 0

    def frame(self, number: int, camera: int = 1, *, ptp_ns: int | None = None, now_ns: int | None = None) -> int:
        """A frame with people, one batch; returns its number."""
        at_ns = T0 + number * P if ptp_ns is None else ptp_ns
        self.frontier.looked(camera, number, at_ns, number * P if now_ns is None else now_ns)
        self.frontier.spooled(entry(self.count), ((camera, at_ns),))
        self.count += 1
        return self.count - 1

    def close(self, *numbers: int) -> None:
        self.closed.update(numbers)
        self.frontier.advance(lambda one: one.index not in self.closed, deliver=True)

    def cursors(self) -> dict[int, int]:
        return {one.camera: (one.ptp_ns - T0) // P for one in self.frontier.cursors()}

    def hear(self, number: float, camera: int = 1, now_ns: int = 0) -> bool:
        return self.frontier.hear([CameraCursor(camera, T0 + int(number * P))], now_ns)

    def covered(self) -> list[tuple[int, bool]]:
        return [(one.index, unclaimed) for one, unclaimed in self.frontier.take_covered()]


def test_a_cursor_passes_what_is_acknowledged_in_order_and_no_more() -> None:
    books = Books()
    numbers = [books.frame(n, camera) for n in range(4) for camera in (1, 2)]
    assert books.cursors() == {}
    books.close(numbers[1], numbers[4])
    assert books.cursors() == {}
    books.close(numbers[0])
    assert books.cursors() == {1: 0, 2: 0}
    books.close(*numbers[2:7])
    assert books.cursors() == {1: 3, 2: 2}
    assert books.frontier.cursor_age_ns() == P


def test_a_frame_without_people_counts_when_nothing_before_it_waits() -> None:
    books = Books()
    first = books.frame(0)
    books.frontier.looked(1, 1, T0 + P, P)
    books.frontier.empty(1, T0 + P)
    assert books.cursors() == {}
    books.close(first)
    books.frontier.looked(1, 2, T0 + 2 * P, 2 * P)
    books.frontier.empty(1, T0 + 2 * P)
    assert books.cursors() == {1: 2}


def test_a_frame_over_two_batches_counts_with_the_second() -> None:
    books = Books()
    first = books.frame(0)
    books.frontier.spooled(entry(books.count), ((1, T0),))
    books.close(first)
    assert books.cursors() == {}
    books.close(first + 1)
    assert books.cursors() == {1: 0}


@given(st.lists(st.integers(0, 9), max_size=40))
def test_a_cursor_never_goes_back(order: list[int]) -> None:
    books, last = Books(), -1
    for number in range(10):
        books.frame(number)
    for number in order:
        books.close(number)
        here = books.cursors().get(1, -1)
        assert here >= last
        assert all(n in books.closed for n in range(here + 1))
        last = here


def test_time_that_goes_back_begins_the_cursor_anew() -> None:
    books = Books()
    books.close(books.frame(100))
    waits = books.frame(101)
    books.frame(0)
    assert books.cursors() == {}
    books.close(waits)
    assert books.cursors() == {}, "what was stamped before says nothing about now"
    books.close(waits + 1)
    assert books.cursors() == {1: 0}


# --- a standby ---


def standby(frames: int, camera: int = 1) -> Books:
    books = Books()
    for number in range(frames):
        books.frame(number, camera)
    return books


@given(st.floats(-0.49, 0.49), st.integers(0, 9))
def test_the_twins_frame_is_ours_within_half_a_period(share: float, number: int) -> None:
    """The twin's exposures are ours less ``share`` of a period."""
    books = standby(10)
    books.frontier.hear([CameraCursor(1, T0 - int(share * P))], 9 * P)
    books.covered()
    books.hear(number - share, now_ns=9 * P)
    books.covered()
    assert books.frontier.first == (entry(number + 1) if number < 9 else None)


def test_without_a_period_only_what_is_certain_is_covered() -> None:
    books = standby(1)
    books.frontier.hear([CameraCursor(1, T0 - 1)], 0)
    assert books.covered() == []
    books.frontier.hear([CameraCursor(1, T0)], 0)
    assert books.covered() == [(0, False)]


def test_a_camera_that_the_twin_does_not_deliver_waits_and_is_given_up_in_the_end() -> None:
    books = Books()
    books.frame(0, 2)
    last = UNCLAIMED_NS // P
    for number in range(1, last + 2, 5):
        books.frame(number, 1)
        books.hear(number, now_ns=number * P)
        if number * P < UNCLAIMED_NS:
            assert books.covered() == []
    taken = books.covered()
    assert taken[0] == (0, True)
    assert not any(unclaimed for _, unclaimed in taken[1:])
    assert books.frontier.first is None


def test_a_cursor_of_another_clock_is_not_believed() -> None:
    books = standby(10)
    ahead = 10 + (TIME_MOVED_NS + P) // P
    assert not books.hear(ahead, now_ns=9 * P)
    assert books.covered() == [] and books.cursors() == {}
    books.hear(3, now_ns=9 * P)
    assert books.cursors() == {1: 3}


def test_a_camera_of_ours_that_stands_does_not_doubt_its_twin() -> None:
    books = standby(10)
    books.hear(0, now_ns=9 * P)
    late_ns = 9 * P + 2 * TIME_MOVED_NS
    books.hear(500, now_ns=late_ns)
    assert books.cursors() == {1: 500}


def quiet(books: Books, numbers: range) -> None:
    """The twin's cursor follows our frames closely."""
    for number in numbers:
        books.frame(number)
        assert not books.hear(number, now_ns=number * P)
        books.covered()


def test_a_cursor_that_stands_and_leaps_over_all_that_time_is_in_doubt() -> None:
    books = Books()
    quiet(books, range(20))
    away = DOUBT_NS // P + 5
    for number in range(20, 20 + away):
        books.frame(number)
        assert not books.hear(19, now_ns=number * P)
    assert books.hear(20 + away, now_ns=(20 + away) * P)


def test_a_backlog_that_drains_in_steps_is_believed() -> None:
    books = Books()
    quiet(books, range(20))
    for number in range(20, 220):
        books.frame(number)
    assert DOUBT_NS < 20 * P
    for step in range(10):
        assert not books.hear(39 + step * 20, now_ns=(220 + step) * P)
    assert not books.hear(219, now_ns=231 * P)


def test_a_first_cursor_beyond_what_waits_is_in_doubt() -> None:
    books = standby(5)
    assert books.hear(4, now_ns=4 * P)
    assert not standby(1).hear(-3)
    assert not Books().hear(4), "nothing waits"


def test_the_twin_goes_on_from_where_we_were() -> None:
    books = Books()
    for number in range(10):
        books.close(books.frame(number))
    books.frontier.forget()
    books.frame(10)
    books.frame(11)
    assert not books.hear(11, now_ns=11 * P), "no leap: our own cursor stood at 9"
    assert books.covered() == [(10, False), (11, False)]


def test_an_old_cursor_says_nothing() -> None:
    books = Books()
    quiet(books, range(5))
    assert not books.hear(2, now_ns=5 * P)
    assert books.cursors() == {1: 4}


def test_cameras_flow_for_so_long() -> None:
    books = Books()
    books.frame(0, 1, now_ns=100 * MS)
    books.frame(0, 2, now_ns=200 * MS)
    assert [books.frontier.flowing(at * MS, 100 * MS) for at in (200, 201, 300, 301)] == [2, 1, 1, 0]


def test_spans_are_the_newest_of_each_camera() -> None:
    assert dict(spans_of([1, 2, 1, 2], [5, 6, 4, 9])) == {1: 5, 2: 9}
