"""Record numbers: every one exactly once, gaps told apart from losses, memory bounded."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.core.dedupe import Deduper, Missing, SeenNumbers

SPANS = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 12)), max_size=60)


@given(SPANS)
@settings(max_examples=300, deadline=None)
def test_the_new_numbers_are_those_of_a_plain_set(spans):
    seen = SeenNumbers()
    naive: set[int] = set()
    for at, (start, length) in enumerate(spans):
        new = seen.add(start, start + length, at)
        numbers = [n for a, b in new for n in range(a, b)]
        assert numbers == sorted(set(range(start, start + length)) - naive)
        naive |= set(range(start, start + length))
        assert all(a < b for a, b in seen.ranges)
        assert seen.highest == max(naive, default=-1) + 1


@given(SPANS)
@settings(max_examples=200, deadline=None)
def test_missing_counts_what_a_plain_set_lacks(spans):
    seen, naive, first = SeenNumbers(), set(), None
    for start, length in spans:
        if length and first is None:
            first = start
        seen.add(start, start + length, 0)
        naive |= set(range(start, start + length))
    if first is None:
        return
    holes = set(range(max(naive) + 1)) - naive
    found = seen.missing(now_ns=0, close_ns=10)
    assert found == Missing(open=sum(n > first for n in holes), lost=0, before_first=sum(n < first for n in holes))
    assert seen.missing(now_ns=10, close_ns=10).lost == found.open


@given(SPANS, st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_with_few_ranges_a_number_is_never_new_twice(spans, most):
    seen = SeenNumbers(most)
    given_out: set[int] = set()
    for start, length in spans:
        for a, b in seen.add(start, start + length, 0):
            assert not given_out & set(range(a, b))
            given_out |= set(range(a, b))
        assert len(seen.ranges) <= most


@given(SPANS, st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_a_restart_changes_nothing(spans, cut):
    straight, restarted = SeenNumbers(8), SeenNumbers(8)
    for i, (start, length) in enumerate(spans):
        if i == cut:
            restarted = SeenNumbers.restore(json.loads(json.dumps(restarted.state())), 8, now_ns=0)
        assert straight.add(start, start + length, 0) == restarted.add(start, start + length, 0)
    assert straight.state() == restarted.state()
    assert straight.missing(5, 10) == restarted.missing(5, 10)


def test_a_gap_is_open_then_lost_then_recovered():
    seen = SeenNumbers()
    seen.add(0, 10, now_ns=0)
    seen.add(15, 20, now_ns=100)
    assert seen.missing(now_ns=150, close_ns=100) == Missing(open=5)
    assert seen.missing(now_ns=200, close_ns=100) == Missing(lost=5)
    assert seen.add(12, 15, now_ns=300) == [(12, 15)]
    assert seen.gaps() == [(10, 12, 100)]  # what is left of it is as old as before
    seen.add(10, 12, now_ns=400)
    assert seen.missing(now_ns=500, close_ns=100) == Missing()
    assert seen.watermark == 20


def test_numbers_before_the_first_are_no_loss_of_ours():
    seen = SeenNumbers()
    seen.add(1000, 1010, now_ns=0)
    seen.add(1020, 1030, now_ns=0)
    assert seen.missing(now_ns=99, close_ns=10) == Missing(lost=10, before_first=1000)
    assert seen.add(990, 1000, now_ns=0) == [(990, 1000)]  # late, out of order: taken


def test_given_up_numbers_stay_lost():
    seen = SeenNumbers(max_ranges=2)
    for start in (0, 10, 20, 30, 40):
        seen.add(start, start + 5, now_ns=0)
    assert seen.missing(now_ns=0, close_ns=100) == Missing(open=10, lost=10)
    assert seen.add(5, 10, now_ns=0) == []  # its time is over


def test_sources_are_apart_and_only_changes_are_saved():
    deduper = Deduper()
    one, other = ("node-a", bytes(16)), ("node-a", bytes([1] * 16))
    assert deduper.observe(one, 0, 10, 0) == [(0, 10)]
    assert deduper.observe(other, 0, 10, 0) == [(0, 10)]
    assert set(deduper.take_changes().kept) == {one, other}
    assert deduper.observe(one, 0, 10, 0) == []
    assert not deduper.take_changes()
    deduper.observe(one, 12, 3, 0)
    assert deduper.missing(0, "node-a").open == 2
    assert deduper.missing(0, "node-b") == Missing()
