"""When silence is believed: the statistics, their floor and cap, and what must not disturb them."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.core.suspicion import ENOUGH, PHI_MOST, WINDOW, Suspicion, sigmas, unknown
from failover.core.types import NS_PER_MS

MS = NS_PER_MS


def fed(gaps_ns: list[int], phi: float = 8.0, beat_ns: int = 20 * MS, cap_ns: int = 60 * MS) -> Suspicion:
    suspicion = unknown(beat_ns, cap_ns, phi)
    for gap_ns in gaps_ns:
        suspicion = suspicion.heard(gap_ns)
    return suspicion


def test_the_cap_rules_until_enough_is_known():
    assert unknown(20 * MS, 60 * MS, 8.0).limit_ns == 60 * MS
    assert fed([20 * MS] * (ENOUGH - 1)).limit_ns == 60 * MS
    assert fed([20 * MS] * ENOUGH).limit_ns == 50 * MS


def test_two_beats_must_be_missing_however_regular_the_twin_was():
    assert fed([20 * MS] * 200, phi=1.0).limit_ns == 50 * MS


def test_irregular_beats_are_given_more_time_up_to_the_cap():
    rng = random.Random(1)
    little = fed([int(rng.gauss(20, 1) * MS) for _ in range(100)])
    more = fed([int(rng.gauss(20, 6) * MS) for _ in range(100)])
    most = fed([int(rng.uniform(10, 60) * MS) for _ in range(100)])
    assert 50 * MS == little.limit_ns < more.limit_ns < most.limit_ns == 60 * MS


@pytest.mark.parametrize("phi", [1.0, 3.0, 8.0, 16.0, 30.0])
def test_the_limit_is_where_phi_reaches_its_threshold(phi):
    rng = random.Random(2)
    suspicion = fed([int(rng.gauss(20, 3) * MS) for _ in range(100)], phi=phi, cap_ns=10_000 * MS)
    reached_ns = suspicion.mean_ns + sigmas(phi) * suspicion.deviation_ns
    assert suspicion.phi_at(int(reached_ns)) == pytest.approx(phi, rel=0.01)
    assert suspicion.limit_ns == max(50 * MS, int(reached_ns))


def test_phi_8_is_5_6_deviations():
    assert sigmas(8.0) == pytest.approx(5.612, abs=0.001)  # table of the normal distribution, upper tail 1e-8


def test_phi_grows_with_silence_and_stays_finite():
    suspicion = fed([20 * MS] * 50)
    said = [suspicion.phi_at(silent * MS) for silent in range(0, 200)]
    assert said == sorted(said)
    assert said[0] == pytest.approx(0.0, abs=1e-6)
    assert said[-1] == PHI_MOST


def test_bursts_and_outages_are_no_gaps():
    calm = fed([20 * MS] * 50)
    assert calm.heard(0) is calm
    assert calm.heard(9 * MS) is calm
    assert calm.heard(61 * MS) is calm
    assert calm.heard(2_000 * MS) is calm


def test_a_lost_beat_counts_and_is_forgotten_with_the_window():
    calm = fed([20 * MS] * WINDOW)
    shaken = calm.heard(40 * MS)
    assert shaken.deviation_ns > calm.deviation_ns
    healed = fed([40 * MS] + [20 * MS] * WINDOW)
    assert healed.mean_ns == 20 * MS
    assert len(healed.gaps_ns) == WINDOW


@given(st.lists(st.integers(0, 5_000 * MS), max_size=250), st.floats(1.0, 30.0))
def test_the_limit_never_leaves_its_bounds_and_the_sums_are_those_of_the_window(gaps_ns, phi):
    suspicion = fed(gaps_ns, phi=phi, cap_ns=70 * MS)
    assert 50 * MS <= suspicion.limit_ns <= 70 * MS
    assert suspicion.total_ns == sum(suspicion.gaps_ns)
    assert suspicion.squares == sum(gap * gap for gap in suspicion.gaps_ns)
    assert 0.0 <= suspicion.phi_at(1_000 * MS) <= PHI_MOST


def test_settings_with_a_cap_below_the_floor_obey_the_cap():
    assert fed([20 * MS] * 50, cap_ns=40 * MS).limit_ns == 40 * MS
