"""The core's rules, one by one; what they come to over a match is in test_simulation.py."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock.core import OFFSETS, PATIENCE, ClockCore, ClockEvent, ClockPolicy, ServoView
from agent.clock.mapping import Mapping, Pair
from touchline.timeline import ClockState, Timebase

START_NS = 1_800_000_000_000_000_000
S_NS = 1_000_000_000
POLICY = ClockPolicy(limit_ns=1_000, servo_ns=200.0)
GOOD = ServoView(0, True, "gm-a", 0.0)
CARRIED = ServoView(0, True, "gm-a", None)
LOST = ServoView(0, False, "gm-a", None, "the port is LISTENING")


class Life:
    """A core with a second hand; time moves a second per sample, on a perfect clock unless told otherwise."""

    def __init__(self, policy: ClockPolicy = POLICY, epoch: int = 0) -> None:
        self.core = ClockCore(policy, epoch)
        self.second = 0
        self.events: list[ClockEvent] = []

    def pair(self, off_ns: int = 0) -> Pair:
        base_ns = (self.second + 1) * S_NS
        return Pair(base_ns, START_NS + base_ns + off_ns, 5.0)

    def go(self, seconds: int, view: ServoView = GOOD, off_ns: int = 0, *, silent: bool = False) -> ClockState:
        for _ in range(seconds):
            now = replace(view, at_ns=(self.second + 1) * S_NS)
            self.core.servo(now)
            if not silent:
                self.core.sample({Timebase.MONOTONIC: self.pair(off_ns)}, now)
            self.second += 1
            self.events += self.core.look(None if not self.mapped else self.mapping.at(self.second * S_NS))
        return self.core.state

    @property
    def mapped(self) -> bool:
        return Timebase.MONOTONIC in self.core.mappings

    @property
    def mapping(self) -> Mapping:
        return self.core.mappings[Timebase.MONOTONIC]

    def ptp_error_ns(self) -> int:
        base_ns = self.second * S_NS
        return self.mapping.ptp_at(base_ns) - START_NS - base_ns

    def said(self, code: str) -> list[str]:
        return [event.text for event in self.events if event.code == code]


def test_it_locks_and_begins_the_first_epoch():
    life = Life()
    assert not life.mapped
    assert life.go(40) is ClockState.LOCKED
    assert life.core.epoch == life.mapping.epoch == 1
    assert life.said("clock_locked")
    assert life.core.grandmaster == "gm-a"


def test_a_later_life_of_the_process_goes_on_from_the_last_epoch():
    life = Life(epoch=7)
    life.go(40)
    assert life.mapping.epoch == 8


def test_nothing_is_mapped_while_the_servo_is_not_locked():
    life = Life()
    assert life.go(40, LOST) is ClockState.UNLOCKED
    assert not life.mapped
    assert life.core.ignored == 40
    assert life.go(40, replace(GOOD, offset_ns=201.0)) is ClockState.UNLOCKED
    assert not life.mapped


def test_a_servo_that_lets_go_means_holdover_and_then_unlocked():
    life = Life()
    life.go(60)
    assert life.go(1, LOST) is ClockState.HOLDOVER
    bounds = [life.mapping.bound_at(life.mapping.newest_ns + age * S_NS) for age in range(120)]
    assert bounds == sorted(bounds)
    assert life.go(120, LOST) is ClockState.UNLOCKED
    assert life.core.epoch == 1
    assert "1,000 allowed" in life.said("clock_unlocked")[0]


def test_pairs_that_stop_mean_holdover_without_any_word():
    life = Life()
    life.go(60)
    assert life.go(5, silent=True) is ClockState.HOLDOVER


def test_an_outlier_is_left_out_and_counted_and_no_epoch():
    life = Life()
    life.go(60)
    assert life.go(1, off_ns=50_000) is ClockState.LOCKED
    assert life.go(2) is ClockState.LOCKED
    assert life.core.outliers == 1
    assert life.core.epoch == 1
    assert abs(life.ptp_error_ns()) < 5


@pytest.mark.parametrize("step_ns", [3_000, -50_000, 1_500_000_000, -37_000_000_000])
def test_a_step_that_stays_is_a_new_epoch_and_the_old_time_holds_over_until_then(step_ns: int):
    life = Life()
    life.go(60)
    state = life.go(4, off_ns=step_ns)
    assert state is ClockState.HOLDOVER
    assert life.mapping.epoch == 1
    assert abs(life.ptp_error_ns()) < 5  # still on the old time
    assert life.go(40, off_ns=step_ns) is ClockState.LOCKED
    assert life.core.epoch == life.mapping.epoch == 2
    assert life.ptp_error_ns() == pytest.approx(step_ns, abs=5)
    assert f"{step_ns:+,d} ns" in life.said("clock_epoch")[0]


def test_a_hardware_clock_that_is_reset_and_brought_back_is_an_epoch_on_the_same_time():
    life = Life()
    life.go(60)
    assert life.go(5, replace(LOST), off_ns=1_500_000_000) is ClockState.HOLDOVER
    assert len(life.said("clock_step")) == 1
    life.go(OFFSETS + 2)
    assert life.core.state is ClockState.LOCKED
    assert life.core.epoch == 2
    assert abs(life.ptp_error_ns()) < 5


def test_a_reset_between_two_pairs_is_known_from_the_servos_word():
    life = Life()
    life.go(60)
    life.core.servo(replace(GOOD, at_ns=life.second * S_NS + 1, offset_ns=5e9))
    assert life.go(1, silent=True) is ClockState.HOLDOVER
    life.go(OFFSETS + 2)
    assert life.core.state is ClockState.LOCKED
    assert life.core.epoch == 2
    assert len(life.said("clock_step")) == 1


def test_a_reset_that_makes_ptp4l_let_go_at_once_is_known_from_its_offset():
    life = Life()
    life.go(60)
    life.core.servo(replace(LOST, at_ns=life.second * S_NS + 1, offset_ns=5e9))
    life.go(OFFSETS + 2)
    assert life.core.state is ClockState.LOCKED
    assert life.core.epoch == 2
    assert len(life.said("clock_step")) == 1


def test_a_step_that_is_taken_back_at_once_is_an_epoch_too():
    life = Life()
    life.go(60)
    life.go(4, off_ns=30_000)
    life.go(6)
    assert life.core.epoch == 2
    assert abs(life.ptp_error_ns()) < 5


def test_another_grandmaster_is_a_new_epoch_even_when_its_time_agrees():
    life = Life()
    life.go(60)
    other = replace(GOOD, grandmaster="gm-b")
    assert life.go(3, other) is ClockState.HOLDOVER
    assert life.core.grandmaster == "gm-a"
    assert life.go(40, other) is ClockState.LOCKED
    assert life.core.epoch == 2
    assert life.core.grandmaster == "gm-b"
    assert "gm-a -> gm-b" in life.said("clock_grandmaster")[0]


def test_a_grandmaster_that_changes_back_before_it_is_learnt_changes_nothing_for_good():
    life = Life()
    life.go(60)
    life.go(3, replace(GOOD, grandmaster="gm-b"))
    assert life.go(60) is ClockState.LOCKED
    assert life.core.grandmaster == "gm-a"
    assert abs(life.ptp_error_ns()) < 5


def test_the_servos_offsets_and_the_asymmetry_are_part_of_the_bound():
    quiet, restless, uncertain = Life(), Life(), Life(replace(POLICY, extra_ns=300.0))
    quiet.go(60)
    restless.go(60, replace(GOOD, offset_ns=100.0))
    uncertain.go(60)
    assert restless.mapping.bound_ns > quiet.mapping.bound_ns + 200
    assert uncertain.mapping.bound_ns == pytest.approx(quiet.mapping.bound_ns + 300, abs=1)


def test_one_word_of_the_servo_counts_once():
    life = Life()
    for _ in range(20):
        life.core.servo(replace(GOOD, at_ns=5, offset_ns=100.0))
    life.core.servo(replace(GOOD, at_ns=6, offset_ns=0.0))
    assert life.core.servo_rms_ns == pytest.approx(100 / 2**0.5)


def test_pairs_that_carry_the_offset_need_no_servo():
    life = Life()
    assert life.go(40, replace(GOOD, offset_ns=None)) is ClockState.LOCKED


def test_after_a_long_gap_the_fit_begins_anew_on_the_same_epoch():
    life = Life(replace(POLICY, limit_ns=10_000_000))
    life.go(60)
    life.go(60, LOST, silent=True)
    assert life.go(1, off_ns=400) is ClockState.HOLDOVER
    assert len(life.core.fits[Timebase.MONOTONIC]) == 1
    life.go(40, off_ns=400)
    assert life.core.epoch == 1
    assert life.ptp_error_ns() == pytest.approx(400, abs=5)


def test_every_timebase_has_its_own_line_and_one_epoch():
    core = ClockCore(POLICY)
    for second in range(1, 40):
        base_ns = second * S_NS
        sample = {
            Timebase.TSC: Pair(base_ns + round(base_ns * 1e-5), START_NS + base_ns, 17.6),
            Timebase.MONOTONIC: Pair(base_ns, START_NS + base_ns, 500.0),
        }
        core.servo(replace(GOOD, at_ns=base_ns))
        core.sample(sample, replace(GOOD, at_ns=base_ns))
    tsc, monotonic = core.mappings[Timebase.TSC], core.mappings[Timebase.MONOTONIC]
    assert tsc.rate_ppb == pytest.approx(-1e4, abs=1)
    assert monotonic.rate_ppb == pytest.approx(0, abs=1)
    assert tsc.bound_ns + 400 < monotonic.bound_ns
    assert tsc.epoch == monotonic.epoch == 1


def test_a_timebase_whose_pairs_come_seldom_is_waited_for_on_a_new_timeline():
    core, epochs = ClockCore(POLICY), []
    for second in range(1, 120):
        base_ns = second * S_NS
        moved_ns = 50_000 if second > 50 else 0
        sample = {Timebase.MONOTONIC_RAW: Pair(base_ns, START_NS + base_ns + moved_ns, 5.0)}
        if second % 2:
            sample[Timebase.TSC] = Pair(base_ns, START_NS + base_ns + moved_ns, 9.0)
        core.servo(replace(GOOD, at_ns=base_ns))
        core.sample(sample, replace(GOOD, at_ns=base_ns))
        if second > 30:
            assert set(core.mappings) == {Timebase.MONOTONIC_RAW, Timebase.TSC}, second
        epochs.append({mapping.epoch for mapping in core.mappings.values()})
    assert epochs[-1] == {2}
    assert all(len(one) <= 1 for one in epochs)


def test_a_timebase_that_is_gone_is_not_waited_for_for_ever():
    core = ClockCore(POLICY)
    for second in range(1, 120):
        base_ns = second * S_NS
        moved_ns = 50_000 if second > 50 else 0
        sample = {Timebase.MONOTONIC_RAW: Pair(base_ns, START_NS + base_ns + moved_ns, 5.0)}
        if second <= 50:
            sample[Timebase.TSC] = Pair(base_ns, START_NS + base_ns, 9.0)
        core.servo(replace(GOOD, at_ns=base_ns))
        core.sample(sample, replace(GOOD, at_ns=base_ns))
    assert set(core.mappings) == {Timebase.MONOTONIC_RAW}
    assert core.epoch == 2


def test_a_step_and_then_another_grandmaster_is_one_new_timeline():
    life = Life()
    life.go(60)
    life.go(3, off_ns=40_000)
    other = replace(GOOD, grandmaster="gm-b")
    life.go(40, other)
    assert life.core.epoch == 2
    assert life.core.grandmaster == "gm-b"


def test_a_great_offset_does_not_widen_the_gate():
    life = Life()
    life.go(60)
    life.core.servo(replace(GOOD, at_ns=life.second * S_NS + 1, offset_ns=5e9))
    assert life.core.servo_rms_ns == 0.0
    life.go(4, off_ns=30_000)
    assert life.ptp_error_ns() == pytest.approx(0, abs=5)


def test_a_path_that_changed_is_part_of_the_bound():
    still, moved = Life(), Life()
    still.go(60)
    moved.go(60, replace(GOOD, path_doubt_ns=400.0))
    assert moved.mapping.bound_ns == pytest.approx(still.mapping.bound_ns + 400, abs=1)


_WORDS = st.builds(
    ServoView,
    at_ns=st.integers(0, 10**12),
    follows=st.booleans(),
    grandmaster=st.sampled_from(["gm-a", "gm-b"]),
    offset_ns=st.one_of(st.none(), st.floats(-500.0, 500.0)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_WORDS, st.sampled_from([0, 0, 0, 0, 90, 5_000, 10**9])), max_size=80))
def test_epochs_only_grow_and_a_mapping_is_never_taken_away(lives: list[tuple[ServoView, int]]):
    life, epoch, mapped = Life(), 0, False
    for view, off_ns in lives:
        life.go(1, view, off_ns)
        assert life.core.epoch >= epoch
        epoch = life.core.epoch
        assert life.mapped or not mapped
        mapped = life.mapped
        if mapped and not view.follows:
            assert not life.mapping.locked


def quick(life: Life, offs_ns: list[int], view: ServoView = CARRIED) -> None:
    """Pairs that carry the offset, four a second, as with software stamps."""
    for off_ns in offs_ns:
        base_ns = life.second * S_NS // 4 + S_NS
        now = replace(view, at_ns=base_ns)
        life.core.servo(now)
        life.core.sample({Timebase.MONOTONIC: Pair(base_ns, START_NS + base_ns + off_ns, 100.0)}, now)
        life.second += 1
        life.events += life.core.look(life.mapping.at(base_ns) if life.mapped else None)


NOISE = [40, -60, 20, 90, -30, -80, 70, 10]


def test_a_bad_moment_that_spoils_several_pairs_is_no_step():
    life = Life(replace(POLICY, limit_ns=200_000))
    quick(life, NOISE * 6)
    quick(life, [11_000, 10_800, 9_000])
    quick(life, NOISE)
    assert life.said("clock_step") == []
    assert life.core.epoch == 1
    assert life.core.outliers == 3


def test_a_step_is_known_after_a_second_however_quick_the_pairs():
    life = Life(replace(POLICY, limit_ns=200_000))
    quick(life, NOISE * 6)
    quick(life, [off_ns + 50_000 for off_ns in NOISE[:5]])
    assert len(life.said("clock_step")) == 1


def test_a_path_that_was_in_doubt_is_in_the_bound_as_long_as_its_pairs_are_in_the_line():
    life = Life(replace(POLICY, limit_ns=200_000))
    quick(life, NOISE * 6)
    before = life.mapping
    quick(life, NOISE, replace(CARRIED, path_doubt_ns=6_000.0))
    quick(life, NOISE)
    assert life.mapping.bound_ns > before.bound_ns + 5_900
    assert life.mapping.growth.rate_ppb > before.growth.rate_ppb + 3 * 6_000 / 8  # a line over 32 pairs of 8 s
    quick(life, NOISE * 4)
    assert life.mapping.bound_ns < before.bound_ns + 100


def test_the_doubts_of_one_master_are_not_those_of_the_next():
    life = Life(replace(POLICY, limit_ns=200_000))
    quick(life, NOISE * 6, replace(CARRIED, path_doubt_ns=6_000.0))
    quick(life, NOISE * 3, replace(CARRIED, grandmaster="gm-b", path_doubt_ns=500.0))
    assert life.core.epoch == 2
    assert life.mapping.bound_ns < 2_000


def two_clocks() -> Life:
    """A life that is locked on two timebases."""
    life = Life()
    for _ in range(40):
        pair = life.pair()
        life.core.sample({Timebase.MONOTONIC: pair, Timebase.TSC: pair}, GOOD)
        life.second += 1
    return life


def test_a_step_is_known_where_the_first_pair_off_the_line_has_no_fellow():
    """The device of the first one's timebase fell silent: the others tell among themselves how long it lasts."""
    life = two_clocks()
    life.core.sample({Timebase.TSC: life.pair(50_000)}, GOOD)
    for _ in range(3):
        life.second += 1
        life.core.sample({Timebase.MONOTONIC: life.pair(50_000)}, GOOD)
    assert [event.code for event in life.core.look(None)].count("clock_step") == 1


def test_pairs_off_the_line_are_not_gathered_without_end():
    """A reading that stands still shows no time between them."""
    life = two_clocks()
    waiting = []
    for _ in range(5 * PATIENCE):
        life.core.sample({Timebase.MONOTONIC: life.pair(50_000)}, GOOD)
        waiting.append(len(life.core._suspects))
    assert max(waiting) < PATIENCE
    assert [event.code for event in life.core.look(None)].count("clock_step") == 1
