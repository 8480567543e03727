"""Shaking is told from rest, knocks, lost samples and tilt."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermal.protect.shake import (
    REST_NS,
    Missed,
    Shaken,
    ShakeSettings,
    ShakeState,
    Vector,
    Verdict,
    deviation,
    forget,
    step,
)

MS = 1_000_000
REST: Vector = (0.0, 0.0, 1.0)
HARD: Vector = (0.0, 0.0, 2.0)
MAGNITUDE = ShakeSettings(learn=False)
LEARNT = ShakeSettings()
Looks = Iterable[Vector | Missed]


def run(
    settings: ShakeSettings, looks: Looks, state: ShakeState | None = None, at_ns: int = 0, period_ns: int = 20 * MS
) -> tuple[ShakeState, list[Verdict], int]:
    """Feed samples, one each period; returns the state, every verdict and the time of the next sample."""
    state, verdicts = state or ShakeState(), []
    for look in looks:
        state, verdict = step(settings, state, look, at_ns)
        verdicts.append(verdict)
        at_ns += period_ns
    return state, verdicts, at_ns


def first(verdicts: list[Verdict]) -> tuple[int, Shaken] | None:
    return next(((index, one.shaken) for index, one in enumerate(verdicts) if one.shaken is not None), None)


@pytest.mark.parametrize("settings", [MAGNITUDE, LEARNT])
def test_one_g_at_rest_is_no_shaking(settings):
    state, verdicts, _ = run(settings, [REST] * 5000)
    assert first(verdicts) is None
    assert state.deviation_g == 0.0
    assert verdicts[-1].rest


@pytest.mark.parametrize("settings", [MAGNITUDE, LEARNT])
def test_500_ms_above_the_limit_cut_and_not_a_sample_earlier(settings):
    _, verdicts, _ = run(settings, [REST] * 200 + [HARD] * 30)
    found = first(verdicts)
    assert found is not None
    index, shaken = found
    assert (index - 200) * 20 == 500
    assert shaken.lasted_ns == 500 * MS
    assert shaken.peak_g == pytest.approx(1.0)


def test_480_ms_are_not_enough():
    assert first(run(LEARNT, [REST] * 200 + [HARD] * 25 + [REST] * 100)[1]) is None


def test_exactly_the_limit_is_not_more_than_the_limit():
    assert first(run(MAGNITUDE, [(0.0, 0.0, 1.7)] * 100)[1]) is None
    assert first(run(MAGNITUDE, [(0.0, 0.0, 1.71)] * 100)[1]) is not None


def test_free_fall_counts():
    assert first(run(MAGNITUDE, [(0.0, 0.0, 0.0)] * 30)[1]) is not None


@pytest.mark.parametrize("missed", [5, 12, 25])
def test_a_missed_sample_does_not_end_the_shaking(missed):
    looks: list[Vector | Missed] = [HARD] * 30
    looks[missed] = Missed("EAGAIN")
    index, _ = first(run(MAGNITUDE, looks)[1]) or (0, None)
    assert index in (25, 26)


def test_a_late_machine_does_not_end_the_shaking():
    state, _, at_ns = run(MAGNITUDE, [HARD] * 10)
    _, verdicts, _ = run(MAGNITUDE, [HARD] * 20, state, at_ns + 150 * MS)
    assert first(verdicts) is not None


def test_two_knocks_half_a_second_apart_are_no_shaking():
    looks: list[Vector] = ([HARD] * 3 + [REST] * 22) * 20
    assert first(run(LEARNT, [REST] * 200 + looks)[1]) is None


@pytest.mark.parametrize(
    ("settings", "hz"),
    [(LEARNT, 2.0), *[(settings, hz) for settings in (LEARNT, MAGNITUDE) for hz in (5.0, 12.0, 24.0)]],
)
def test_an_oscillation_is_shaking_although_it_passes_through_zero(settings, hz):
    shake = [(0.0, 0.0, 1.0 + 2.5 * math.sin(2 * math.pi * hz * n * 0.02 + 0.3)) for n in range(100)]
    assert first(run(settings, [*[REST] * 200, *shake])[1]) is not None


def test_without_a_gap_every_sample_counts():
    strict = ShakeSettings(gap_ns=0, learn=False)
    assert first(run(strict, ([HARD] * 20 + [REST]) * 10)[1]) is None
    assert first(run(strict, [HARD] * 26)[1]) is not None


def test_sideways_0_8_g_is_seen_only_from_the_learnt_rest():
    sideways: list[Vector] = [(0.8, 0.0, 1.0)] * 60
    assert first(run(MAGNITUDE, [*[REST] * 200, *sideways])[1]) is None
    assert first(run(LEARNT, [*[REST] * 200, *sideways])[1]) is not None


def test_a_fallen_mast_is_shaken_until_it_is_reset_and_then_learns_how_it_stands():
    state, verdicts, at_ns = run(LEARNT, [*[REST] * 200, *[(1.0, 0.0, 0.0)] * 200])
    assert first(verdicts) is not None
    assert verdicts[-1].rest, "it lies still, so a person may reset it"
    _, verdicts, _ = run(LEARNT, [(1.0, 0.0, 0.0)] * 500, forget(state), at_ns)
    assert first(verdicts) is None


def test_rest_is_not_learnt_while_it_moves_nor_from_a_sensor_that_is_wrong():
    state, verdicts, _ = run(LEARNT, [(0.0, 0.0, 1.0 + 0.3 * (n % 2)) for n in range(500)])
    assert state.gravity is None
    assert not any(one.rest for one in verdicts)
    assert run(LEARNT, [(0.0, 0.0, 1.4)] * 500)[0].gravity is None


def test_rest_takes_two_seconds():
    _, verdicts, _ = run(LEARNT, [REST] * 200)
    assert next(index for index, one in enumerate(verdicts) if one.rest) == REST_NS // (20 * MS)


def test_a_lost_sensor_is_said_with_its_reason_and_is_back_at_once():
    state, verdicts, at_ns = run(LEARNT, [*[REST] * 10, *[Missed("axis x: No such device")] * 120])
    assert not verdicts[100].lost
    assert "No such device" in verdicts[-1].lost
    assert state.deviation_g is None
    assert not run(LEARNT, [REST], state, at_ns)[1][0].lost


def test_a_sensor_that_was_never_there_is_lost_too():
    assert "no IIO device" in run(LEARNT, [Missed("there is no IIO device")] * 101)[1][-1].lost


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf, 1e6])
def test_nonsense_is_a_missed_sample(nonsense):
    _, verdicts, _ = run(MAGNITUDE, [(0.0, nonsense, 1.0)] * 110)
    assert first(verdicts) is None
    assert "nonsense" in verdicts[-1].lost


vectors = st.tuples(*[st.floats(-4, 4)] * 3)
looks = st.lists(st.one_of(vectors, st.just(Missed("EIO"))), max_size=300)


@given(looks)
def test_a_cut_needs_five_samples_above_the_limit_within_its_run(found):
    state = ShakeState()
    above = 0
    for index, look in enumerate(found):
        gravity = state.gravity
        state, verdict = step(LEARNT, state, look, index * 20 * MS)
        above += not isinstance(look, Missed) and deviation(look, gravity) > LEARNT.limit_g
        if verdict.shaken is not None:
            assert above >= verdict.shaken.samples >= 5
            assert verdict.shaken.lasted_ns >= LEARNT.hold_ns
            above = 0


@given(st.lists(st.tuples(*[st.floats(-0.3, 0.3)] * 3), max_size=200))
def test_small_movements_never_cut(found):
    assert first(run(LEARNT, [(x, y, 1.0 + z) for x, y, z in found])[1]) is None


def test_a_sensor_that_takes_seconds_for_a_sample_is_as_good_as_lost():
    _, verdicts, _ = run(LEARNT, [REST] * 5, period_ns=2500 * MS)
    assert [bool(one.lost) for one in verdicts] == [False, False, True, True, True]
    assert "too slowly" in verdicts[-1].lost


def test_rest_outlives_a_missed_sample_but_no_silence():
    """A slow sensor misses most turns; a person who asks for a reset between two samples is not to be refused."""
    state, _, at_ns = run(LEARNT, [REST] * 200)
    state, verdicts, at_ns = run(LEARNT, [Missed("its read has not come back")] * 12, state, at_ns)
    assert all(verdict.rest for verdict in verdicts)
    _, verdicts, _ = run(LEARNT, [Missed("its read has not come back")] * 2, state, at_ns)
    assert not verdicts[-1].rest


# --- a sensor that repeats itself -----------------------------------------------------------------------------------

MINUTE_NS = 60_000 * MS
FROZEN = ShakeSettings(frozen_ns=MINUTE_NS)


def quantised(step_g: float, noise_g: float, seed: int) -> Callable[[], Vector]:
    """A part at rest: noise of the datasheet, in whole steps; the mean halfway between two, where least is seen."""
    source = random.Random(seed)

    def sample() -> Vector:
        x, y, z = (round(mean + source.gauss(0.0, noise_g) / step_g) * step_g for mean in (0.0, 0.0, round(1 / step_g)))
        return x, y, z

    return sample


def test_the_same_sample_for_long_is_a_frozen_sensor_until_it_moves():
    moves = [(0.0, 0.001 * (n % 2), 1.0) for n in range(100)]
    state, verdicts, at_ns = run(FROZEN, [*moves, *[REST] * 2998])
    assert not any(verdict.lost for verdict in verdicts)
    state, (verdict,), at_ns = run(FROZEN, [REST], state, at_ns + 60 * MS)
    assert verdict.frozen
    assert not verdict.rest
    assert verdict.lost == "frozen: the same sample to the last bit for 60 s"
    state, (missed,), at_ns = run(FROZEN, [Missed("x")], state, at_ns)
    assert missed.frozen, "a missed sample is no sign of life"
    _, (verdict,), _ = run(FROZEN, [(0.0, 0.001, 1.0)], state, at_ns)
    assert not verdict.lost


def test_frozen_above_the_limit_is_shaking_first():
    _, verdicts, _ = run(FROZEN, [REST, (0.0, 0.001, 1.0), *[HARD] * 200])
    assert first(verdicts) is not None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("step_g", "noise_g"),
    [(0.0039, 220e-6 * 50**0.5), (0.001, 220e-6 * 50**0.5), (3.9e-6, 25e-6 * 50**0.5)],
    ids=["10 bits of a LIS3DH", "its 12 bits", "ADXL355"],
)
def test_a_real_part_at_rest_never_repeats_itself_for_ten_seconds(step_g, noise_g, seed):
    sample = quantised(step_g, noise_g, seed)
    _, verdicts, _ = run(ShakeSettings(frozen_ns=10_000 * MS), [sample() for _ in range(20_000)])
    assert not any(verdict.frozen for verdict in verdicts)


@pytest.mark.parametrize("step_g", [0.016, 0.047, 0.19], ids=["8 bits of 2 g", "6 bits of 1.5 g", "8 bits of 16 g"])
def test_a_coarse_part_that_stands_still_is_never_called_frozen(step_g):
    carried = [(n % 3 * step_g, 0.0, round(1 / step_g) * step_g) for n in range(100)]
    _, verdicts, _ = run(FROZEN, [*carried, *[REST] * 20_000])
    assert not any(verdict.frozen for verdict in verdicts)


def test_it_is_not_judged_where_told():
    looks = [(0.0, 0.001, 1.0), *[REST] * 20_000]
    _, verdicts, _ = run(ShakeSettings(frozen_ns=0), looks)
    assert not any(verdict.frozen for verdict in verdicts)
