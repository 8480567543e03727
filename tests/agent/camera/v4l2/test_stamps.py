"""Sequence numbers, stamps and rates: pure arithmetic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.camera.v4l2.stamps import Exposure, RateMeter, arrival, exposure, implausible, unwrap
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


def cut(begun_ns: int, tick_ns: int) -> int:
    """What comes out of the kernel: the clock's last tick, cut to microseconds."""
    return begun_ns // tick_ns * tick_ns // 1000 * 1000


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, PERIOD_NS))
def test_the_true_start_lies_within_the_bound_of_an_end_stamp(read_out, exposed, begun_ns):
    """Whatever exposure and read-out took, each up to a period."""
    end_ns = begun_ns + round(read_out * PERIOD_NS) + round(exposed * PERIOD_NS)
    found = exposure(cut(end_ns, 1), of_end=True, period_ns=PERIOD_NS)
    assert abs(found.start_ns - begun_ns) <= found.doubt_ns


@given(st.integers(0, 2**62), st.sampled_from([0, 32]))
def test_the_true_start_lies_within_the_bound_of_a_start_stamp(begun_ns, tick_ns):
    found = exposure(cut(begun_ns, tick_ns or 1), of_end=False, period_ns=PERIOD_NS, tick_ns=tick_ns)
    assert abs(found.start_ns - begun_ns) <= found.doubt_ns


def test_a_start_stamp_is_only_cut_so_the_truth_lies_in_the_middle():
    found = exposure(5_000_000_000, of_end=False, period_ns=PERIOD_NS)
    assert (found.start_ns, found.doubt_ns) == (5_000_000_500, 500)
    widened = found.on(Stamp(5_000_000_500, 40, 2, ClockState.LOCKED))
    assert widened == Stamp(5_000_000_500, 540, 2, ClockState.LOCKED)


def test_half_a_tick_of_the_counter_comes_on_top():
    assert exposure(5_000_000_000, of_end=False, period_ns=PERIOD_NS, tick_ns=32) == Exposure(5_000_000_516, 516)


def test_a_stamp_a_little_ahead_of_its_delivery_is_wrong_by_that_at_least():
    found = exposure(5_006_000_000, of_end=False, period_ns=PERIOD_NS)
    assert found.delivered(-6_000_500).doubt_ns == 6_001_000
    assert found.delivered(0) == found.delivered(10**9) == found.delivered(None) == found


@given(st.integers(0, 10**12), st.integers(0, 10), st.integers(2, 32))
def test_a_frame_without_a_stamp_began_within_the_bound_of_its_arrival(begun_ns, waited, buffers):
    """Whatever :func:`implausible` would let pass."""
    now_ns = begun_ns + waited * PERIOD_NS
    found = arrival(now_ns, period_ns=PERIOD_NS, buffers=buffers)
    assert found.start_ns == now_ns - PERIOD_NS
    if implausible(begun_ns, None, late_ns=now_ns - begun_ns, period_ns=PERIOD_NS, buffers=buffers) == "":
        assert abs(found.start_ns - begun_ns) <= found.doubt_ns


def why(start_ns: int, previous_ns: int | None = None, buffers: int = 8) -> str:
    return implausible(start_ns, previous_ns, late_ns=10**10 - start_ns, period_ns=PERIOD_NS, buffers=buffers)


def test_stamps_that_cannot_be_true():
    assert why(10**10 - 5_000_000) == ""
    assert why(10**10 + 15_000_000) == ""
    assert "2.000 s in the future" in why(12 * 10**9)
    assert "4.000 s old" in why(6 * 10**9)
    assert "goes back by 1.000 ms" in why(10**10 - 10_000_000, 10**10 - 9_000_000)
    assert "goes back by 0.000 ms" in why(10**10, 10**10)
    assert "future" in why(2**63 - 16 * 10**9)
    assert "old" in why(-(2**62))


def test_where_nobody_knows_how_late_it_is_only_the_frame_before_counts():
    assert implausible(5, None, late_ns=None, period_ns=PERIOD_NS, buffers=8) == ""
    assert "goes back" in implausible(5, 6, late_ns=None, period_ns=PERIOD_NS, buffers=8)


def test_a_frame_that_waited_in_a_full_queue_is_believed():
    slow_ns = 10**9
    assert implausible(0, None, late_ns=9 * 10**9, period_ns=slow_ns, buffers=8) == ""


@given(st.floats(20, 500), st.integers(0, 5))
def test_the_measured_rate_counts_lost_frames(rate_hz, lost_each):
    meter, known = RateMeter(), 0
    for frame in range(0, 3000, 1 + lost_each):
        known += meter.add(frame, round(frame * 1e9 / rate_hz))
    assert known == 1
    assert meter.rate_hz is not None
    assert abs(meter.rate_hz - rate_hz) < 0.001 * rate_hz
