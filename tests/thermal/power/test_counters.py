"""Over-current events from cumulative counters: nothing invented, nothing counted twice, whatever the counters do."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermal.power.counters import MAX_COUNTERS, MOST_PER_S, SHOWN_NS, WRAP, Counter, CounterState, count
from thermal.types import Raw

S = 1_000_000_000


class Bench:
    def __init__(self) -> None:
        self.state, self.now_ns = CounterState(), 100 * S

    def look(self, value: float | None, after_s: float = 1.0, name: str = "oc2") -> Counter:
        self.now_ns += int(after_s * S)
        raw = Raw(None, errno.EIO) if value is None else Raw(float(value))
        self.state = count(self.state, {name: raw}, self.now_ns)
        return self.state.counters[name]


def test_the_first_reading_is_no_event_and_differences_are():
    bench = Bench()
    assert bench.look(4711).events == 0
    assert bench.look(4711).first_ns is None
    one = bench.look(4714)
    assert (one.events, one.burst, one.first_ns) == (3, 3, bench.now_ns)
    first_ns = bench.now_ns
    one = bench.look(4715)
    assert (one.events, one.burst, one.first_ns) == (4, 4, first_ns)


def test_a_burst_is_over_a_minute_after_its_last_event():
    bench = Bench()
    bench.look(0)
    bench.look(1)
    assert bench.look(1, after_s=SHOWN_NS / S).first_ns is not None
    assert bench.look(1).first_ns is None
    one = bench.look(3)
    assert (one.events, one.burst, one.first_ns) == (3, 2, bench.now_ns)


def test_what_could_not_be_read_is_in_the_next_difference():
    bench = Bench()
    bench.look(5)
    since_ns = bench.now_ns + S
    bench.look(None)
    one = bench.look(None)
    assert (one.unread_ns, one.why, one.events) == (since_ns, "errno 5", 0)
    one = bench.look(8)
    assert (one.events, one.unread_ns) == (3, None)


def test_a_counter_that_is_missing_is_remembered():
    bench = Bench()
    bench.look(5)
    bench.state = count(bench.state, {}, bench.now_ns + S)
    assert bench.state.counters["oc2"].why == "missing"
    assert bench.look(6).events == 1


def test_it_wraps_at_32_bits():
    bench = Bench()
    bench.look(WRAP - 2)
    one = bench.look(3)
    assert (one.events, one.reset_ns) == (5, None)


@pytest.mark.parametrize("value", [0, 3, 17_000_000])
def test_one_that_falls_or_leaps_begins_anew_and_says_so(value):
    bench = Bench()
    bench.look(1_000_000)
    one = bench.look(value)
    assert (one.events, one.reset_ns, one.reset_from, one.last) == (0, bench.now_ns, 1_000_000, value)
    assert bench.look(value + 1).events == 1
    assert bench.look(value + 1, after_s=61).reset_ns is None


def test_a_fall_after_a_long_silence_is_no_wrap():
    bench = Bench()
    bench.look(1_000_000)
    bench.look(None)
    one = bench.look(4, after_s=24 * 3600)
    assert (one.events, one.reset_ns) == (0, bench.now_ns)


@pytest.mark.parametrize("value", [-1.0, 0.5, float("nan"), float("inf")])
def test_what_is_no_count_is_unread(value):
    bench = Bench()
    bench.look(7)
    assert bench.look(value).unread_ns == bench.now_ns
    assert bench.look(9).events == 2


@given(
    st.lists(st.integers(0, MOST_PER_S), max_size=30),
    st.integers(0, WRAP - 1),
    st.sets(st.integers(0, 29)),
)
def test_any_growth_is_counted_whole_over_wraps_and_gaps(steps, start, unread):
    bench = Bench()
    value = start
    bench.look(value)
    for number, step in enumerate(steps):
        value += step
        bench.look(None if number in unread else value % WRAP)
    assert bench.look(value % WRAP).events == sum(steps)


@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(-5, WRAP + 5)), max_size=30))
def test_whatever_is_read_events_only_grow(values):
    bench, before = Bench(), 0
    for value in values:
        one = bench.look(value, after_s=0.5)
        assert one.events >= before
        before = one.events


def test_names_are_bounded():
    state = count(CounterState(), {f"oc{n}": Raw(1.0) for n in range(100)}, 0)
    assert len(state.counters) == MAX_COUNTERS
