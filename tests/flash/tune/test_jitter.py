"""The measurement: its arithmetic, and one short run of the real thing."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash.tune import jitter
from flash.tune.jitter import Report, Spread, interarrival_us, measure, spread
from flash.tune.measuring import Measurer
from flash.tune.show import report_text, report_value
from touchline.errors import ResourceError


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200))
def test_a_spread_is_ordered(delays):
    found = spread(delays)
    assert found.count == len(delays)
    assert found.min_us <= found.median_us <= found.p99_us <= found.p999_us <= found.max_us
    assert found.jitter_us >= 0


def test_one_of_a_thousand_does_not_count_and_two_do():
    quiet = [5_000] * 999
    assert spread([*quiet, 900_000]).jitter_us == 0
    assert spread([*quiet[1:], 900_000, 900_000]).jitter_us == 895
    assert spread([*quiet, 900_000]).max_us == 900


def test_rfc_3550():
    assert interarrival_us([7_000] * 50) == 0
    assert interarrival_us([0, 16_000]) == 1.0
    alternating = [0, 40_000] * 200
    assert interarrival_us(alternating) == pytest.approx(40, abs=0.1)
    assert interarrival_us([5]) == 0


def report(timer_us: float = 10.0, packets_us: float = 20.0) -> Report:
    def one(late_us: float) -> Spread:
        return spread([1_000] * 500 + [1_000 + int(late_us * 1000)] * 500)

    return Report(one(timer_us), one(packets_us), 3, 1.5, "SCHED_FIFO 80", True, 2, "6.1 x", 90)


def test_the_worse_of_both_is_judged():
    assert report(10, 20).jitter_us == 20
    assert report(30, 20).jitter_us == 30
    assert report_value(report(10, 40), 40.0)["good"] is True
    assert report_value(report(10, 41), 40.0)["good"] is False
    assert "20 us within the bar of 40 us; packets lost: 3" in report_text(report(), 40.0)
    assert "MISSES the bar" in report_text(report(50), 40.0)


def test_ticks_that_were_slept_through_count_as_well(monkeypatch):
    """One read tells of four expiries: the first of them is the latest."""
    now = {"ns": 0}
    monkeypatch.setattr(jitter, "monotonic_ns", lambda: now["ns"])
    passed = iter([1, 4, 2])

    def read(descriptor, size):
        count = next(passed)
        now["ns"] = {1: 20_005_000, 4: 24_100_000, 2: 26_000_000}[count]
        return count.to_bytes(8, "little")

    monkeypatch.setattr("os.read", read)
    found = list(jitter._ticks(6))
    late_us = [lateness_ns // 1000 for _, lateness_ns in found]
    assert [number for number, _ in found] == list(range(6))
    assert late_us == [5, 3100, 2100, 1100, 100, 1000]


def test_a_measuring_process_that_fails_says_why():
    def fail(granted):
        raise ValueError("out of order")

    with pytest.raises(ResourceError, match="ValueError: out of order"):
        Measurer(fail, None, 0.1).result()


def test_a_cpu_that_is_not_there_is_named():
    with pytest.raises(ResourceError, match="Invalid argument") as caught:
        Measurer(lambda granted: array("q", [1]), frozenset({4000}), 0.1).result()
    assert "--cpu" in caught.value.hint


def test_large_results_come_whole():
    count = 100_000
    assert Measurer(lambda granted: array("q", range(count)), None, 0.1).result() == list(range(count))


@pytest.mark.system
def test_the_real_thing_for_a_moment():
    found = measure(0.2)
    assert found.timer.count == 200
    assert found.packets.count + found.lost == 200
    assert 0 <= found.timer.min_us <= found.timer.max_us
    assert found.packets.min_us > 0
    assert found.clock_read_ns > 0
