import errno
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermal.plant.board import PlantBoard
from thermal.plant.profiles import Phase, Profile
from thermal.plant.sensors import GATED, RAILS, ZONES
from thermal.plant.troubles import KINDS, Trouble
from thermal.types import Board, Sample

BEGIN = 5_000_000_000_000
S = 1_000_000_000


def profile(*troubles: Trouble, load: float = 0.8, seconds: float = 600.0) -> Profile:
    return Profile("test", "a test", 25.0, 0.0, (Phase("play", seconds, load, 25.0),), troubles)


def after(board: PlantBoard, seconds: float) -> Sample:
    """Look twice a second until then; the last sample."""
    sample = board.sample(BEGIN)
    for tick in range(1, int(seconds * 2) + 1):
        sample = board.sample(BEGIN + tick * S // 2)
    return sample


def test_it_is_a_board_and_shows_every_name():
    board: Board = PlantBoard(profile())
    sample = board.sample(BEGIN)
    assert set(sample.zones_c) == {*ZONES, "tj"}
    assert set(sample.power_w) == set(RAILS)
    assert set(sample.clock_hz) == {"cpu", "gpu"}
    assert sample.ambient_c is not None and sample.ambient_c.value == pytest.approx(28.0, abs=2.0)
    assert all(raw.value is not None for raw in sample.zones_c.values())
    board.close()


def test_the_same_seed_is_the_same_run_and_another_is_another():
    runs = []
    for seed in (1, 1, 2):
        runs.append(after(PlantBoard(profile(), seed=seed), 60.0))
    assert runs[0] == runs[1] != runs[2]


def test_gated_zones_say_eagain_while_little_runs():
    sample = PlantBoard(profile(load=0.1)).sample(BEGIN)
    for name in GATED:
        assert sample.zones_c[name].errno == errno.EAGAIN
    assert sample.zones_c["tj"].value is not None


def test_zones_move_once_a_second_in_steps_of_a_thirty_second():
    board = PlantBoard(profile())
    seen = [board.sample(BEGIN + tick * S // 10).zones_c["tj"].value for tick in range(200)]
    changes = [tick for tick in range(1, 200) if seen[tick] != seen[tick - 1]]
    assert all(b - a >= 9 for a, b in pairwise(changes))
    assert all(value is not None and (value * 32) == int(value * 32) for value in seen)


def test_tj_is_never_below_cpu_and_gpu():
    board = PlantBoard(profile())
    for tick in range(120):
        zones = board.sample(BEGIN + tick * S).zones_c
        values = [zones[name].value for name in ("tj", "cpu", "gpu")]
        assert values[0] == max(value for value in values if value is not None)


def test_the_duty_is_written_in_255_steps_and_read_back():
    board = PlantBoard(profile())
    assert board.set_duty(50.0) is None
    assert board.sample(BEGIN).duty_pct.value == pytest.approx(50.2, abs=0.01)
    assert "101" in (board.set_duty(101.0) or "")


def test_take_and_give_back_are_full_speed():
    for call in ("take", "give_back"):
        board = PlantBoard(profile())
        assert getattr(board, call)() is None
        assert board.sample(BEGIN).duty_pct.value == 100.0


def test_caps_slow_the_clocks_and_take_power():
    board = PlantBoard(profile(load=1.0))
    before = after(board, 5.0)
    assert board.set_caps({"cpu": 1.1e9, "gpu": 0.65e9}) is None
    capped = board.sample(BEGIN + 6 * S)
    assert capped.clock_hz["cpu"].value == pytest.approx(1.1e9)
    assert total(capped) < total(before) - 10.0
    board.set_caps({})
    assert board.sample(BEGIN + 7 * S).clock_hz["gpu"].value == pytest.approx(1_300_500_000.0)


def total(sample: Sample) -> float:
    return sum(raw.value or 0.0 for raw in sample.power_w.values())


def test_failing_zones_come_back():
    board = PlantBoard(profile(Trouble("zone_errno", 10.0, 5.0)))
    assert after(board, 9.0).zones_c["tj"].value is not None
    broken = board.sample(BEGIN + 12 * S)
    assert {raw.errno for raw in broken.zones_c.values()} == {errno.EIO}
    assert board.sample(BEGIN + 16 * S).zones_c["tj"].value is not None


def test_a_zone_that_is_gone_frozen_zero_or_off():
    only = ("tj",)
    assert "tj" not in PlantBoard(profile(Trouble("zone_gone", 0.0, 9.0, only))).sample(BEGIN).zones_c
    zero = PlantBoard(profile(Trouble("zone_zero", 0.0, 9.0, only))).sample(BEGIN).zones_c["tj"]
    assert zero.value == 0.0
    board = PlantBoard(profile(Trouble("zone_frozen", 2.0, 60.0, only)))
    kept = after(board, 3.0).zones_c["tj"].value
    later = after(board, 50.0)
    assert later.zones_c["tj"].value == kept != later.zones_c["gpu"].value
    assert after(board, 70.0).zones_c["tj"].value != kept
    plain = PlantBoard(profile()).sample(BEGIN).zones_c["tj"].value
    spike = PlantBoard(profile(Trouble("zone_offset", 0.0, 9.0, only, 25.0))).sample(BEGIN).zones_c["tj"].value
    assert plain is not None and spike == plain + 25.0


def test_a_stalled_fan_and_a_weak_one():
    board = PlantBoard(profile(Trouble("fan_stalled", 10.0, 20.0)))
    board.set_duty(100.0)
    assert (after(board, 9.0).fan_rpm.value or 0) > 2800
    assert after(board, 29.0).fan_rpm.value == 0.0
    assert (after(board, 45.0).fan_rpm.value or 0) > 2800
    weak = PlantBoard(profile(Trouble("fan_weak", 0.0, 60.0, value=0.5)))
    weak.set_duty(100.0)
    assert after(weak, 30.0).fan_rpm.value == pytest.approx(1450.0, abs=60.0)


def test_a_dead_tachometer_a_refused_write_and_another_writer():
    assert PlantBoard(profile(Trouble("tach_errno", 0.0, 9.0))).sample(BEGIN).fan_rpm.errno == errno.EIO
    assert PlantBoard(profile(Trouble("tach_zero", 0.0, 9.0))).sample(BEGIN).fan_rpm.value == 0.0
    frozen = PlantBoard(profile(Trouble("tach_frozen", 10.0, 20.0)))
    frozen.set_duty(100.0)
    shown = after(frozen, 15.0).fan_rpm
    frozen.set_duty(30.0)
    assert after(frozen, 25.0).fan_rpm == shown
    assert (after(frozen, 40.0).fan_rpm.value or 0) == pytest.approx(870.0, abs=60.0)
    refused = PlantBoard(profile(Trouble("write_refused", 0.0, 9.0)))
    assert "pwm1" in (refused.set_duty(80.0) or "")
    other = PlantBoard(profile(Trouble("foreign_duty", 5.0, 60.0, value=0.4)))
    other.set_duty(60.0)
    assert after(other, 10.0).duty_pct.value == 0.4


def test_caps_that_are_ignored_rails_and_ambient_that_fail():
    broken = [Trouble(kind, 0.0, 60.0) for kind in ("caps_ignored", "rails_errno", "ambient_errno")]
    board = PlantBoard(profile(*broken))
    assert board.set_caps({"cpu": 1e9}) is None
    sample = board.sample(BEGIN)
    assert sample.clock_hz["cpu"].value == pytest.approx(2_201_600_000.0)
    assert {raw.errno for raw in sample.power_w.values()} == {errno.EIO}
    assert sample.ambient_c is not None and sample.ambient_c.errno == errno.EIO


@settings(max_examples=30, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(KINDS), max_size=4),
    duty=st.floats(0.0, 100.0),
    steps=st.lists(st.floats(0.01, 400.0), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
)
def test_whatever_breaks_the_physics_stays_finite_and_warm(kinds, duty, steps, seed):
    broken = [Trouble(kind, 1.0, 1e6, value=5.0 if kind.endswith("_errno") else 0.5) for kind in kinds]
    board = PlantBoard(profile(*broken), seed=seed)
    board.set_duty(duty)
    now = BEGIN
    for step in steps:
        now += int(step * S)
        sample = board.sample(now)
        assert 20.0 < board.state.box_c < board.state.sink_c < board.tj_c < 250.0
        assert 0.0 <= board.state.rpm <= 2900.0 + 1e-6
        assert sample.at_ns == now
