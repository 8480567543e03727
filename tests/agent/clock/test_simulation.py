"""The issue's bars on a synthetic Orin: over 10^6 stamps the truth lies within the bound, and the bound is small."""

import numpy as np
import pytest

from hil.clock.orin import OrinSettings, SyntheticOrin, Trouble
from hil.clock.trial import HALF_S, TROUBLES, Trial, run_trial
from touchline.timeline import ClockState


@pytest.fixture(scope="module")
def matches() -> Trial:
    """Three halves of a match, each with every trouble."""
    trial = Trial()
    for seed in range(3):
        run_trial(SyntheticOrin(seed, HALF_S, troubles=TROUBLES), HALF_S, trial)
    return trial


def test_the_truth_lies_within_the_bound_in_every_state(matches: Trial):
    assert len(matches.column("errors")) >= 1_000_000
    for state in ClockState:
        assert matches.covered(state) >= 0.999, state


def test_the_bound_is_small_and_the_mapping_is_good_while_locked(matches: Trial):
    errors = np.abs(matches.column("errors", ClockState.LOCKED))
    bounds = matches.column("bounds", ClockState.LOCKED)
    assert len(errors) > 0.9 * len(matches.column("errors"))
    assert np.percentile(bounds, 99) <= 150
    assert np.percentile(errors, 99) <= 60


def test_the_last_pair_alone_is_worse_by_far(matches: Trial):
    peers = np.abs(matches.column("peers", ClockState.LOCKED))
    errors = np.abs(matches.column("errors", ClockState.LOCKED))
    assert np.percentile(peers, 99) > 20 * np.percentile(errors, 99)


def test_every_trouble_is_told_and_is_an_epoch(matches: Trial):
    assert sorted(matches.epochs) == [1, 2, 3, 4]
    codes = [event.code for at_s, event in matches.events]
    assert codes.count("clock_grandmaster") == 3
    assert codes.count("clock_epoch") == 9
    assert codes.count("clock_step") >= 6
    assert codes.count("clock_unlocked") >= 3  # the silence outlasts the limit


@pytest.mark.parametrize(
    "settings",
    [
        OrinSettings(jitter_ns=0.0),
        OrinSettings(jitter_ns=0.0, servo_ns=0.0, offset_noise_ns=0.0, warm_ppm=0.0, swing_ppm=0.0),
        OrinSettings(jitter_ns=200.0),
        OrinSettings(swing_ppm=0.9),
        OrinSettings(servo_ns=40.0, offset_noise_ns=30.0),
        OrinSettings(rate_ppm=100.0),
    ],
    ids=["no jitter", "nothing moves", "much jitter", "a degree in ten seconds", "a restless servo", "a poor crystal"],
)
def test_the_bound_holds_on_other_machines_too(settings: OrinSettings):
    trial = run_trial(SyntheticOrin(5, 900, settings, (Trouble(500.0, silent_s=20.0),)), 900, Trial())
    assert trial.covered() >= 0.999
