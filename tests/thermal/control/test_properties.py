"""What the law keeps whatever it is told: the floor, the slews, no calm without tj, full and low when blind."""

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.thermal.control.bench import NS, SETTINGS, Running
from tests.thermal.judge.test_properties import STEPS
from thermal.control import ControlState, Settings, line, step
from thermal.judge import JudgeState, judge
from thermal.types import Failed, Fresh, Raw, Sample

TEMP = st.floats(-40, 130)
CALM = st.floats(20, 73.9)
SOURCE = st.sampled_from(["tj", "tj", "tj", "held", "stand_in", "blind"])
SETTING = st.builds(
    replace,
    st.just(SETTINGS),
    min_duty_pct=st.floats(20, 100),
    low_duty_pct=st.floats(20, 100),
    gain_pct_c=st.floats(0, 50),
    integral_s=st.floats(5, 600),
    sink_k_w=st.floats(0, 3),
    sink_s=st.floats(5, 1000),
    ahead_s=st.floats(0, 120),
    up_pct_s=st.floats(1, 100),
    down_pct_s=st.floats(0.1, 100),
    band_pct=st.floats(0, 10),
    tachometer=st.booleans(),
)
POWER = st.none() | st.floats(0, 300).map(lambda watts: Fresh(watts, 0)) | st.just(Failed(0, "EIO"))
RPM = st.just(Fresh(0.0, 0)) | st.just(Fresh(1500.0, 0)) | st.just(Failed(0, "EIO"))
TICK = st.tuples(TEMP, SOURCE, POWER, RPM, st.sampled_from([0.0, 0.1, 1.0, 2.0, 2.6, 100.0, -1.0]))


@given(SETTING, st.lists(TICK, max_size=30))
def test_floor_bounds_slew_and_no_calm(settings, ticks):
    running, first = Running(settings), True
    for hot_c, source, power, rpm, after_s in ticks:
        last = running.command.duty_pct
        blind = source == "blind"
        command = running.tick(None if blind else hot_c, source, after_s=after_s, power_w=power, fan_rpm=rpm)
        duty = command.duty_pct
        assert math.isfinite(duty)
        assert settings.min_duty_pct <= duty <= 100.0
        assert 0 <= command.cap_level <= settings.last
        assert duty == 100.0 if blind else duty >= line(settings, hot_c)
        if not blind and hot_c >= settings.full_c:
            assert duty == 100.0
        if source != "tj":
            assert duty >= last
        elif not first:
            assert last - duty <= settings.down_pct_s * max(0.0, min(after_s, 5.0)) + 1e-9
        late = (after_s > 2.5 or after_s < 0) and not first
        assert duty == 100.0 or not late
        first = False


@given(SETTING, st.lists(st.tuples(CALM, st.booleans()), min_size=1, max_size=40))
def test_a_rise_beyond_the_floor_is_no_faster_than_set(settings, ticks):
    running, first = Running(settings), True
    for hot_c, fresh in ticks:
        last = running.command.duty_pct
        duty = running.tick(hot_c, "tj" if fresh else "stand_in").duty_pct
        kick = settings.kick_duty_pct if running.state.fan.standing_ns is not None else 0.0
        assert first or duty <= max(last + settings.up_pct_s, line(settings, hot_c), kick) + 1e-9
        first = False


@hypothesis_settings(deadline=None, max_examples=30)
@given(CALM, CALM)
def test_at_rest_a_hotter_board_gets_no_less(one, other):
    low, high = sorted((one, other))
    assert Running().run(400, low).duty_pct <= Running().run(400, high).duty_pct + 1e-9


@given(st.lists(TICK, max_size=20), st.integers(1, 5))
def test_blind_is_full_and_lowest_and_an_alarm_whatever_was_before(ticks, seconds):
    running = Running()
    for hot_c, source, power, rpm, after_s in ticks:
        hot = None if source == "blind" else hot_c
        running.tick(hot, source, after_s=after_s, power_w=power, fan_rpm=rpm)
    for _ in range(seconds):
        command = running.tick(None)
        assert command.duty_pct == 100.0
        assert command.cap_level >= SETTINGS.lowest
        assert any(fault.code == "blind" and fault.severity.value == "alarm" for fault in running.faults)


@given(st.lists(TICK, max_size=30))
def test_faults_are_named_once_and_keep_their_begin(ticks):
    running = Running()
    began: dict[tuple[str, str], int] = {}
    for hot_c, source, power, rpm, after_s in ticks:
        running.tick(None if source == "blind" else hot_c, source, after_s=after_s, power_w=power, fan_rpm=rpm)
        keys = [(fault.code, fault.what) for fault in running.faults]
        assert len(set(keys)) == len(keys)
        now = {(fault.code, fault.what): fault.since_ns for fault in running.faults}
        assert all(now[key] == began[key] for key in now if key in began)
        began = now


@given(STEPS)
def test_judge_and_law_take_any_samples_at_any_times(steps):
    seen, mind = JudgeState(), ControlState()
    for sample, now_ns in steps:
        seen, readings = judge(SETTINGS, seen, sample, now_ns)
        mind, command, _ = step(SETTINGS, mind, readings, now_ns)
        assert SETTINGS.min_duty_pct <= command.duty_pct <= 100.0
        tj = readings.zones["tj"]
        if isinstance(tj, Fresh):
            assert command.duty_pct >= line(SETTINGS, tj.value)
        else:
            assert command.duty_pct == 100.0 or readings.hot.value_c is not None


ZONE = st.sampled_from(["same", "EIO", "gone", "zero", "nan"])


@given(st.floats(30, 69), st.lists(st.tuples(ZONE, ZONE, ZONE), min_size=1, max_size=12))
def test_no_mix_of_failures_gives_less_than_the_last_fresh_look_asked_for(temp_c, failures):
    """From a law at rest, on: whatever zones fail, in whatever order, duty only grows until tj is fresh again."""
    seen, mind, duty = JudgeState(), ControlState(), 0.0
    looks = [("same",) * 3] * 5 + failures
    for second, kinds in enumerate(looks, 1):
        zones = {n: r for n, k in zip(("tj", "cpu", "gpu"), kinds, strict=True) if (r := _zone(k, temp_c)) is not None}
        sample = Sample(second * NS, zones, Raw(1500.0), Raw(50.0))
        seen, readings = judge(SETTINGS, seen, sample, second * NS)
        mind, command, _ = step(SETTINGS, mind, readings, second * NS)
        assert command.duty_pct >= line(SETTINGS, temp_c)
        if kinds[0] != "same":
            assert command.duty_pct >= duty
        if all(kind != "same" for kind in kinds) and second > 5 + SETTINGS.stale_ns // NS + 1:
            lately = looks[second - 1 - SETTINGS.stale_ns // NS : second]
            if all(kinds[0] != "same" and "same" not in kinds[1:] for kinds in lately):
                assert (command.duty_pct, command.cap_level) == (100.0, SETTINGS.lowest)
        duty = command.duty_pct


def _zone(kind: str, temp_c: float) -> Raw | None:
    values = {"same": Raw(temp_c), "EIO": Raw(None, 5), "gone": None, "zero": Raw(0.0), "nan": Raw(math.nan)}
    return values[kind]


def test_settings_of_the_configuration_are_the_defaults():
    from touchline.config.thermal import ThermalSection

    assert Settings.from_section(ThermalSection()) == Settings()
