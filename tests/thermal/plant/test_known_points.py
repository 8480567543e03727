"""The simulated node against what is known of the real one (field notes, THM-1, THM-3, THM-4)."""

import pytest

from thermal.plant.physics import Outside, State, advance, fan_watts, settled, sink_conductance
from thermal.plant.sensors import hottest_c
from thermal.plant.spec import PlantSpec
from thermal.simulate.laws import asked_line_pct

SPEC = PlantSpec()


def on_the_line(outside: Outside, hours: float = 2.0) -> State:
    """The node after hours under the asked line alone."""
    state = settled(SPEC, outside, 50.0, 600.0)
    for _ in range(int(hours * 3600)):
        state.duty_pct = asked_line_pct(hottest_c(SPEC, state))
        advance(SPEC, state, outside, 1.0)
    return state


def test_the_asked_line_settles_at_68_c_at_the_240_fps_load_and_25_c():
    state = on_the_line(Outside(25.0, 0.0, 1.0))
    assert hottest_c(SPEC, state) == pytest.approx(68.0, abs=0.15)
    assert state.duty_pct == pytest.approx(90.7, abs=0.7)  # field note: 90.7 % at 68 C
    assert state.watts.module == pytest.approx(55.0, abs=0.5)  # THM-4
    assert state.done == 1.0


def test_the_full_fan_holds_68_c_a_little_warmer_and_no_further():
    assert hottest_c(SPEC, settled(SPEC, Outside(26.5, 0.0, 1.0), 100.0)) < 68.0
    assert hottest_c(SPEC, settled(SPEC, Outside(30.0, 0.0, 1.0), 100.0)) > 70.0


def test_thm3_at_32_c_the_full_fan_is_just_below_74_and_the_asked_cap_costs_no_frame():
    state = settled(SPEC, Outside(32.0, 0.0, 1.0), 100.0)
    assert 72.0 < hottest_c(SPEC, state) < 74.0
    free_c, state.cpu_share = hottest_c(SPEC, state), 2.2 / 2.6
    advance(SPEC, state, Outside(32.0, 0.0, 1.0), 3600.0)
    assert hottest_c(SPEC, state) < free_c - 1.0
    assert state.done == 1.0


def test_at_38_c_in_the_sun_only_capped_clocks_hold_68_c():
    outside = Outside(38.0, 60.0, 1.0)
    state = settled(SPEC, outside, 100.0)
    assert hottest_c(SPEC, state) > 80.0
    state.cpu_share = state.gpu_share = 0.5
    advance(SPEC, state, outside, 7200.0)
    assert hottest_c(SPEC, state) < 68.0
    assert 0.5 < state.done < 0.6


def test_idle_is_about_fifteen_watts_at_the_least_duty():
    state = settled(SPEC, Outside(22.0, 0.0, 0.08), 30.0)
    assert state.watts.module == pytest.approx(15.5, abs=1.5)
    assert hottest_c(SPEC, state) < 50.0


def test_a_step_of_load_comes_in_seconds_and_then_in_minutes():
    outside = Outside(25.0, 0.0, 0.1)
    state = settled(SPEC, outside, 80.0)
    begin_c, outside.load = hottest_c(SPEC, state), 1.0
    advance(SPEC, state, outside, 10.0)
    soon_c = hottest_c(SPEC, state)
    advance(SPEC, state, outside, 7200.0)
    end_c = hottest_c(SPEC, state)
    assert 0.25 < (soon_c - begin_c) / (end_c - begin_c) < 0.5


def test_time_constants_are_those_that_the_spec_says():
    heat = SPEC.heat
    assert heat.r_die_sink_k_per_w * heat.c_die_j_per_k == pytest.approx(5.0, abs=0.1)
    assert heat.c_sink_j_per_k / sink_conductance(heat, 1.0) == pytest.approx(117.0, abs=2.0)
    assert heat.c_sink_j_per_k / sink_conductance(heat, 0.3) == pytest.approx(227.0, abs=10.0)
    assert heat.r_box_k_per_w * heat.c_box_j_per_k == pytest.approx(480.0)


def test_energy_is_kept():
    outside = Outside(25.0, 30.0, 0.7)
    state = settled(SPEC, outside, 70.0, 20_000.0)
    assert (state.box_c - 25.0) / SPEC.heat.r_box_k_per_w == pytest.approx(state.watts.module + 30.0, rel=1e-3)


def test_the_fan_needs_its_start_duty_coasts_and_takes_power_by_the_cube():
    state = State(30.0, 30.0, 30.0, duty_pct=15.0)
    outside = Outside(25.0, 0.0, 0.0)
    advance(SPEC, state, outside, 30.0)
    assert state.rpm == 0.0
    state.duty_pct = 40.0
    advance(SPEC, state, outside, 1.5)
    assert 0.55 * 1160 < state.rpm < 0.75 * 1160
    advance(SPEC, state, outside, 30.0)
    assert state.rpm == pytest.approx(1160.0, rel=0.01)
    state.duty_pct = 15.0  # it turns on below the start duty
    advance(SPEC, state, outside, 30.0)
    assert state.rpm == pytest.approx(435.0, rel=0.02)
    state.stalled = True
    advance(SPEC, state, outside, 30.0)
    assert state.rpm == 0.0
    assert fan_watts(SPEC.fan, 1450.0) == pytest.approx(SPEC.fan.full_w / 8)


def test_with_the_fan_stalled_the_chip_throttles_itself_and_the_lowest_clocks_live_on():
    outside = Outside(25.0, 0.0, 1.0)
    state = settled(SPEC, outside, 80.0)
    state.stalled = True
    advance(SPEC, state, outside, 1200.0)
    assert state.throttled
    low = settled(SPEC, outside, 80.0)
    low.stalled, low.cpu_share, low.gpu_share = True, 0.33, 0.32
    advance(SPEC, low, outside, 7200.0)
    assert hottest_c(SPEC, low) < 85.0 and not low.throttled


def test_at_105_c_it_is_off_for_good():
    state = State(106.0, 100.0, 30.0)
    advance(SPEC, state, Outside(25.0, 0.0, 1.0), 60.0)
    assert state.off and state.watts.module == 0.0 and state.done == 0.0
