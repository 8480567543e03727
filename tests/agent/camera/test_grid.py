"""Frames on a common grid: two cameras agree, steps and delays are followed; the clock moves only by waiting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.camera.grid import Trigger, TriggeredFrames
from agent.camera.pattern import PatternCamera
from agent.camera.port import FrameTimeout
from tests.agent.camera.test_sources import FakeClock, section
from touchline.errors import ConfigError
from touchline.timeline import ClockState, Stamp


def stamp(ptp_ns: int, epoch: int = 0) -> Stamp:
    return Stamp(ptp_ns, 10, epoch, ClockState.LOCKED)


@given(st.integers(0, 10**11), st.sampled_from((25.0, 50.0, 120.0, 59.94, 29.97)), st.integers(-(10**7), 10**7))
def test_the_newest_exposure_at_its_own_instant_is_itself(index: int, rate_hz: float, offset_ns: int):
    trigger = Trigger(rate_hz, offset_ns)
    at_ns = trigger.exposure_ns(index)
    assert trigger.index_at(at_ns) == index
    assert trigger.index_at(at_ns - 1) == index - 1


@given(st.integers(0, 10**18), st.lists(st.integers(1, 200_000_000), min_size=1, max_size=40), st.integers(1, 8))
def test_frames_are_on_the_grid_grow_and_are_never_older_than_the_buffers(
    start_ns: int, pauses_ns: list[int], buffers: int
):
    trigger = Trigger(25.0)
    frames = TriggeredFrames(trigger, buffers)
    frames.start(stamp(start_ns))
    now_ns, last_ns, last = start_ns, -1, -1
    for pause_ns in pauses_ns:
        now_ns += pause_ns
        due_ns = frames.due_ns(stamp(now_ns))
        if due_ns > now_ns:
            continue
        index, sequence = frames.index, frames.take()
        assert due_ns == trigger.exposure_ns(index)
        assert trigger.index_at(now_ns) - buffers < index <= trigger.index_at(now_ns)
        assert due_ns - max(last_ns, 0) == (sequence - last) * 40_000_000 or last_ns < 0
        last_ns, last = due_ns, sequence


@given(st.integers(10**15, 10**18), st.integers(-(10**13), 10**13))
def test_after_a_step_of_the_clock_the_numbers_go_on(start_ns: int, step_ns: int):
    frames = TriggeredFrames(Trigger(25.0), 4)
    frames.start(stamp(start_ns))
    taken_ns = frames.due_ns(stamp(start_ns + 40_000_000))
    assert frames.take() == 0
    stepped = stamp(start_ns + 40_000_000 + step_ns, epoch=1)
    due_ns = frames.due_ns(stepped)
    assert stepped.ptp_ns - 4 * 40_000_000 < due_ns <= stepped.ptp_ns + 2 * 40_000_000
    assert due_ns != taken_ns or abs(step_ns) >= 40_000_000
    assert frames.take() == 1


@given(st.integers(10**15, 10**18), st.integers(-39_999_999, 39_999_999), st.integers(1, 39_999_999))
def test_a_step_of_less_than_a_period_loses_and_repeats_no_exposure(start_ns: int, step_ns: int, later_ns: int):
    frames = TriggeredFrames(Trigger(25.0), 4)
    frames.start(stamp(start_ns))
    indices, now_ns, epoch = [], start_ns, 0
    for turn in range(12):
        now_ns += later_ns
        if turn == 6:
            now_ns, epoch = now_ns + step_ns, 1
        while frames.due_ns(stamp(now_ns, epoch)) <= now_ns:
            indices.append(frames.index)
            frames.take()
    assert indices == list(range(indices[0], indices[0] + len(indices))) if indices else True


def pattern(clock: FakeClock, **options: object) -> PatternCamera:
    made = section(options={"grid": True, **options})
    camera = PatternCamera(made, clock, monotonic=clock.monotonic, wait_until=clock.wait_until)
    camera.open()
    camera.start()
    return camera


def test_two_patterns_started_apart_expose_at_the_same_instants():
    first, second = FakeClock(), FakeClock()
    second.now_ns += 7_654_321
    one, other = pattern(first), pattern(second, grid_offset_us=150)
    landing = memoryview(bytearray(one.info().frame_bytes))
    seen = []
    for camera in (one, other):
        frames = [camera.read(landing, 1.0) for _ in range(5)]
        seen.append([(frame.sequence, frame.stamp.ptp_ns) for frame in frames if frame is not None])
    assert seen[0] == [(n, 1_020_000_000 + n * 20_000_000) for n in range(5)]
    assert seen[1] == [(n, ns + 150_000) for n, ns in seen[0]]


def test_a_pattern_on_the_grid_loses_what_its_buffers_do_not_hold_and_says_so():
    clock = FakeClock()
    camera = pattern(clock, buffers=2)
    landing = memoryview(bytearray(camera.info().frame_bytes))
    first = camera.read(landing, 1.0)
    clock.now_ns += 100_000_000
    second = camera.read(landing, 1.0)
    assert first is not None and second is not None
    assert (first.sequence, second.sequence) == (0, 4)
    assert second.stamp.ptp_ns - first.stamp.ptp_ns == 4 * 20_000_000


def test_a_pattern_on_the_grid_says_when_its_next_frame_is_due():
    camera = pattern(FakeClock())
    with pytest.raises(FrameTimeout, match=r"due in 0.01"):
        camera.read(memoryview(bytearray(4096)), 0.01)


def test_a_grid_that_nothing_paces_is_refused():
    with pytest.raises(ConfigError, match="grid needs paced"):
        pattern(FakeClock(), paced=False)
