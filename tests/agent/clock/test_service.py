"""What the clock process does without a ptp4l; with one it is in test_service_system.py."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.clock.mapping import Growth, Mapping
from agent.clock.service import held_by_raw
from touchline.timeline import ClockState, Tie, Timebase

S_NS = 1_000_000_000
RAW = Mapping(
    timebase=Timebase.MONOTONIC_RAW,
    base_ns=100 * S_NS,
    ptp_ns=1_800_000_000 * S_NS,
    rate_ppb=250.0,
    newest_ns=100 * S_NS,
    bound_ns=120.0,
    growth=Growth(3.0, 10.0),
    locked=False,
    fresh_ns=3 * S_NS,
    limit_ns=10**9,
    epoch=4,
)
BENT = replace(RAW, timebase=Timebase.MONOTONIC, base_ns=90 * S_NS, newest_ns=90 * S_NS, rate_ppb=-70.0, bound_ns=80.0)


@given(st.integers(0, 400 * S_NS), st.integers(0, 400 * S_NS), st.integers(-50 * S_NS, 50 * S_NS), st.integers(0, 1000))
def test_monotonic_is_held_over_as_well_as_raw_and_no_better(age_ns: int, later_ns: int, apart_ns: int, half_ns: int):
    now_ns = RAW.newest_ns - apart_ns + age_ns
    held = held_by_raw(BENT, RAW, now_ns, Tie(apart_ns, half_ns))
    assert held.timebase is Timebase.MONOTONIC
    assert held.at(now_ns).ptp_ns == RAW.at(now_ns + apart_ns).ptp_ns
    assert held.at(now_ns).state is not ClockState.LOCKED
    for since_ns in (0, later_ns):
        raw_bound_ns = RAW.bound_at(now_ns + apart_ns + since_ns)
        assert 0 <= held.bound_at(now_ns + since_ns) - raw_bound_ns - half_ns <= 4
