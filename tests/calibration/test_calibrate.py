"""The solver against known truth: clean, noisy, domed, and with blunders of every kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.board import BoardResult
from calibration.calibrate import GATE_M, Outcome, calibrate
from calibration.camera_model import CameraCalibration
from calibration.cells import cells
from calibration.landmarks import LandmarkSet
from calibration.solve import fit_camera
from tests.calibration.scene import LENS, PITCH, SIZE, clicked, truth
from touchline.errors import InputError

GRASS = np.array([(x, y) for x in (4.0, 20, 36, 50) for y in (6.0, 20, 40, 60)])


def board_of(camera: CameraCalibration) -> BoardResult:
    matrix = camera.camera_matrix
    mean = np.concatenate((matrix[[0, 1, 0, 1], [0, 1, 2, 2]], camera.distortion))
    sigma = np.array([3, 3, 3, 3, 0.002, 0.005, 2e-4, 3e-4, 0.004])
    shift = np.random.default_rng(5).normal(0, 1, 9) * sigma
    return BoardResult(SIZE, mean + shift, sigma, 0.6, (0.6, 0.9), ())


def ground_rms_m(found: CameraCalibration, real: CameraCalibration) -> float:
    px = real.pixels_from_pitch(GRASS)
    keep = ((px > 0) & (px < SIZE)).all(axis=1)
    return float(np.sqrt(((found.pitch_from_pixels(px[keep]) - GRASS[keep]) ** 2).sum(axis=1).mean()))


def moved(landmarks: LandmarkSet, label: str, by: tuple[float, float]) -> LandmarkSet:
    clicks = [replace(c, px=(c.px[0] + by[0], c.px[1] + by[1])) if c.label == label else c for c in landmarks.clicks]
    return replace(landmarks, clicks=tuple(clicks))


def reasons(outcome: Outcome) -> dict[str, str]:
    return {finding.label: finding.reason for finding in outcome.findings}


@pytest.mark.parametrize("with_board", [True, False])
@pytest.mark.parametrize("crown_m", [0.0, 0.25])
def test_the_camera_is_found(with_board, crown_m):
    real = truth(crown_m)
    outcome = calibrate(clicked(real), PITCH, board=board_of(real) if with_board else None)
    found = outcome.calibration
    assert not outcome.findings
    assert found.position_m == pytest.approx(real.position_m, abs=0.5)
    assert found.crown_m == pytest.approx(crown_m, abs=0.08)
    assert ground_rms_m(found, real) < 0.15
    assert found.quality is not None
    assert found.quality.rms_px < 1.2


def test_exact_clicks_hold_the_gate():
    real = truth()
    outcome = calibrate(clicked(real, noise_px=0.05), PITCH, board=board_of(real))
    assert outcome.calibration.quality is not None
    assert outcome.calibration.quality.gate_holds
    assert outcome.calibration.quality.rms_m < GATE_M
    assert ground_rms_m(outcome.calibration, real) < 0.05


def test_a_pinhole_camera_without_distortion_is_found():
    real = truth(lens=(0.0, 0.0, 0.0, 0.0, 0.0))
    assert ground_rms_m(calibrate(clicked(real), PITCH).calibration, real) < 0.15


def test_flat_grass_is_not_given_a_crown():
    crowns = [calibrate(clicked(truth(), seed=seed), PITCH, board=board_of(truth())) for seed in range(6)]
    assert sum(outcome.calibration.crown_m > 0 for outcome in crowns) <= 1


def test_a_given_crown_is_kept():
    outcome = calibrate(clicked(truth(0.25)), PITCH, board=board_of(truth()), crown_m=0.25)
    assert outcome.calibration.crown_m == 0.25
    assert outcome.fit.crown_sigma_m == 0.0


@pytest.mark.parametrize("with_board", [True, False])
def test_blunders_of_every_kind_are_named(with_board):
    real = truth(0.2)
    landmarks = clicked(real)
    landmarks = moved(landmarks, "(22,68)", (-340.0, 150.0))
    landmarks = landmarks.relabelled([("(16.5,13.84)", "(16.5,14.84)")])
    a, b = "(5.5,24.84)", "(0,43.16)"
    landmarks = landmarks.relabelled([(a, "(1,1)"), (b, a), ("(1,1)", b)])
    extra = next(c for c in landmarks.clicks if c.label == "(33,68)")
    doubled = replace(extra, px=(extra.px[0] + 200, extra.px[1] - 90))
    copied = replace(extra, label="(11,0)", pitch_m=(11.0, 0.0))
    kept = tuple(c for c in landmarks.clicks if c.label != "(11,0)")
    landmarks = replace(landmarks, clicks=(*kept, doubled, copied))
    outcome = calibrate(landmarks, PITCH, board=board_of(real) if with_board else None)
    why = reasons(outcome)
    assert why.keys() == {"(22,68)", "(16.5,14.84)", a, b, "(33,68)", "(11,0)"}
    assert why["(22,68)"].startswith("displaced click: 3")
    assert "left and 1" in why["(22,68)"]
    assert "(16.5,13.84), left far penalty area corner" in why["(16.5,14.84)"]
    assert why[a] == f"labels swapped with {b}"
    assert why[b] == f"labels swapped with {a}"
    assert why["(33,68)"].startswith("duplicate label")
    assert why["(11,0)"] == "duplicate click: the same pixel as (33,68), which fits"
    assert ground_rms_m(outcome.calibration, real) < 0.2
    rejected = [mark for mark in outcome.calibration.landmarks if mark.reason]
    assert len(rejected) == 6
    assert all((mark.error_m or 0) > 0.5 for mark in rejected)


def test_the_likely_label_can_be_used_to_run_again():
    real = truth()
    landmarks = clicked(real).relabelled([("(16.5,13.84)", "(16.5,14.84)")])
    finding = calibrate(landmarks, PITCH, board=board_of(real)).findings[0]
    assert finding.likely is not None
    again = calibrate(landmarks.relabelled([(finding.label, finding.likely)]), PITCH, board=board_of(real))
    assert not again.findings


def test_an_exact_repeat_of_a_click_is_rejected_once():
    landmarks = clicked(truth())
    landmarks = replace(landmarks, clicks=(*landmarks.clicks, landmarks.clicks[3]))
    outcome = calibrate(landmarks, PITCH, board=board_of(truth()))
    assert len(outcome.findings) == 1
    assert outcome.findings[0].reason == "duplicate label: the other click fits, this one repeats it"


@pytest.mark.parametrize("seed", range(8))
def test_a_fifth_of_random_blunders_is_survived(seed):
    real = truth(0.15)
    landmarks = clicked(real, seed=seed)
    rng = np.random.default_rng(seed)
    wrong = set(rng.choice(len(landmarks.clicks), len(landmarks.clicks) // 5, replace=False).tolist())
    clicks = []
    for index, click in enumerate(landmarks.clicks):
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(60, 400)
        offset = (np.cos(angle) * length, np.sin(angle) * length) if index in wrong else (0.0, 0.0)
        px = np.clip(np.add(click.px, offset), 0, SIZE)
        clicks.append(replace(click, px=(float(px[0]), float(px[1]))))
    outcome = calibrate(replace(landmarks, clicks=tuple(clicks)), PITCH, board=board_of(real))
    assert {finding.label for finding in outcome.findings} == {landmarks.clicks[index].label for index in wrong}
    assert ground_rms_m(outcome.calibration, real) < 0.2


def test_labels_that_fit_no_camera_are_refused():
    landmarks = clicked(truth())
    order = np.random.default_rng(3).permutation(len(landmarks.clicks))
    shuffled = [replace(c, px=landmarks.clicks[int(j)].px) for c, j in zip(landmarks.clicks, order, strict=True)]
    with pytest.raises(InputError, match=r"agree with one camera|left after rejecting|undetermined"):
        calibrate(replace(landmarks, clicks=tuple(shuffled)), PITCH)


def test_too_few_left_after_rejection_names_the_rejected():
    landmarks = clicked(truth())
    clicks = landmarks.clicks[:: len(landmarks.clicks) // 12][:13]
    landmarks = replace(landmarks, clicks=clicks)
    for click in clicks[2:5]:
        landmarks = moved(landmarks, click.label, (150.0, -60.0))
    with pytest.raises(InputError, match=r"1[01] landmarks left after rejecting the wrong ones, 12 needed.*displaced"):
        calibrate(landmarks, PITCH, board=board_of(truth()))


def test_the_stated_uncertainty_covers_the_real_error():
    """Over many noisy repeats the error at a far point spreads as the covariance says."""
    real, px = truth(), truth().pixels_from_pitch([[16.5, 13.84]])
    misses = []
    for seed in range(25):
        camera = calibrate(clicked(real, seed=seed), PITCH, board=board_of(real), crown_m=0.0).calibration
        miss = (camera.pitch_from_pixels(px) - (16.5, 13.84))[0]
        misses.append(float(miss @ np.linalg.inv(camera.pitch_covariance(px, 0.0)[0]) @ miss))
    assert 0.2 < np.mean(misses) < 4.0, "a 2-D squared error in sigmas averages 2"


def test_cells_know_what_is_in_view():
    camera = calibrate(clicked(truth()), PITCH, board=board_of(truth())).calibration
    grid = cells(camera)
    seen = [cell for cell in grid if cell.sigma_m is not None]
    assert len(grid) == 14 * 9
    assert 20 < len(seen) < 100
    assert all(cell.x_m < 75 for cell in seen)
    assert all((cell.sigma_1px_m or 0) > (cell.sigma_m or 0) > 0 for cell in seen)
    near, far = max(seen, key=lambda c: c.y_m), min(seen, key=lambda c: c.y_m)
    assert (far.sigma_1px_m or 0) > (near.sigma_1px_m or 0)


def test_the_same_landmarks_give_the_same_camera():
    landmarks = clicked(truth())
    places = np.array([c.pitch_m for c in landmarks.clicks])
    px = np.array([c.px for c in landmarks.clicks])
    first, second = (fit_camera(places, px, SIZE, PITCH).calibration for _ in range(2))
    assert np.array_equal(first.camera_matrix, second.camera_matrix)
    assert np.array_equal(first.t_m, second.t_m)
    assert len(LENS) == 5
