"""Stamps that say how wrong they may be."""

from __future__ import annotations

import time
from pathlib import Path

from touchline import timeline
from touchline.timeline import (
    TAI_MINUS_UTC_S,
    UNSYNCHRONISED_BOUND_NS,
    ClockState,
    KernelTime,
    SystemClock,
    monotonic_ns,
    read_kernel_time,
    system_bound,
)


def test_an_undisciplined_clock_claims_a_second_and_is_unlocked():
    assert system_bound(KernelTime(False, 0, 0)) == (UNSYNCHRONISED_BOUND_NS, ClockState.UNLOCKED)


def test_a_disciplined_system_clock_is_still_not_locked_to_ptp():
    assert system_bound(KernelTime(True, 1500, 37)) == (1_500_000, ClockState.UNLOCKED)
    assert system_bound(KernelTime(True, 0, 37))[0] == 1_000


def test_now_is_tai():
    tai_s = read_kernel_time().tai_offset_s or TAI_MINUS_UTC_S
    before = time.time_ns()
    stamp = SystemClock().now()
    after = time.time_ns()
    assert before - 2_000_000 <= stamp.ptp_ns - tai_s * 10**9 <= after + 2_000_000
    assert stamp.bound_ns > 0


def test_at_keeps_intervals_of_the_monotonic_clock():
    clock, now = SystemClock(), monotonic_ns()
    assert clock.at(now + 8_333_333).ptp_ns - clock.at(now).ptp_ns == 8_333_333


def test_a_step_of_the_system_clock_begins_a_new_epoch(monkeypatch):
    clock = SystemClock()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 5_000_000_000)
    now = time.monotonic_ns
    monkeypatch.setattr(time, "monotonic_ns", lambda: now() + 2_000_000_000)
    assert clock.now().epoch == 1
    assert clock.now().epoch == 1


def test_only_this_file_calls_clock_functions():
    root = Path(timeline.__file__).parents[1]
    rooms = ("touchline", "agent", "aggregator", "calibration", "failover", "flash", "hil", "thermal")
    words = ("time.time(", "time.time_ns(", "time.monotonic", "time.perf_counter", "datetime.now", "time.sleep(")
    guilty = [
        f"{path.relative_to(root)}: {word}"
        for room in rooms
        for path in (root / room).rglob("*.py")
        for word in words
        if path.name != "timeline.py" and word in path.read_text()
    ]
    assert guilty == []


def test_a_thread_that_waits_between_two_readings_has_not_slept(monkeypatch):
    """The time asleep is what two clocks differ: on a busy machine one reading may come ms after the other."""
    before, real, calls = timeline.asleep_ns(), time.monotonic_ns, iter([30_000_000, 8_000_000, 0, 2_000_000, 900_000])
    monkeypatch.setattr(time, "monotonic_ns", lambda: real() + next(calls))
    assert abs(timeline.asleep_ns() - before) <= 1_000_000
