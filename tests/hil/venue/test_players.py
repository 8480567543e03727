"""The match: deterministic, smooth, within human bounds, the truth at any instant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.venue.players import (
    AWAY,
    HOME,
    MAX_ACCELERATION_MPS2,
    MAX_PEOPLE,
    MAX_SPEED_MPS,
    OFFICIALS,
    PERIOD_S,
    Venue,
)

START_NS = 1_790_000_000_000_000_000
seeds = st.integers(0, 5)
moments = st.integers(0, 2**62)


def test_the_same_seed_and_time_give_the_same_match_in_any_order():
    one, other = Venue(3), Venue(3)
    forward = [one.state_at(START_NS + k * 40_000_000) for k in range(50)]
    backward = [other.state_at(START_NS + k * 40_000_000) for k in reversed(range(50))][::-1]
    for a, b in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(a.xy_m, b.xy_m)
        np.testing.assert_array_equal(a.stride_rad, b.stride_rad)
    assert not np.allclose(forward[0].xy_m, Venue(4).state_at(START_NS).xy_m)


@given(seeds, moments)
@settings(max_examples=60, deadline=None)
def test_speeds_and_places_stay_within_bounds(seed, ptp_ns):
    state = Venue(seed, MAX_PEOPLE).state_at(ptp_ns)
    assert np.linalg.norm(state.v_mps, axis=1).max() <= MAX_SPEED_MPS
    assert (state.xy_m > (-5.0, -7.0)).all()
    assert (state.xy_m < (110.0, 73.0)).all()
    np.testing.assert_allclose(np.linalg.norm(state.facing, axis=1), 1.0)


@given(seeds, moments)
@settings(max_examples=60, deadline=None)
def test_position_and_velocity_are_continuous_and_agree(seed, ptp_ns):
    venue = Venue(seed)
    step_ns = 1_000_000
    before, now, after = (venue.state_at(ptp_ns + k * step_ns) for k in (-1, 0, 1))
    slope = (after.xy_m - before.xy_m) / 2e-3
    np.testing.assert_allclose(slope, now.v_mps, atol=MAX_ACCELERATION_MPS2 * 1.5e-3)
    gained = np.linalg.norm(after.v_mps - now.v_mps, axis=1)
    assert gained.max() <= MAX_ACCELERATION_MPS2 * 1.01e-3


def test_the_match_repeats_without_a_jump():
    venue = Venue(1)
    period_ns = round(PERIOD_S * 1e9)
    last, first = venue.state_at(START_NS // period_ns * period_ns - 1), venue.state_at(0)
    np.testing.assert_allclose(last.xy_m, first.xy_m, atol=1e-6)
    turns = (last.stride_rad - first.stride_rad) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_nobody_stands_in_somebody_else_and_all_paces_occur(seed):
    venue = Venue(seed, MAX_PEOPLE)
    states = [venue.state_at(k * 200_000_000) for k in range(1200)]
    xy = np.stack([state.xy_m for state in states])
    apart = np.linalg.norm(xy[:, :, None] - xy[:, None], axis=3) + np.eye(MAX_PEOPLE) * 99
    assert apart.min() > 0.35
    speed = np.linalg.norm([state.v_mps for state in states], axis=2)
    low, median, high = np.percentile(speed, [10, 50, 95])
    assert low < 1.0 < median < 3.5 < high


@given(st.integers(1, MAX_PEOPLE))
@settings(deadline=None)
def test_any_number_of_people_keeps_identities(people):
    some, everybody = Venue(2, people).state_at(START_NS), Venue(2, MAX_PEOPLE).state_at(START_NS)
    np.testing.assert_array_equal(some.xy_m, everybody.xy_m[:people])
    np.testing.assert_array_equal(some.uuids, everybody.uuids[:people])
    assert len(np.unique(everybody.uuids, axis=0)) == MAX_PEOPLE


def test_two_teams_and_the_officials():
    venue = Venue(0, MAX_PEOPLE)
    assert [int((venue.team == team).sum()) for team in (HOME, AWAY, OFFICIALS)] == [11, 11, 4]
    assert venue.height_m.min() > 1.6
    assert venue.height_m.max() < 2.0


@pytest.mark.parametrize("people", [0, 27])
def test_too_few_or_too_many_people_are_refused(people):
    with pytest.raises(ValueError, match=r"1\.\.26"):
        Venue(0, people)
