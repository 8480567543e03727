"""The rails' sum, and the alarm that a short peak does not ring."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermal.power import HoldState, Limit, hold, total
from thermal.types import Failed, Fresh, Reading, Stale

S = 1_000_000_000
LIMIT = Limit(55.0, 53.0, 5 * S)
watts = st.floats(-1.0, 300.0)


def fresh(**rails: float) -> dict[str, Reading]:
    return {name: Fresh(value, 0) for name, value in rails.items()}


def test_the_sum_of_the_rails_reads_below_the_wall():
    found = total(fresh(VDD_GPU_SOC=20.0, VDD_CPU_CV=15.5))
    assert found is not None
    assert (found.low_w, found.watts) == (35.5, 35.5)
    assert "below the wall" in found.meaning


@pytest.mark.parametrize("bad", [Failed(0, "EIO"), Stale(15.0, 0, "EIO")])
def test_a_rail_that_is_not_fresh_makes_the_sum_unknown_never_zero(bad):
    found = total({**fresh(VDD_GPU_SOC=20.0), "VDD_CPU_CV": bad})
    assert found is not None
    assert (found.low_w, found.watts) == (20.0, None)


def test_no_rails_no_total():
    assert total({}) is None


def test_the_modules_input_is_the_total_and_its_parts_are_not_added():
    found = total(fresh(VDD_IN=22.0, VDD_CPU_GPU_CV=9.0, VDD_SOC=5.0))
    assert found is not None
    assert (found.watts, found.meaning) == (22.0, "VDD_IN")
    lost = total({**fresh(VDD_SOC=5.0), "VDD_IN": Failed(0, "EIO")})
    assert lost is not None
    assert (lost.low_w, lost.watts) == (5.0, None)


def run(looks: Sequence[tuple[float, float | None]], every_ns: int = S, state: HoldState | None = None) -> list[bool]:
    state, alarms = state or HoldState(), []
    for number, look in enumerate(looks):
        state = hold(LIMIT, state, look, number * every_ns)
        alarms.append(state.alarm)
    return alarms


def test_it_begins_after_the_hold_time_and_ends_after_it_too():
    alarms = run([(60.0, 60.0)] * 6 + [(54.0, 54.0)] * 20 + [(50.0, 50.0)] * 6)
    assert alarms == [False] * 5 + [True] * 26 + [False]


def test_a_peak_is_no_alarm_however_seldom_one_looks():
    assert not any(run([(50.0, 50.0), (150.0, 150.0)] * 20))
    assert not any(run([(50.0, 50.0), (150.0, 150.0), (150.0, 150.0), (50.0, 50.0)], every_ns=60 * S))


def test_what_is_unknown_ends_no_alarm_and_begins_one_only_for_what_is_known():
    alarmed = HoldState(alarm=True, since_ns=0)
    assert all(run([(0.0, None)] * 100, state=alarmed))
    assert not any(run([(54.0, None)] * 100))
    assert run([(56.0, None)] * 6)[-1]


@given(st.lists(st.tuples(watts, st.booleans()), max_size=60), st.integers(1, 20))
def test_properties_of_the_hold(looks, tenths):
    every_ns = tenths * S // 10
    state = HoldState()
    pairs = [(low, low if known else None) for low, known in looks]
    for number, look in enumerate(pairs):
        before, state = state, hold(LIMIT, state, look, number * every_ns)
        held = [p for k, p in enumerate(pairs[: number + 1]) if (number - k) * every_ns <= LIMIT.hold_ns]
        if state.alarm and not before.alarm:
            assert all(low > LIMIT.over_w for low, _ in held)
            assert len(held) >= 3 or every_ns > LIMIT.hold_ns / 2
        if before.alarm and not state.alarm:
            assert all(high is not None and high < LIMIT.clear_w for _, high in held)
        if state.alarm != before.alarm:
            assert state.since_ns == number * every_ns
