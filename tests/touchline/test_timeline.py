"""Stamps that say how wrong they may be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    clock = SystemClock()
    before = time.time_ns()
    stamp = clock.now()
    after = time.time_ns()
    assert before - 2_000_000 <= stamp.ptp_ns - tai_s * 10**9 <= after + 2_000_000
    assert stamp.bound_ns > 0


class Clocks:
    """The kernel's clocks, which only readings move: 50 ns each, and what one of ``held_up_ns`` costs besides."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns, self.ahead_ns = 5 * 10**9, 1_795_000_000 * 10**9
        self.held_up_ns: Iterator[int] = iter(())
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.read(time.CLOCK_MONOTONIC))
        monkeypatch.setattr(time, "time_ns", lambda: self.read(time.CLOCK_REALTIME))
        monkeypatch.setattr(time, "clock_gettime_ns", self.read)
        monkeypatch.setattr(timeline, "read_kernel_time", lambda: KernelTime(True, 500, 37))

    def read(self, clock_id: int) -> int:
        self.now_ns += 50 + next(self.held_up_ns, 0)
        return self.now_ns + (self.ahead_ns if clock_id == time.CLOCK_REALTIME else 0)

    def error_ns(self, clock: SystemClock) -> int:
        """How far a stamp of this moment is off."""
        now_ns = self.now_ns
        return abs(clock.at(now_ns).ptp_ns - (now_ns + self.ahead_ns + 37 * 10**9))


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def test_at_keeps_intervals_of_the_monotonic_clock(clocks: Clocks):
    clock, now = SystemClock(), monotonic_ns()
    assert clock.at(now + 8_333_333).ptp_ns - clock.at(now).ptp_ns == 8_333_333


def test_a_step_of_the_system_clock_begins_a_new_epoch(clocks: Clocks):
    clock = SystemClock()
    clocks.ahead_ns += 5_000_000_000
    clocks.now_ns += 2_000_000_000
    assert clock.now().epoch == 1
    assert clock.now().epoch == 1


def test_a_reading_that_is_interrupted_does_not_shift_the_stamps_of_a_second(clocks: Clocks):
    """On a busy machine tens of ms may pass between two readings; stamps and epoch must not have that."""
    clocks.held_up_ns = iter([0, 0, 30_000_000])
    clock = SystemClock()
    for held_up in ([0, 0, 30_000_000], [0, 30_000_000], [0, 0, 0, 30_000_000, 0, 0, 8_000_000]):
        assert clocks.error_ns(clock) < 1_000
        clocks.now_ns += 2_000_000_000
        clocks.held_up_ns = iter([0, *held_up])
    assert clocks.error_ns(clock) < 1_000
    assert clock.now().bound_ns < 501_000
    assert clock.now().epoch == 0


def test_a_clock_that_was_read_badly_once_has_not_stepped(clocks: Clocks):
    """Every bracket of one look is wide: the bound says so, and the next good look is no step."""
    clocks.held_up_ns = iter([0, *[0, 30_000_000] * 8])
    clock = SystemClock()
    assert 1_000_000 < clocks.error_ns(clock) <= clock.now().bound_ns
    clocks.held_up_ns = iter(())
    clocks.now_ns += 2_000_000_000
    assert clock.now().epoch == 0
    assert clock.now().bound_ns < 501_000


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
