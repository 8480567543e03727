"""The fan law: the asked line, what is above it, slew and band."""

from dataclasses import replace
from typing import Any

import pytest

from tests.thermal.control.bench import NS, SETTINGS, Running
from thermal.control import line
from thermal.control.duty import rise_ahead
from thermal.control.state import DutyState
from thermal.types import Fresh


@pytest.mark.parametrize(
    ("temp_c", "duty"), [(-40, 30.0), (54.9, 30.0), (55, 30.0), (62.5, 65.0), (68, 90.6667), (70, 100.0), (130, 100.0)]
)
def test_the_asked_line(temp_c, duty):
    assert line(SETTINGS, temp_c) == pytest.approx(duty, abs=1e-4)


def test_below_its_foot_the_line_goes_on_where_less_is_allowed():
    quiet = replace(SETTINGS, min_duty_pct=20.0)
    assert line(quiet, 54.0) == pytest.approx(25.3333, abs=1e-4)
    assert line(quiet, 40.0) == 20.0
    assert line(replace(SETTINGS, min_duty_pct=45.0), 56.0) == 45.0


def test_the_first_tick_is_at_its_duty_at_once():
    assert Running().tick(60.0).duty_pct == pytest.approx(line(SETTINGS, 60.0))
    assert Running().tick(60.0, "stand_in").duty_pct == 100.0


def test_at_rest_below_the_set_point_the_duty_is_the_line():
    assert Running().run(300, 62.0).duty_pct == pytest.approx(line(SETTINGS, 62.0))


def test_above_the_set_point_the_integral_goes_all_the_way():
    running = Running()
    assert running.run(5, 67.0).duty_pct < 95.0
    assert running.run(600, 67.0).duty_pct == 100.0


def test_the_integral_does_not_wind_up():
    running = Running()
    running.run(3600, 69.0)
    assert running.run(120, 60.0).duty_pct == pytest.approx(line(SETTINGS, 60.0), abs=0.1)


def test_up_is_fast_beyond_the_floor_and_at_once_to_it():
    running = Running()
    running.run(60, 50.0)
    assert running.tick(66.0).duty_pct >= line(SETTINGS, 66.0)
    assert running.tick(70.0).duty_pct == 100.0


def test_down_is_slow():
    running = Running()
    running.run(30, 70.0)
    duties = [running.tick(50.0).duty_pct for _ in range(80)]
    falls = [a - b for a, b in zip([100.0, *duties], duties, strict=False)]
    assert max(falls) <= SETTINGS.down_pct_s + 1e-9
    assert duties[-1] == pytest.approx(30.0)


def test_noise_within_the_band_is_hardly_followed():
    running = Running()
    running.run(100, 60.0)
    duties = [running.tick(60.0 + 0.2 * (-1) ** number).duty_pct for number in range(200)][50:]
    assert max(duties) - min(duties) < 0.2
    assert min(duties) >= line(SETTINGS, 60.2) - 0.2


def powered(running: Running, watts: float) -> dict[str, Any]:
    return {"power_w": Fresh(watts, running.now_ns() + NS)}


def test_more_power_is_felt_before_the_heatsink_feels_it():
    running, other = Running(), Running()
    for _ in range(120):
        running.tick(66.0, **powered(running, 20.0))
    ahead = max(running.tick(66.0, **powered(running, 50.0)).duty_pct for _ in range(10))
    other.run(130, 66.0)
    assert ahead > other.command.duty_pct + 3.0
    for _ in range(900):
        running.tick(66.0, **powered(running, 50.0))
    assert running.command.duty_pct == pytest.approx(line(SETTINGS, 66.0), abs=0.2)


def test_power_that_cannot_lead_past_the_set_point_costs_no_fan():
    running = Running()
    for watts in (20.0, 50.0):
        for _ in range(120):
            duty = running.tick(60.0, **powered(running, watts)).duty_pct
            assert duty == pytest.approx(line(SETTINGS, 60.0), abs=1e-6)


def test_less_power_takes_nothing_off_the_line():
    running = Running()
    for _ in range(120):
        running.tick(60.0, **powered(running, 50.0))
    duties = [running.tick(60.0, **powered(running, 5.0)).duty_pct for _ in range(30)]
    assert min(duties) >= line(SETTINGS, 60.0)


def test_what_is_ahead_is_the_rest_of_a_first_order_rise():
    state = DutyState(power_w=50.0, sink_w=20.0, sink_ambient_c=20.0)
    settings = replace(SETTINGS, sink_k_w=0.5, sink_s=100.0, ahead_s=100.0)
    assert rise_ahead(settings, state, None) == pytest.approx(15.0 * 0.632, abs=0.01)
    assert rise_ahead(settings, state, Fresh(30.0, 0)) == pytest.approx(25.0 * 0.632, abs=0.01)
    assert rise_ahead(settings, state, Fresh(-30.0, 0)) == 0.0
    assert rise_ahead(replace(settings, ahead_s=0.0), state, None) == 0.0


def test_a_late_tick_is_at_full_duty_and_the_next_is_not_kept_there():
    running = Running()
    running.run(60, 50.0)
    assert running.tick(50.0, after_s=2.6).duty_pct == 100.0
    assert "late" in running.codes
    assert running.tick(50.0).duty_pct == 100.0 - SETTINGS.down_pct_s
    assert "late" not in running.codes


def test_a_tick_from_before_the_last_is_late():
    running = Running()
    running.run(60, 50.0)
    assert running.tick(50.0, after_s=-5.0).duty_pct == 100.0


def test_nothing_calms_down_while_tj_is_not_fresh():
    running = Running()
    running.run(60, 64.0)
    before = running.command.duty_pct
    for source in ("held", "stand_in"):
        assert running.run(30, 56.0, source).duty_pct == pytest.approx(before)
    assert running.run(2, 56.0).duty_pct < before


def test_blind_is_full_lowest_and_an_alarm():
    running = Running()
    running.run(60, 50.0)
    command = running.tick(None)
    assert (command.duty_pct, command.cap_level) == (100.0, SETTINGS.lowest)
    assert {fault.severity.value for fault in running.faults if fault.code == "blind"} == {"alarm"}
