import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.clock.fit import MAX_PAIRS, MIN_TOLD, SETTLED, Model, PairFit
from agent.clock.mapping import Pair

START_NS = 1_800_000_000_000_000_000


def pair(at_s: float, rate_ppb: float = 0.0, *, off_ns: float = 0.0, bend_ppb_per_s: float = 0.0) -> Pair:
    rise_ns = rate_ppb * at_s + 0.5 * bend_ppb_per_s * at_s * at_s + off_ns
    base_ns = round(at_s * 1e9)
    return Pair(base_ns, START_NS + base_ns + round(rise_ns), 0.0)


def fitted(count: int, **how: float) -> PairFit:
    fit = PairFit()
    for at_s in range(count):
        fit.add(pair(float(at_s), **how))
    return fit


@settings(max_examples=30, deadline=None)
@given(st.floats(-20_000.0, 20_000.0), st.integers(12, 60))
def test_a_straight_line_is_found_to_the_rounding(rate_ppb: float, count: int):
    fit = fitted(count, rate_ppb=rate_ppb)
    line = fit.line(1.0)
    assert line.rate_ppb == pytest.approx(rate_ppb, abs=1.0)
    assert line.ptp_ns == pytest.approx(pair(count - 1.0, rate_ppb).ptp_ns, abs=1.5)
    assert fit.rms_ns < 2.0
    assert len(fit) == min(count, MAX_PAIRS)


def test_it_is_not_ready_before_it_has_foretold_enough():
    fit, ready_with = PairFit(), 0
    for at_s in range(20):
        fit.add(pair(float(at_s)))
        if fit.ready:
            ready_with = len(fit)
            break
    assert ready_with == 3 + MIN_TOLD


def test_a_bent_rate_is_followed_by_a_parabola_and_noise_by_a_long_line():
    assert fitted(80, rate_ppb=5_000.0, bend_ppb_per_s=30.0).model.degree == 2
    random = np.random.default_rng(1)
    fit = PairFit()
    for at_s in range(200):
        fit.add(pair(float(at_s), 5_000.0, off_ns=random.normal(0.0, 20.0)))
    assert fit.model == Model(1, 32)
    assert fit.slope_sigma_ppb == pytest.approx(20.0 / math.sqrt(32**3 / 12), rel=0.5)


def test_the_error_is_that_of_the_predictions():
    random = np.random.default_rng(2)
    fit, errors = PairFit(), []
    for at_s in range(400):
        one = pair(float(at_s), -3_000.0, off_ns=random.normal(0.0, 50.0))
        foretold = fit.error_of(one)
        if foretold is not None and at_s > 336:
            errors.append(foretold)
        fit.add(one)
    assert fit.rms_ns == pytest.approx(math.sqrt(np.mean(np.square(errors))) * (1 + 4 / 64), rel=0.25)


def test_few_predictions_widen_the_error_and_are_not_settled():
    random = np.random.default_rng(3)
    fit, widened = PairFit(), dict[int, float]()
    for at_s in range(90):
        fit.add(pair(float(at_s), off_ns=random.normal(0.0, 20.0)))
        widened[len(widened)] = fit.rms_ns if fit.ready else math.inf
        assert fit.settled == (at_s >= 3 + SETTLED - 1)
    assert widened[8] > 1.3 * np.mean([widened[at_s] for at_s in range(60, 90)]) / 1.2


@pytest.mark.parametrize("place", [0, 1, 3, 5])
def test_a_wild_pair_at_the_start_does_not_tilt_the_line(place: int):
    fit = PairFit()
    for at_s in range(8):
        fit.add(pair(float(at_s), 100.0, off_ns=1e6 if at_s == place else 0.0))
    error_ns = fit.error_of(pair(8.0, 100.0))
    assert error_ns is not None
    assert abs(error_ns) < 100.0


def test_heavy_tails_do_not_keep_it_from_being_ready():
    random = np.random.default_rng(4)
    fit = PairFit()
    for at_s in range(40):
        wild = at_s % 5 == 4
        fit.add(pair(float(at_s), off_ns=random.normal(0.0, 50.0) + (20_000.0 if wild else 0.0)))
        if fit.ready:
            break
    assert fit.ready
    assert at_s < 20
    error_ns = fit.error_of(pair(at_s + 1.0))
    assert error_ns is not None
    assert abs(error_ns) < 500.0


def test_a_wide_bracket_says_less():
    fit = PairFit()
    for at_s in range(40):
        wide = at_s % 4 == 0
        one = pair(float(at_s), off_ns=3_000.0 if wide else 0.0)
        fit.add(Pair(one.base_ns, one.ptp_ns, 5_000.0 if wide else 50.0))
    error_ns = fit.error_of(pair(40.0))
    assert error_ns is not None
    assert abs(error_ns) < 60.0


def test_an_older_pair_is_refused():
    fit = fitted(5)
    with pytest.raises(ValueError, match="not newer"):
        fit.add(pair(4.0))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 30.0), st.floats(-1e7, 1e7), st.floats(0.0, 1e5)), min_size=3, max_size=60))
@example([(1.0, 0.0, 0.0), (19.0, 0.0, 38586.0), (0.015625, 0.0, 0.0), (0.01, 1.0, 37607.0)])  # a singular matrix
def test_it_never_fails_and_never_says_nothing_finite(steps: list[tuple[float, float, float]]):
    fit, at_s = PairFit(), 0.0
    for gap_s, off_ns, half_ns in steps:
        at_s += gap_s
        one = pair(at_s, off_ns=off_ns)
        fit.add(Pair(one.base_ns, one.ptp_ns, half_ns))
        if fit.ready:
            line = fit.line(1.0)
            assert math.isfinite(line.rate_ppb)
            assert math.isfinite(fit.rms_ns)
            assert math.isfinite(fit.slope_sigma_ppb)


def learnt_after(off_ns: list[float], half_ns: float = 100.0) -> tuple[int, int]:
    """After how many pairs, four a second, there is a line and it has settled; the list's length where never."""
    fit, ready, most = PairFit(), 0, len(off_ns)
    for place, off in enumerate(off_ns, 1):
        one = pair(place * 0.25, 2_000.0, off_ns=off)
        fit.add(Pair(one.base_ns, one.ptp_ns, half_ns))
        ready = ready or (place if fit.ready else 0)
        if fit.settled:
            return ready, place
    return ready or most, most


def test_pairs_that_agree_by_chance_do_not_leave_out_all_that_follow():
    """Of noisy pairs some five lie on a line by chance; each later one is then far off it, and it is always one."""
    offs = [5.0, -3.0, 4.0, 0.0, -4.0, *([8_000.0, -7_000.0, 3_000.0, -9_000.0, 6_000.0] * 20)]
    ready, settled = learnt_after(offs)
    assert ready <= 20
    assert settled <= 40


@pytest.mark.parametrize("scale_ns", [300.0, 3_000.0, 30_000.0])
def test_any_noise_is_learnt_soon(scale_ns: float):
    for seed in range(120):
        random = np.random.default_rng(seed)
        ready, settled = learnt_after(list(random.normal(0.0, scale_ns, 160)))
        assert ready <= 30, seed
        assert settled <= 45, seed


def test_a_path_that_changes_while_it_is_learnt_is_learnt_anew():
    random = np.random.default_rng(7)
    ready, settled = learnt_after([*random.normal(0.0, 100.0, 5), *random.normal(-8_000.0, 500.0, 100)])
    assert ready <= 25
    assert settled <= 40


def test_errors_that_wander_tilt_the_line_by_no_more_than_it_says():
    """Errors of 1 us either way that come and go within the window: its residuals alone do not tell of all the tilt."""
    random, fit, beyond = np.random.default_rng(11), PairFit(), 0
    for at_s in range(300):
        wander_ns = 1_000.0 * math.copysign(1.0, math.sin(at_s / 7.0))
        fit.add(pair(float(at_s), 500.0, off_ns=wander_ns + random.normal(0.0, 60.0)))
        if fit.settled:
            tilted_ppb = abs(fit.line(1.0).rate_ppb - 500.0)
            beyond += tilted_ppb > 2.5 * fit.slope_sigma_ppb
            assert tilted_ppb <= fit.tilt_ppb(1_000.0) + 2.5 * fit.slope_sigma_ppb, at_s
    assert beyond > 10


def test_a_pair_that_the_line_does_not_heed_is_not_where_its_age_begins():
    """After a gap the pairs may be far from the line, and the line then goes through the gap unheld."""
    random, fit = np.random.default_rng(5), PairFit()
    for at_s in range(40):
        fit.add(pair(float(at_s), off_ns=random.normal(0.0, 20.0)))
    assert fit.heard_ns == fit.newest.base_ns == 39_000_000_000
    fit.add(pair(49.0, off_ns=100_000.0))
    assert (fit.heard_ns, fit.newest.base_ns) == (39_000_000_000, 49_000_000_000)
    for at_s in range(50, 90):
        fit.add(pair(float(at_s), off_ns=100_000.0 + random.normal(0.0, 20.0)))
    assert fit.heard_ns == fit.newest.base_ns
