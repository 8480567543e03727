"""Media time from stamps: exact within an epoch of the clock, rising across anything."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.record.fragment import Mark
from agent.record.media import LONGEST_STEP_NS, Lineup, MediaTime, fragment_of
from agent.record.moof import Moof, Sample
from agent.record.stream import Raw
from touchline.timeline import ClockState

PTP = 1_800_000_000_123_456_789


@given(st.lists(st.integers(1_000, 10**10), min_size=1, max_size=200), st.integers(0, 10**6))
def test_within_an_epoch_every_time_is_exact_to_half_a_microsecond(steps, begin_us):
    media, at, last = MediaTime(begin_us), PTP, -1
    assert media.at(at, 1, 0) == begin_us
    for step in steps:
        at += step
        got = media.at(at, 1, at - PTP)
        assert abs((got - begin_us) * 1000 - (at - PTP)) <= 500 or got == last + 1
        last = got


@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 3), st.integers(0, 2**62)), max_size=50))
def test_whatever_the_stamps_say_it_rises_and_never_by_more_than_a_pause(stamps):
    media, last = MediaTime(), -1
    for ptp_ns, epoch, landed_ns in stamps:
        got = media.at(ptp_ns, epoch, landed_ns)
        assert last < got
        assert last < 0 or got - last <= LONGEST_STEP_NS // 1000 + 1
        last = got


def test_across_a_step_of_the_clock_it_goes_on_as_the_frames_landed():
    media = MediaTime()
    assert [media.at(PTP + n * 20_000_000, 1, n * 20_000_000) for n in range(3)] == [0, 20_000, 40_000]
    back = PTP - 5_000_000_000
    assert [media.at(back + n * 20_000_000, 2, (3 + n) * 20_000_000) for n in range(2)] == [60_000, 80_000]


def raw(*times_us: int) -> Raw:
    samples = [Sample(1, after - before, False) for before, after in itertools.pairwise(times_us)]
    return Raw(Moof(times_us[0], (*samples, Sample(1, 999, False))), bytes(len(times_us)))


def mark(number: int) -> Mark:
    return Mark(PTP + number, number, 0, 0, ClockState.LOCKED)


def test_pictures_get_their_marks_back_whatever_was_primed_before():
    lineup = Lineup()
    lineup.add(0, None, 5)
    lineup.add(100, mark(1), 6)
    lineup.add(205, mark(2), 7)
    assert lineup.take(raw(0)) is None
    taken = lineup.take(raw(100, 205))
    assert taken == ([mark(1), mark(2)], 7)
    assert len(lineup) == 0
    got = fragment_of(raw(100, 205), taken[0], 3, (True, 9), 50)
    assert [sample.duration_us for sample in got.moof.samples] == [105, 50]
    assert (got.number, got.active, got.epoch) == (3, True, 9)


def test_a_time_that_never_went_in_is_an_error():
    lineup = Lineup()
    lineup.add(0, None, 0)
    lineup.add(10, mark(1), 0)
    with pytest.raises(LookupError):
        lineup.take(raw(7))
    with pytest.raises(LookupError, match="primed"):
        lineup.take(raw(0, 10))
