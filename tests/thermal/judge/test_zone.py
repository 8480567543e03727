"""One zone: errnos, ranges, age, falls, spikes and values that stand still."""

import errno
from typing import Any

import pytest

from tests.thermal.judge.looks import EAGAIN, EIO, NS, RULES, Judging, look
from thermal.judge import judge
from thermal.judge.state import JudgeState
from thermal.types import Failed, Fresh, Raw, Stale


def test_a_good_value_is_fresh():
    assert Judging().see(60.0).zones["tj"] == Fresh(60.0, 101 * NS)


@pytest.mark.parametrize("bad", [EIO, Raw(None, errno.EINVAL), None, 200.0, -60.0, 0.0, float("nan"), float("inf")])
def test_what_is_no_value_is_held_for_a_moment_and_then_failed(bad):
    judging = Judging()
    judging.see(60.0)
    held = [judging.see(bad).zones["tj"] for _ in range(3)]
    assert [type(one) for one in held] == [Stale] * 3
    failed = judging.see(bad).zones["tj"]
    assert isinstance(failed, Failed)
    assert failed.since_ns == 102 * NS


def test_a_zone_that_never_read_is_failed_at_once():
    readings = Judging().see(EIO)
    assert readings.zones["tj"] == Failed(101 * NS, "EIO")


def test_zero_is_a_missing_zone_and_a_little_more_is_a_winter_night():
    assert isinstance(Judging().see(0.0).zones["tj"], Failed)
    assert isinstance(Judging().see(0.031).zones["tj"], Fresh)


def test_a_zone_that_is_switched_off_is_gated():
    readings = Judging().see(60.0, gpu=EAGAIN)
    assert readings.gated == {"gpu"}
    assert readings.hot.value_c == 60.0


def test_a_zone_that_was_there_and_is_gone_is_failed():
    judging = Judging()
    sample = look(101, {"tj": 60.0, "cpu": 50.0, "gpu": 50.0, "soc0": 50.0})
    judging.state, _ = judge(RULES, judging.state, sample, sample.at_ns)
    judging.at_s = 105.0
    assert judging.see(60.0).zones["soc0"] == Failed(106 * NS, "missing")


def test_a_jump_up_is_believed_at_once_and_so_is_its_end():
    judging = Judging()
    judging.see(60.0)
    assert judging.see(105.0).hot.value_c == 105.0
    assert judging.see(60.5).zones["tj"] == Fresh(60.5, 103 * NS)


def test_a_long_jump_up_is_no_spike_and_its_end_must_cool():
    judging = Judging()
    judging.see(60.0)
    for _ in range(8):
        assert judging.see(105.0).hot.value_c == 105.0
    assert isinstance(judging.see(60.5).zones["tj"], Stale)


def test_a_fall_faster_than_metal_cools_is_believed_only_as_late_as_metal_would_be_there():
    judging = Judging()
    judging.see(70.0)
    seen = [judging.see(40.0).zones["tj"] for _ in range(60)]
    first = next(number for number, one in enumerate(seen, 1) if isinstance(one, Fresh))
    assert first == 40  # 30 K less the 10 K that a die may do, at 0.5 K/s
    assert all(not isinstance(one, Fresh) for one in seen[: first - 1])


def test_load_switched_off_is_believed_at_once():
    judging = Judging()
    judging.see(66.0)
    assert judging.see(58.0).zones["tj"] == Fresh(58.0, 102 * NS)


def power(watts: float) -> dict[str, Any]:
    return {"power_w": {"VDD_GPU_SOC": Raw(watts)}}


def test_a_value_that_stands_still_while_power_moves_is_frozen():
    judging = Judging()
    for _ in range(100):
        assert isinstance(judging.see(60.0, **power(20.0)).zones["tj"], Fresh)
    seen = [judging.see(60.0, cpu=50.0 + 0.1 * n, gpu=50.0 + 0.1 * n, **power(45.0)) for n in range(20)]
    assert [isinstance(one.zones["tj"], Fresh) for one in seen] == [True] * 15 + [False] * 5
    tj = seen[-1].zones["tj"]
    assert isinstance(tj, Stale)
    assert "frozen" in tj.why
    assert seen[-1].hot.source == "stand_in"
    assert isinstance(judging.see(61.0, cpu=52.5, gpu=52.5, **power(45.0)).zones["tj"], Fresh)


def test_a_value_that_stands_still_while_its_neighbours_move_is_frozen():
    judging = Judging()
    seen = [judging.see(60.0, cpu=50.0 + min(n, 6), gpu=50.0 + 0.1 * n).zones["tj"] for n in range(40)]
    assert isinstance(seen[-1], Stale)


def test_a_quiet_night_freezes_nothing():
    judging = Judging()
    for number in range(2000):
        assert isinstance(judging.see(40.0, **power(15.0 + number % 3)).zones["tj"], Fresh)


def test_an_old_look_is_no_look_and_one_from_the_future_neither():
    sample = look(100, {"tj": 60.0, "cpu": 50.0, "gpu": 50.0})
    for now_s, kind in ((100, Fresh), (103, Fresh), (104, Failed), (99, Failed)):
        _, readings = judge(RULES, JudgeState(), sample, now_s * NS)
        assert isinstance(readings.zones["tj"], kind), now_s


def test_the_sum_of_rails_is_fresh_only_when_each_is():
    judging = Judging()
    both = {"a": Raw(20.0), "b": Raw(-0.2)}
    assert judging.see(60.0, power_w=both).power_w == Fresh(20.0, 101 * NS)
    assert isinstance(judging.see(60.0, power_w={"a": Raw(20.0)}).power_w, Stale)
    judging.at_s += 5
    assert isinstance(judging.see(60.0, power_w={"a": Raw(20.0), "b": EIO}).power_w, Failed)
    assert Judging().see(60.0).power_w is None


def test_an_ambient_sensor_that_was_there_is_missed():
    judging = Judging()
    assert judging.see(60.0).ambient_c is None
    assert judging.see(60.0, ambient_c=Raw(25.0)).ambient_c == Fresh(25.0, 102 * NS)
    judging.at_s += 5
    assert isinstance(judging.see(60.0).ambient_c, Failed)
