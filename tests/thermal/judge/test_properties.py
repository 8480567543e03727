"""Any samples at any times: the judge always answers, and never makes good news of bad."""

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.thermal.judge.looks import NS, RULES, look
from thermal.judge import JudgeState, Readings, judge
from thermal.types import Failed, Fresh, Raw, Reading, Sample

NUMBER = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-50, 140) | st.sampled_from([0.0, 60.0, 66.0, -0.0])
RAW = st.builds(Raw, NUMBER) | st.builds(Raw, st.none(), st.integers(1, 200))
NAME = st.sampled_from(["tj", "cpu", "gpu", "soc0", "cv0", "x"])
SAMPLE = st.builds(
    Sample,
    at_ns=st.integers(-(2**63), 2**63) | st.integers(0, 100).map(lambda n: n * NS),
    zones_c=st.dictionaries(NAME, RAW),
    fan_rpm=RAW,
    duty_pct=RAW,
    power_w=st.dictionaries(NAME, RAW),
    clock_hz=st.dictionaries(st.sampled_from(["cpu", "gpu"]), RAW),
    ambient_c=st.none() | RAW,
)
STEPS = st.lists(
    st.tuples(SAMPLE, st.integers(-(2**63), 2**63) | st.integers(0, 100).map(lambda n: n * NS)), max_size=20
)


def every(readings: Readings) -> list[Reading]:
    some = [readings.fan_rpm, readings.duty_pct, readings.power_w, readings.ambient_c]
    mapped = [*readings.zones.values(), *readings.rails.values(), *readings.clock_hz.values()]
    return [*mapped, *(one for one in some if one is not None)]


@given(STEPS)
def test_any_sample_is_judged_and_every_number_is_finite_and_of_this_look(steps):
    state = JudgeState()
    for sample, now_ns in steps:
        state, readings = judge(RULES, state, sample, now_ns)
        assert {"tj", "cpu", "gpu"} <= set(readings.zones)
        for one in every(readings):
            assert isinstance(one, Failed) or math.isfinite(one.value)
            assert not isinstance(one, Fresh) or (
                one.at_ns == sample.at_ns and 0 <= now_ns - one.at_ns <= RULES.stale_ns
            )
        assert (readings.hot.value_c is None) == (readings.hot.source == "blind")


@given(STEPS)
def test_hot_is_never_below_any_fresh_zone_by_more_than_they_differ(steps):
    state = JudgeState()
    for sample, now_ns in steps:
        state, readings = judge(RULES, state, sample, now_ns)
        fresh = [one.value for one in readings.zones.values() if isinstance(one, Fresh)]
        if readings.hot.value_c is not None:
            assert all(readings.hot.value_c >= value - 3.0 for value in fresh)
        assert (readings.hot.source == "tj") == isinstance(readings.zones["tj"], Fresh)


@given(st.lists(st.floats(20, 110), min_size=2, max_size=60))
def test_a_fresh_value_is_never_further_below_the_one_before_than_metal_cools_or_a_spike_ends(values):
    state, believed = JudgeState(), []
    for second, value in enumerate(values):
        sample = look(second, {"tj": value})
        state, readings = judge(RULES, state, sample, sample.at_ns)
        tj = readings.zones["tj"]
        if isinstance(tj, Fresh):
            believed.append((second, value))
    for (then, before), (now, after) in pairwise(believed):
        recent = [v for at, v in believed if now - 5 <= at <= now and at < now]
        lowest = min([before - 0.5 * (now - then), *recent])
        assert after >= lowest - 10.0 - 1e-9


@given(st.floats(20, 110), st.floats(20, 110))
def test_hotter_samples_give_hotter_readings(one, other):
    low, high = sorted((one, other))
    hot = []
    for value in (low, high):
        sample = look(1, {"tj": value, "cpu": 70.0})
        hot.append(judge(RULES, JudgeState(), sample, sample.at_ns)[1].hot.value_c)
    assert hot[0] is not None and hot[1] is not None and hot[0] <= hot[1]


@given(st.lists(st.text("abcdef", min_size=1, max_size=6), max_size=300, unique=True))
def test_memory_is_bounded(names):
    sample = look(1, dict.fromkeys(names, 50.0), power_w={name: Raw(1.0) for name in names})
    state, readings = judge(RULES, JudgeState(), sample, sample.at_ns)
    assert len(state.zones) <= 64
    assert len(readings.rails) <= 64
    assert "tj" in readings.zones
