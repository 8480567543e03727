"""The judge of the film: even times pass, every way of doctoring them is found, in the trial in which it happened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.failover.recording import BEHIND_NS, SLACK_NS, Stretch, Window, judge_film, judge_steps, judge_stretches

PERIOD_NS = 40_000_000
EVEN = [number * PERIOD_NS for number in range(100)]
TRIALS = [Stretch(10 * PERIOD_NS - 5), Stretch(50 * PERIOD_NS + 5), Stretch(80 * PERIOD_NS)]


def found(times_ns: list[int], spared: Window | None = None) -> str:
    return "; ".join(judge_steps(times_ns, PERIOD_NS, spared).violations)


@given(st.lists(st.integers(-SLACK_NS // 2, SLACK_NS // 2), min_size=100, max_size=100))
def test_an_even_film_passes(errors_ns: list[int]):
    times_ns = [even + error for even, error in zip(EVEN, errors_ns, strict=True)]
    assert found(times_ns) == ""
    assert all(steps.violations == () for steps in judge_stretches(times_ns, PERIOD_NS, TRIALS))
    assert judge_film(times_ns, 100, [], EVEN[-1]) == ()


@given(st.integers(1, 98))
def test_a_missing_picture_fails_unless_nobody_could_record(number: int):
    times_ns = EVEN[:number] + EVEN[number + 1 :]
    assert "a step of 80.0 ms" in found(times_ns)
    spared = EVEN[number] - 1, EVEN[number] + 1
    assert found(times_ns, spared) == ""
    assert judge_steps(times_ns, PERIOD_NS, spared).spared_ms == 80.0
    assert judge_steps(times_ns, PERIOD_NS, spared).step_max_ms <= 40.0
    assert found(times_ns, (EVEN[-1] + 1, EVEN[-1] + 2)) != ""


@given(st.integers(1, 98))
def test_a_picture_twice_or_back_in_time_fails(number: int):
    assert "time goes back" in found([*EVEN[:number], EVEN[number - 1], *EVEN[number:]])


@pytest.mark.parametrize(
    ("number", "trial"),
    [(3, None), (9, None), (10, None), (11, 0), (49, 0), (50, 0), (51, 0), (52, 1), (79, 1), (80, 1), (81, 2), (98, 2)],
)
def test_a_gap_is_that_of_the_trial_in_which_it_begins(number: int, trial: int | None):
    steps = judge_stretches(EVEN[:number] + EVEN[number + 1 :], PERIOD_NS, TRIALS)
    assert [bool(one.violations) for one in steps] == [at == trial for at in range(3)]
    assert [one.step_max_ms for one in steps] == [80.0 if at == trial else 40.0 for at in range(3)]


def test_what_one_trial_spares_does_not_excuse_another():
    spared = Stretch(TRIALS[0].begin_ns, (EVEN[20], EVEN[70]))
    lacking = [time_ns for at, time_ns in enumerate(EVEN) if at not in (30, 60)]
    own, after, _ = judge_stretches(lacking, PERIOD_NS, [spared, *TRIALS[1:]])
    assert own.violations == () and own.spared_ms == 80.0
    assert after.violations and after.spared_ms is None


@given(st.lists(st.integers(1, 98), unique=True), st.lists(st.integers(0, 98), min_size=1, max_size=5, unique=True))
def test_no_step_is_lost_between_trials(missing: list[int], begins: list[int]):
    times_ns = [time_ns for at, time_ns in enumerate(EVEN) if at not in missing]
    stretches = [Stretch(EVEN[at]) for at in sorted(begins)]
    steps = judge_stretches(times_ns, PERIOD_NS, stretches)
    behind = [one for one in times_ns if one >= stretches[0].begin_ns]
    assert max(one.step_max_ms for one in steps) == judge_steps(behind, PERIOD_NS).step_max_ms


def test_a_trial_without_a_picture_is_no_success():
    none = judge_stretches([time_ns for at, time_ns in enumerate(EVEN) if not 50 <= at < 80], PERIOD_NS, TRIALS)
    assert "a step of 1240.0 ms" in none[0].violations[0]
    assert "no film to judge" in none[1].violations[0]
    assert found([]) and found([1]) and judge_film([], 0, [], 0)


def test_pictures_that_cannot_be_decoded_fail():
    assert "99 of 100 pictures" in judge_film(EVEN, 99, [], EVEN[-1])[0]
    assert judge_film(EVEN, 100, ["non-existing PPS"], EVEN[-1]) == (
        "recording: the decoder complains: non-existing PPS",
    )


def test_a_film_that_ends_too_early_fails():
    assert judge_film(EVEN, 100, [], EVEN[-1] + BEHIND_NS) == ()
    assert "it ends 3001 ms before" in judge_film(EVEN, 100, [], EVEN[-1] + BEHIND_NS + 1_000_000)[0]
