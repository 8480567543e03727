"""Sequence numbers, stamps and rates: pure arithmetic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.camera.v4l2.stamps import RateMeter, exposure, implausible, unwrap
from touchline.timeline import ClockState, Stamp

PERIOD_NS = 8_333_333


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 2**31 - 1), max_size=50))
def test_unwrapped_numbers_rise_by_the_drivers_steps_for_ever(first, steps):
    number = unwrap(None, first)
    assert number == first
    for step in steps:
        following = unwrap(number, (number + step) % 2**32)
        assert following == number + step
        number = following


@given(st.integers(0, 2**40), st.integers(0, 2**31))
def test_a_number_that_stands_or_goes_back_has_no_meaning(previous, back):
    assert unwrap(previous, (previous - back) % 2**32) is None


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, PERIOD_NS), st.integers(0, 10**7))
def test_the_true_start_lies_within_the_bound_of_an_end_stamp(read_out, exposed, begun_ns, latency_ns):
    """Whatever exposure and read-out took, each up to a period."""
    end_ns = begun_ns + round(read_out * PERIOD_NS) + round(exposed * PERIOD_NS)
    stamp_ns = end_ns // 1000 * 1000
    found = exposure(stamp_ns, of_end=True, period_ns=PERIOD_NS, now_ns=end_ns + latency_ns)
    assert abs(found.start_ns - begun_ns) <= found.doubt_ns


def test_a_start_stamp_is_only_rounded():
    found = exposure(5_000_000_000, of_end=False, period_ns=PERIOD_NS, now_ns=5_010_000_000)
    assert (found.start_ns, found.doubt_ns) == (5_000_000_000, 1000)
    widened = found.on(Stamp(5_000_000_000, 40, 2, ClockState.LOCKED))
    assert widened == Stamp(5_000_000_000, 1040, 2, ClockState.LOCKED)


def test_a_stamp_a_little_ahead_of_its_delivery_is_wrong_by_that_at_least():
    assert exposure(5_006_000_000, of_end=False, period_ns=PERIOD_NS, now_ns=5_000_000_000).doubt_ns == 6_001_000


def why(start_ns: int, previous_ns: int | None = None, buffers: int = 8) -> str:
    return implausible(start_ns, previous_ns, now_ns=10**10, period_ns=PERIOD_NS, buffers=buffers)


def test_stamps_that_cannot_be_true():
    assert why(10**10 - 5_000_000) == ""
    assert why(10**10 + 15_000_000) == ""
    assert "2.000 s in the future" in why(12 * 10**9)
    assert "4.000 s old" in why(6 * 10**9)
    assert "goes back by 1.000 ms" in why(10**10 - 10_000_000, 10**10 - 9_000_000)
    assert "goes back by 0.000 ms" in why(10**10, 10**10)
    assert "future" in why(2**63 - 16 * 10**9)
    assert "old" in why(-(2**62))


def test_a_frame_that_waited_in_a_full_queue_is_believed():
    slow_ns = 10**9
    assert implausible(0, None, now_ns=9 * 10**9, period_ns=slow_ns, buffers=8) == ""


@given(st.floats(20, 500), st.integers(0, 5))
def test_the_measured_rate_counts_lost_frames(rate_hz, lost_each):
    meter, known = RateMeter(), 0
    for frame in range(0, 3000, 1 + lost_each):
        known += meter.add(frame, round(frame * 1e9 / rate_hz))
    assert known == 1
    assert meter.rate_hz is not None
    assert abs(meter.rate_hz - rate_hz) < 0.001 * rate_hz
