"""A tachometer that stands still while the duty moves is not believed; one that stands still with it is."""

import errno

from tests.thermal.judge.looks import Judging
from thermal.judge import Readings
from thermal.types import Failed, Fresh, Raw, Stale


def see(judging: Judging, rpm: float, duty_pct: float | None) -> Readings:
    duty = Raw(None, errno.EIO) if duty_pct is None else Raw(duty_pct)
    return judging.see(60.0 + 0.1 * (judging.at_s % 2), fan_rpm=Raw(rpm), duty_pct=duty)


def test_rpm_to_the_bit_while_the_duty_moves_by_far_is_frozen_ten_seconds_later():
    judging = Judging()
    for _ in range(100):
        assert isinstance(see(judging, 1500.0, 50.0).fan_rpm, Fresh)
    seen = [see(judging, 1500.0, 80.0).fan_rpm for _ in range(14)]
    assert [isinstance(one, Fresh) for one in seen] == [True] * 10 + [False] * 4
    assert isinstance(seen[-1], Stale)
    assert "frozen at 1500: the duty moved" in seen[-1].why
    assert isinstance(see(judging, 1530.0, 80.0).fan_rpm, Fresh)


def test_a_duty_that_creeps_that_far_counts_too():
    judging = Judging()
    seen = [see(judging, 1500.0, 50.0 + min(0.5 * second, 30.0)).fan_rpm for second in range(80)]
    assert isinstance(seen[45], Fresh)
    assert isinstance(seen[-1], Stale)


def test_a_coarse_tachometer_at_a_constant_duty_may_stand_still_for_hours():
    judging = Judging()
    assert all(isinstance(see(judging, 1500.0, 50.0 + second % 5).fan_rpm, Fresh) for second in range(7200))


def test_a_tachometer_that_follows_is_never_frozen():
    judging = Judging()
    for second in range(400):
        duty_pct = 30.0 if second % 100 < 50 else 100.0
        assert isinstance(see(judging, 30.0 * round(duty_pct), duty_pct).fan_rpm, Fresh)


def test_a_rotor_at_rest_is_no_frozen_tachometer():
    judging = Judging()
    assert all(isinstance(see(judging, 0.0, duty).fan_rpm, Fresh) for duty in [30.0] * 5 + [100.0] * 60)


def test_without_a_duty_that_can_be_read_nothing_is_known_to_have_moved():
    judging = Judging()
    for duty in [50.0] * 5 + [None] * 30:
        assert not isinstance(see(judging, 1500.0, duty).fan_rpm, Failed)
