"""The clock ladder: when it goes down, how far, and how it comes back."""

from itertools import pairwise
from typing import Any

import pytest

from tests.thermal.control.bench import NS, SETTINGS, Running
from thermal.control import caps, undriven
from thermal.types import Command, Failed, Fresh

EVERY = SETTINGS.cap_every_ns // NS
RELEASE = SETTINGS.release_every_ns // NS


def test_levels_are_rungs_and_the_last_resort():
    assert caps(SETTINGS, 0) == {}
    assert caps(SETTINGS, 1) == {"cpu": 1958.4e6, "gpu": 1134.75e6}
    assert caps(SETTINGS, SETTINGS.lowest) == {"cpu": 729.6e6, "gpu": 420.75e6}
    assert caps(SETTINGS, SETTINGS.last) == caps(SETTINGS, 99) == {"cpu": 268.8e6, "gpu": 114.75e6}


def test_no_cap_while_the_fan_can_give_more():
    assert Running().run(600, 65.9).cap_level == 0
    assert Running().run(600, 69.9).cap_level == 0


def test_a_rung_each_interval_while_the_fan_is_at_its_limit_and_it_stays_too_hot():
    running = Running()
    assert running.run(5, 71.0).cap_level == 0
    assert running.run(1, 71.0).cap_level == 1
    for level in range(2, SETTINGS.lowest + 1):
        assert running.run(EVERY, 71.0).cap_level == level
    assert running.run(600, 71.0).cap_level == SETTINGS.lowest


def test_a_rung_that_works_is_given_time():
    running = Running()
    running.run(6, 72.0)
    levels = [running.tick(72.0 - 0.08 * second).cap_level for second in range(20)]
    assert set(levels) == {1}


def test_too_hot_for_two_looks_is_the_lowest_rung_at_once():
    running = Running()
    running.run(30, 60.0)
    assert running.tick(74.0).cap_level == 0
    assert running.tick(74.0).cap_level == 0
    assert running.tick(74.0).cap_level == SETTINGS.lowest
    assert "too_hot" in running.codes


def test_a_spike_of_one_look_costs_no_clocks():
    running = Running()
    running.run(30, 60.0)
    running.tick(110.0)
    assert running.run(30, 60.0).cap_level == 0


def test_the_last_resort_is_for_what_the_lowest_rung_does_not_hold():
    running = Running()
    running.run(3, 76.0)
    assert running.run(EVERY - 1, 76.0).cap_level == SETTINGS.lowest
    assert running.run(2, 76.0).cap_level == SETTINGS.last
    assert running.run(600, 76.0).cap_level == SETTINGS.last


def test_rungs_come_back_one_by_one_and_slowly():
    running = Running()
    running.run(6 + 2 * EVERY, 71.0)
    assert running.command.cap_level == 3
    seen = [running.tick(60.0).cap_level for _ in range(4 * RELEASE)]
    assert [seen.index(level) for level in (2, 1, 0)] == pytest.approx(
        [RELEASE + 1, 2 * RELEASE + 1, 3 * RELEASE + 1], abs=25
    )


def test_no_rung_comes_back_while_the_fan_is_at_its_limit_or_tj_is_not_fresh():
    running = Running()
    running.run(6, 71.0)
    assert running.run(600, 66.4).cap_level == 0  # below release_below_c, above the set point: at the limit in the end
    running.run(6, 71.0)
    assert running.run(600, 60.0, "stand_in").cap_level >= 1


def test_a_release_that_did_not_hold_makes_the_next_one_wait_longer():
    running = Running()
    waits = []
    for _ in range(7):
        while running.command.cap_level == 0:
            running.tick(71.0)
        begin = running.at_s
        while running.command.cap_level:
            running.tick(60.0)
        waits.append(running.at_s - begin)
    assert all(b > 1.5 * a for a, b in pairwise(waits[:4]))
    assert waits[-1] == pytest.approx(16 * RELEASE, abs=30)


def test_after_blindness_the_clocks_come_back_within_seconds():
    running = Running()
    running.run(60, 60.0)
    assert running.run(30, None).cap_level == SETTINGS.lowest
    assert running.run(9, 55.0).cap_level == SETTINGS.lowest
    assert running.run(1, 55.0).cap_level == 0


def test_a_cap_that_is_not_applied_is_a_fault_and_the_next_rung_is_tried():
    running = Running()
    running.run(6, 71.0)
    full: dict[str, Any] = {"clock_hz": {"cpu": Fresh(2201.6e6, 0), "gpu": Fresh(1300.5e6, 0)}}
    for second in range(EVERY):
        running.tick(71.0 - 0.1 * second, **full)
    ignored = next(fault for fault in running.faults if fault.code == "cap_ignored")
    assert ignored.severity.value == "alarm"
    assert running.run(2, 69.0, **full).cap_level >= 1
    running.run(EVERY, 70.5, **full)
    assert running.command.cap_level >= 2


def test_a_clock_that_runs_above_its_cap_has_three_seconds_and_two_percent():
    running = Running()
    running.run(6, 71.0)
    near: dict[str, Any] = {"clock_hz": {"cpu": Fresh(1.01 * 1958.4e6, 0), "gpu": Fresh(1134.75e6, 0)}}
    running.run(9, 70.5, **near)
    assert running.codes == {"capped"}
    above: dict[str, Any] = {"clock_hz": {"cpu": Fresh(2035.2e6, 0), "gpu": Fresh(1134.75e6, 0)}}  # the next step up
    running.run(3, 68.0, **above)
    assert running.codes == {"capped"}
    running.run(1, 68.0, **above)
    assert running.codes == {"capped", "cap_ignored"}


def test_a_fan_that_refuses_takes_the_clocks_and_they_are_watched():
    running = Running()
    running.run(60, 60.0)
    full: dict[str, Any] = {"clock_hz": {"cpu": Fresh(2201.6e6, 0), "gpu": Fresh(1300.5e6, 0)}}
    for _ in range(5):
        running.state, command = undriven(SETTINGS, running.state, running.command, running.now_ns())
        assert command == Command(running.command.duty_pct, SETTINGS.lowest)
        running.tick(60.0, **full)
    assert running.codes == {"capped", "cap_ignored"}
    assert "rung 6" in next(fault.text for fault in running.faults if fault.code == "cap_ignored")
    assert running.run(8, 60.0).cap_level == SETTINGS.lowest
    assert running.run(1, 60.0).cap_level == 0


def test_a_fan_that_refuses_takes_nothing_back_from_the_last_resort():
    running = Running()
    running.run(3 + EVERY, 76.0)
    assert running.command.cap_level == SETTINGS.last
    running.state, command = undriven(SETTINGS, running.state, running.command, running.now_ns())
    assert command.cap_level == SETTINGS.last


def test_a_cap_that_nobody_can_check_is_said():
    running = Running()
    running.run(6, 71.0)
    running.tick(71.0, clock_hz={"cpu": Fresh(1958.4e6, 0), "gpu": Failed(0, "ENOENT")})
    assert {fault.what for fault in running.faults if fault.code == "cap_unseen"} == {"gpu"}


def test_a_lower_cap_of_somebody_else_is_fine():
    running = Running()
    running.run(6, 71.0)
    running.run(8, 70.5, clock_hz={"cpu": Fresh(1.0e9, 0), "gpu": Fresh(0.6e9, 0)})
    assert running.codes == {"capped"}


def test_a_broken_tachometer_does_not_keep_the_clocks_capped():
    running = Running()
    running.run(6, 71.0)
    assert running.run(200, 60.0, fan_rpm=Failed(0, "EIO")).cap_level == 0
