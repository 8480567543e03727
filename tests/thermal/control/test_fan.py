"""Supervision of the fan: standing, slow, unreadable, and a register that somebody else writes."""

from dataclasses import replace
from typing import Any

from tests.thermal.control.bench import NS, SETTINGS, Running
from thermal.types import Failed, Fresh, Stale


def rpm(running: Running, value: float) -> dict[str, Any]:
    return {"fan_rpm": Fresh(value, running.now_ns() + NS)}


def test_a_rotor_at_rest_is_kicked():
    running = Running()
    assert running.tick(40.0, **rpm(running, 0.0)).duty_pct == SETTINGS.kick_duty_pct
    assert running.tick(40.0, **rpm(running, 1700.0)).duty_pct < SETTINGS.kick_duty_pct


def test_a_fan_that_stands_while_driven_is_a_fault_at_full_duty():
    running = Running()
    running.run(60, 60.0)
    for _ in range(5):
        running.tick(60.0, **rpm(running, 0.0))
        assert "fan_stalled" not in running.codes
    assert running.tick(60.0, **rpm(running, 0.0)).duty_pct == 100.0
    assert "fan_stalled" in running.codes
    assert "fan_slow" not in running.codes


def test_a_stall_ends_when_the_fan_turned_for_a_while():
    running = Running()
    for _ in range(10):
        running.tick(60.0, **rpm(running, 0.0))
    running.run(5, 60.0)
    assert "fan_stalled" in running.codes
    running.run(2, 60.0)
    assert running.codes == set()


def test_a_stall_outlasts_a_tachometer_that_fails():
    running = Running()
    for _ in range(10):
        running.tick(60.0, **rpm(running, 0.0))
    running.run(30, 60.0, fan_rpm=Failed(0, "EIO"))
    assert {"fan_stalled", "tachometer"} <= running.codes


def test_a_standing_fan_caps_the_clocks_at_the_set_point():
    running = Running()
    for _ in range(10):
        assert running.tick(60.0, **rpm(running, 0.0)).cap_level == 0
    assert running.tick(SETTINGS.set_point_c, **rpm(running, 0.0)).cap_level == SETTINGS.lowest


def test_a_tachometer_that_cannot_be_read_is_full_duty_and_one_late_look_is_not():
    running = Running()
    running.run(60, 40.0)
    assert running.tick(40.0, fan_rpm=Stale(900.0, running.now_ns(), "EIO")).duty_pct == 30.0
    assert running.tick(40.0, fan_rpm=Failed(0, "EIO")).duty_pct == 100.0
    assert "tachometer" in running.codes


def test_a_frozen_tachometer_is_full_duty_and_named():
    running = Running()
    running.run(60, 40.0)
    frozen = Stale(900.0, running.now_ns(), "frozen at 900: the duty moved 10 s ago, it did not")
    assert running.tick(40.0, fan_rpm=frozen).duty_pct == 30.0  # a look that is only late
    assert running.run(4, 40.0, fan_rpm=frozen).duty_pct == 100.0
    assert [(fault.code, "frozen at 900" in fault.text) for fault in running.faults] == [("tachometer", True)]


def test_a_fan_without_tachometer_is_not_supervised():
    running = Running(replace(SETTINGS, tachometer=False))
    assert running.run(60, 40.0, fan_rpm=Failed(0, "ENOENT")).duty_pct == 30.0
    assert running.codes == set()


def test_far_fewer_rpm_than_the_duty_stands_for_is_a_warning():
    running = Running()
    for _ in range(30):
        running.tick(65.0, **rpm(running, 1200.0))
    assert running.codes == {"fan_slow"}


def test_a_register_that_somebody_else_writes_is_said():
    running = Running()
    running.run(30, 60.0)
    running.tick(60.0, duty_pct=Fresh(0.4, running.now_ns() + NS))
    assert "fan_taken" not in running.codes
    running.run(2, 60.0, duty_pct=Fresh(0.4, running.now_ns() + NS))
    taken = next(fault for fault in running.faults if fault.code == "fan_taken")
    assert taken.severity.value == "alarm"
    running.run(1, 60.0)
    assert running.codes == set()


def test_a_register_that_reads_back_too_much_is_a_warning():
    running = Running()
    running.run(30, 40.0)
    running.run(4, 40.0, duty_pct=Fresh(80.0, running.now_ns()))
    assert [fault.severity.value for fault in running.faults] == ["warning"]
