"""The batched filter against a textbook 7 x 7 filter, and its own statistics (POS-3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.stats import chi2

from agent.track import Tracker
from agent.track.filter import Motion, correct, correct_scalar, predict
from tests.agent.track.scenes import located
from touchline.config import TrackSection

F64 = npt.NDArray[np.float64]
DENSITY = 0.35**2 * 25.0


def van_loan(dt_s: float) -> tuple[F64, F64]:
    """F and Q (7, 7) of x, y, vx, vy, ax, ay, h of the continuous model, by the matrix exponential (Van Loan)."""
    drift = np.zeros((7, 7))
    noise = np.zeros((7, 7))
    for axis in (0, 1):
        drift[axis, axis + 2] = drift[axis + 2, axis + 4] = 1.0
        noise[axis + 4, axis + 4] = DENSITY
    block = np.zeros((14, 14))
    block[:7, :7], block[:7, 7:], block[7:, 7:] = -drift, noise, drift.T
    out = expm(block * dt_s)
    transition = out[7:, 7:].T
    return transition, transition @ out[:7, 7:]


class Textbook:
    """One target, full matrices, nothing clever."""

    def __init__(self, state: F64, cov: F64, drift_m: float) -> None:
        self.state, self.cov, self.drift_m = state, cov, drift_m

    def predict(self, dt_s: float, matrix: F64, kinematic_noise: F64) -> None:
        transition, noise = np.eye(7), np.zeros((7, 7))
        transition[:6, :6], noise[:6, :6] = matrix, kinematic_noise
        noise[6, 6] = self.drift_m**2 * dt_s
        self.state = transition @ self.state
        self.cov = transition @ self.cov @ transition.T + noise

    def correct(self, measured: F64, noise: F64) -> None:
        pick = np.zeros((3, 7))
        pick[0, 0] = pick[1, 1] = pick[2, 6] = 1.0
        innovation_cov = pick @ self.cov @ pick.T + noise
        gain = self.cov @ pick.T @ np.linalg.inv(innovation_cov)
        self.state = self.state + gain @ (measured - pick @ self.state)
        keep = np.eye(7) - gain @ pick
        self.cov = keep @ self.cov @ keep.T + gain @ noise @ gain.T


@pytest.mark.parametrize("dt_s", [1.0 / 240.0, 0.04, 0.2, 5.0])
def test_motion_is_the_continuous_model(dt_s: float) -> None:
    matrix, noise = Motion(DENSITY).step(dt_s)
    true_matrix, true_noise = van_loan(dt_s)
    np.testing.assert_allclose(matrix, true_matrix[:6, :6], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(noise, true_noise[:6, :6], rtol=1e-9, atol=1e-18)


def test_process_noise_is_the_asked_change_of_acceleration_per_frame() -> None:
    _, noise = Motion(TrackSection().jerk_density).step(1.0 / 25.0)
    assert np.sqrt(noise[4, 4]) == pytest.approx(0.35)  # POS-3: 0.35 m/s2 at 25 Hz


@given(st.floats(1e-3, 10.0))
def test_two_half_steps_are_one_step(dt_s: float) -> None:
    half_matrix, half_noise = (part.copy() for part in Motion(DENSITY).step(dt_s / 2))
    matrix, noise = Motion(DENSITY).step(dt_s)
    np.testing.assert_allclose(half_matrix @ half_matrix, matrix, rtol=1e-12)
    np.testing.assert_allclose(half_matrix @ half_noise @ half_matrix.T + half_noise, noise, rtol=1e-12)


def test_batched_filter_is_the_textbook_filter() -> None:
    rng = np.random.default_rng(5)
    people, drift_m = 7, 0.01
    state = rng.normal(0.0, 5.0, (6, people))
    height, height_var = rng.uniform(1.6, 2.0, people), np.full(people, 0.04)
    root = rng.normal(0.0, 1.0, (people, 6, 6))
    cov = root @ root.transpose(0, 2, 1) + np.eye(6)
    book = []
    for i in range(people):
        full = np.zeros((7, 7))
        full[:6, :6], full[6, 6] = cov[i], height_var[i]
        book.append(Textbook(np.append(state[:, i], height[i]), full, drift_m))
    motion = Motion(DENSITY)
    for _ in range(60):
        dt_s = float(rng.uniform(0.004, 0.2))
        matrix, noise = motion.step(dt_s)
        state[:] = matrix @ state
        height_var += drift_m**2 * dt_s
        predict(cov, matrix, noise)
        used = rng.random(people) < 0.8
        shape = rng.normal(0.0, 0.3, (people, 2, 2))
        measured_cov = shape @ shape.transpose(0, 2, 1) + 1e-3 * np.eye(2)
        measured, tall = rng.normal(0.0, 5.0, (2, people)), rng.uniform(1.5, 2.0, people)
        correct(state, cov, measured - state[:2], measured_cov, used)
        correct_scalar(height, height_var, tall, np.full(people, 0.0144), used)
        for i in range(people):
            book[i].predict(dt_s, matrix, noise)
            if used[i]:
                full = np.zeros((3, 3))
                full[:2, :2], full[2, 2] = measured_cov[i], 0.0144
                book[i].correct(np.append(measured[:, i], tall[i]), full)
        for i in range(people):
            np.testing.assert_allclose(np.append(state[:, i], height[i]), book[i].state, rtol=1e-8, atol=1e-9)
            np.testing.assert_allclose(cov[i], book[i].cov[:6, :6], rtol=1e-8, atol=1e-9)
            assert height_var[i] == pytest.approx(book[i].cov[6, 6], rel=1e-9)


def test_joseph_form_holds_for_hard_numbers() -> None:
    """A metre-wide prior met by a millimetre measurement, a thousand times over: symmetric, positive, bounded."""
    rng = np.random.default_rng(1)
    motion = Motion(DENSITY)
    state = np.zeros((6, 3))
    cov = np.tile(np.diag([1e4, 1e4, 1e2, 1e2, 10.0, 10.0]), (3, 1, 1))
    for step in range(1000):
        matrix, noise = motion.step(0.001 if step % 2 else 1.0)
        predict(cov, matrix, noise)
        narrow = np.array([[1e-6, 0.0], [0.0, 25.0]])
        turn = rng.uniform(0.0, np.pi)
        axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        correct(state, cov, np.zeros((2, 3)), np.tile(axes @ narrow @ axes.T, (3, 1, 1)), np.ones(3, dtype=bool))
        assert np.array_equal(cov, cov.transpose(0, 2, 1))
        assert np.linalg.eigvalsh(cov).min() > 0.0


def simulate(rng: np.random.Generator, rate_hz: float, seconds: float, cov_m2: F64) -> tuple[F64, F64]:
    """True states (k, 6) of the filter's own model, and measured positions (k, 2)."""
    steps = int(seconds * rate_hz)
    matrix, noise = (part.copy() for part in van_loan(1.0 / rate_hz))
    root = np.linalg.cholesky(noise[:6, :6] + 1e-15 * np.eye(6))
    state = np.concatenate((rng.uniform(20, 40, 2), rng.normal(0, 2, 2), rng.normal(0, 1, 2)))
    states = np.empty((steps, 6))
    for step in range(steps):
        states[step] = state
        state = matrix[:6, :6] @ state + root @ rng.normal(size=6)
    return states, states[:, :2] + rng.multivariate_normal(np.zeros(2), cov_m2, steps)


@pytest.mark.parametrize("rate_hz", [10.0, 25.0, 120.0])
def test_nees_is_consistent_at_any_rate(rate_hz: float) -> None:
    """Normalised estimation error squared is chi-square with six degrees of freedom (Bar-Shalom, 5.4)."""
    rng = np.random.default_rng(3)
    cov_m2 = np.array([[0.02, 0.03], [0.03, 0.25]])
    config = TrackSection(position_floor_m=0.001, confirm_hits=1, overlap_weight=0.0)
    values = []
    for _ in range(20):
        states, measured = simulate(rng, rate_hz, 4.0, cov_m2)
        tracker = Tracker(config)
        for step in range(len(states)):
            tracks = tracker.update(step / rate_hz, located(measured[step : step + 1], cov_m2=cov_m2[None]))
        assert tracks.ids.tolist() == [1]
        error = np.concatenate((tracks.xy_m[0], tracks.v_mps[0], tracks.a_mps2[0])) - states[-1]
        values.append(error @ np.linalg.solve(tracks.motion_cov[0], error))
    low, high = chi2.ppf([0.0005, 0.9995], 6 * len(values)) / len(values)
    assert low < np.mean(values) < high


def test_nis_is_consistent() -> None:
    """Normalised innovation squared is chi-square with two degrees of freedom."""
    rng = np.random.default_rng(4)
    cov_m2 = np.array([[0.05, -0.02], [-0.02, 0.1]])
    motion = Motion(DENSITY)
    values = []
    for _ in range(10):
        states, measured = simulate(rng, 25.0, 6.0, cov_m2)
        state, cov = np.zeros((6, 1)), np.diag([0.1, 0.1, 9.0, 9.0, 2.25, 2.25])[None].copy()
        state[:2, 0] = measured[0]
        for step in range(1, len(states)):
            matrix, noise = motion.step(0.04)
            state[:] = matrix @ state
            predict(cov, matrix, noise)
            innovation = measured[step][:, None] - state[:2]
            values.append(innovation[:, 0] @ np.linalg.solve(cov[0, :2, :2] + cov_m2, innovation[:, 0]))
            correct(state, cov, innovation, cov_m2[None], np.ones(1, dtype=bool))
    low, high = chi2.ppf([0.0005, 0.9995], 2 * len(values)) / len(values)
    assert low < np.mean(values) < high


def test_far_side_depth_is_trusted_less_than_width() -> None:
    """At the far touchline a pixel is metres deep: the estimate follows sideways steps, not depth jumps (POS-2)."""
    deep = np.array([[[0.03**2, 0.0], [0.0, 1.2**2]]])
    tracker = Tracker(TrackSection(confirm_hits=1))
    for frame in range(50):
        tracker.update(frame * 0.04, located([[30.0, 5.0]], cov_m2=deep))
    tracks = tracker.update(2.0, located([[30.1, 6.0]], cov_m2=deep))
    assert tracks.ids.tolist() == [1]
    assert tracks.xy_m[0, 0] - 30.0 > 0.02
    assert tracks.xy_m[0, 1] - 5.0 < 0.25
    assert tracks.cov_m2[0, 1, 1] > 20.0 * tracks.cov_m2[0, 0, 0]
