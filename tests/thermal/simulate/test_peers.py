"""The peers of the benchmark do what is published about them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.thermal_laws import NvFanControl, Openpilot, table
from thermal.types import Raw, Sample


def sample(tj_c: float | None) -> Sample:
    return Sample(1, {"tj": Raw(None, 5) if tj_c is None else Raw(tj_c)}, Raw(1.0), Raw(1.0))


def settle(law, tj_c: float, ticks: int = 200) -> float:
    duty_pct = 0.0
    for _ in range(ticks):
        duty_pct = float(law.order(sample(tj_c), 1).command.duty_pct)
    return duty_pct


def test_nvfancontrols_table_counts_margin_below_105_c():
    assert table(0.0) == (255.0, 0.0) and table(18.0)[0] == 255.0
    assert [table(105.0 - tj)[0] for tj in (75.0, 60.0, 45.0)] == [202.0, 149.0, 88.0]
    assert settle(NvFanControl(), 68.0) == pytest.approx(100 * 177.27 / 255, abs=0.1)


def test_its_hysteresis_keeps_the_duty_until_tj_has_fallen():
    law = NvFanControl()
    high = settle(law, 75.0)
    assert settle(law, 68.0) == high
    assert settle(law, 60.0) < high


def test_openpilots_feed_forward_and_its_slow_integral():
    law = Openpilot()
    assert law.order(sample(80.0), 1).command.duty_pct == 50.0
    assert settle(law, 80.0, 2 * 600) == pytest.approx(50.0 + 5.0 * 4e-3 * 600, abs=1.1)
    assert settle(Openpilot(), 40.0) == 30.0


@given(st.lists(st.none() | st.floats(-20.0, 120.0), min_size=1, max_size=50))
def test_peers_stay_within_0_and_100_and_leave_the_fan_on_a_failed_read(temps):
    for law in (NvFanControl(), Openpilot(), Openpilot(66.0)):
        last = None
        for tj_c in temps:
            duty = law.order(sample(tj_c), 1).command.duty_pct
            assert 0.0 <= duty <= 100.0
            assert tj_c is not None or last is None or duty == last
            last = duty
