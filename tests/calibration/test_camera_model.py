from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.camera_model import MAX_DEPTH_M, CameraCalibration, Handedness
from touchline.errors import ConfigError

LENSES = (
    (),
    (-0.3, 0.1, 0.001, -0.0005),
    (-0.37, 0.17, 0.0005, 0.001, -0.04),
    (0.02, 0.01, 0.0005, 0.0, 0.001, 0.4, 0.05, 0.002),
    (0.02, 0.01, 0.0005, 0.0, 0.001, 0.4, 0.05, 0.002, 0.001, 0.0005, -0.001, 0.0003),
)

cameras = st.builds(
    lambda lens, focal, x, height, target, crown, hand: CameraCalibration.from_look_at(
        (1280, 720),
        focal,
        (x, 84.0 if hand is Handedness.LEFT else -16.0, height),
        (target, 34.0, 0.0),
        distortion=lens,
        crown_m=crown,
        handedness=hand,
    ),
    st.sampled_from(LENSES),
    st.floats(800, 1600),
    st.floats(20, 85),
    st.floats(6, 30),
    st.floats(30, 75),
    st.sampled_from((0.0, 0.2, 0.4)),
    st.sampled_from(Handedness),
)


def grass_in_view(camera: CameraCalibration, count: int = 200, seed: int = 0) -> np.ndarray:
    xy = np.random.default_rng(seed).uniform((0, 0), (105, 68), (count, 2))
    px = camera.pixels_from_pitch(xy)
    return xy[((px > 0) & (px < camera.image_size_px)).all(axis=1)]


@given(cameras)
@settings(max_examples=60, deadline=None)
def test_pixels_and_pitch_are_inverse(camera):
    xy = grass_in_view(camera)
    back = camera.pitch_from_pixels(camera.pixels_from_pitch(xy))
    known = np.isfinite(back).all(axis=1)
    assert (~known).sum() <= 0.05 * len(xy), "only the last pixels before the fold of the lens"
    assert np.abs(back - xy)[known].max(initial=0) < 2e-3


@given(cameras, st.floats(0.5, 2.3))
@settings(max_examples=60, deadline=None)
def test_heights_come_back_positive_up(camera, height):
    xy = grass_in_view(camera)
    feet = camera.pixels_from_pitch(np.column_stack((xy, np.zeros(len(xy)))))
    heads = camera.pixels_from_pitch(np.column_stack((xy, np.full(len(xy), height))))
    known = np.isfinite(heads).all(axis=1) & np.isfinite(camera.pitch_from_pixels(feet)).all(axis=1)
    assert np.abs(camera.heights_m(feet, heads)[known] - height).max(initial=0) < 5e-3
    assert (heads[known][:, 1] < feet[known][:, 1]).all()


@given(cameras)
@settings(max_examples=60, deadline=None)
def test_covariance_is_the_numeric_derivative(camera):
    px = camera.pixels_from_pitch(grass_in_view(camera, 60))
    px = px[np.isfinite(camera.pitch_from_pixels(px)).all(axis=1)]
    step = 0.05
    columns = [
        (camera.pitch_from_pixels(px + d) - camera.pitch_from_pixels(px - d)) / (2 * step) for d in np.eye(2) * step
    ]
    jacobian = np.stack(columns, axis=-1)
    numeric = 4.0 * jacobian @ jacobian.transpose(0, 2, 1)
    given_covariance = camera.pitch_covariance(px, 2.0)
    scale = np.abs(numeric).max(axis=(1, 2), initial=1e-9)
    relative = np.abs(given_covariance - numeric).max(axis=(1, 2), initial=0) / scale
    assert not len(relative) or np.nanmedian(relative) < 0.02


def test_calibration_uncertainty_adds_to_the_pixels():
    camera = CameraCalibration.from_look_at((1280, 720), 1000, (50, 84, 12), (45, 34, 0), crown_m=0.2)
    spread = np.zeros((11, 11))
    spread[5, 5] = 0.01
    sure, unsure = camera, replace(camera, parameter_covariance=spread)
    px = camera.pixels_from_pitch(grass_in_view(camera, 50))
    gain = np.trace(unsure.pitch_covariance(px, 1.0) - sure.pitch_covariance(px, 1.0), axis1=1, axis2=2)
    assert (gain > 0).all()
    moved = replace(camera, t_m=np.add(camera.t_m, (0, 0, 0.1))).pitch_from_pixels(px) - camera.pitch_from_pixels(px)
    assert np.allclose(np.sqrt(gain), np.hypot(*moved.T), rtol=0.05)


def test_per_point_sigma_and_joint_answer_agree():
    camera = CameraCalibration.from_look_at((1280, 720), 1000, (50, 84, 12), (45, 34, 0))
    px = camera.pixels_from_pitch(grass_in_view(camera, 20))
    xy, covariance = camera.ground(px, np.linspace(0.5, 2, len(px)))
    assert np.array_equal(xy, camera.pitch_from_pixels(px))
    assert np.allclose(covariance[0], camera.pitch_covariance(px[:1], 0.5)[0])


def test_points_without_an_answer_are_nan():
    camera = CameraCalibration.from_look_at((1280, 720), 1000, (50, 84, 8), (50, 34, 0), distortion=LENSES[2])
    answer = camera.pitch_from_pixels([[640.0, 5.0], [np.nan, 500.0], [np.inf, 500.0], [640.0, 600.0]])
    assert np.isnan(answer[:3]).all()
    assert np.isfinite(answer[3]).all()
    assert np.isnan(camera.pitch_covariance([[640, 5]], 1.0)).all()
    assert np.isnan(camera.heights_m([[640, 5]], [[640, 1]])).all()
    assert np.isnan(camera.pixels_from_pitch([[50.0, 200.0]])).all(), "behind the camera"


def test_grass_beyond_the_depth_limit_is_above_the_horizon():
    camera = CameraCalibration.from_look_at((1280, 720), 1000, (50, 84, 8), (50, 34, 0), pitch_m=(105, 68))
    depths = camera.pixels_from_pitch([[50.0, 84 - 0.9 * MAX_DEPTH_M], [50.0, 84 - 1.2 * MAX_DEPTH_M]])
    assert np.isfinite(camera.pitch_from_pixels(depths)).all(axis=1).tolist() == [True, False]


def test_pixels_beyond_the_fold_of_the_lens_are_nan():
    camera = CameraCalibration.from_look_at((1280, 720), 700, (50, 84, 20), (50, 50, 0), distortion=(-0.4, 0, 0, 0))
    corners = camera.pitch_from_pixels([[0, 720], [640, 400]])
    assert np.isnan(corners[0]).all()
    assert np.isfinite(corners[1]).all()


def test_empty_input_gives_empty_output():
    camera = CameraCalibration.from_look_at((1280, 720), 1000, (50, 84, 12), (45, 34, 0))
    assert camera.pitch_from_pixels([]).shape == (0, 2)
    assert camera.pixels_from_pitch(np.empty((0, 3))).shape == (0, 2)
    assert camera.pitch_covariance(np.empty((0, 2)), 1.0).shape == (0, 2, 2)
    assert camera.heights_m([], []).shape == (0,)


def test_position_is_where_it_was_put():
    for hand, y in ((Handedness.LEFT, 84.0), (Handedness.RIGHT, -16.0)):
        camera = CameraCalibration.from_look_at((1280, 720), 1000, (50, y, 12), (45, 34, 0), handedness=hand)
        assert camera.position_m == pytest.approx([50, y, 12])
        left, right = camera.pixels_from_pitch([[40, 34], [60, 34]])
        assert left[0] < right[0], "x grows to the right seen from this side"


@given(cameras, st.tuples(st.floats(0, 500), st.floats(0, 300), st.floats(200, 700), st.floats(100, 400)))
@settings(max_examples=60, deadline=None)
def test_a_view_sees_the_same_grass(camera, roi):
    view = camera.for_view(roi, (960, 540))
    xy = grass_in_view(camera)
    px = camera.pixels_from_pitch(xy)
    in_view = (px - roi[:2]) * (960 / roi[2], 540 / roi[3])
    assert view.image_size_px == (960, 540)
    assert np.allclose(view.pixels_from_pitch(xy), in_view, atol=1e-6)
    back = view.pitch_from_pixels(in_view)
    assert np.abs(back - xy)[np.isfinite(back)].max(initial=0) < 2e-3


def test_a_view_scales_its_covariance():
    camera = CameraCalibration.from_look_at((1280, 720), 1000, (50, 84, 12), (45, 34, 0))
    spread = np.diag([1e-6] * 6 + [4.0] * 4 + [0.0])
    camera = replace(camera, parameter_covariance=spread)
    px = camera.pixels_from_pitch([[45.0, 34.0]])
    half = camera.for_view((0, 0, 1280, 720), (640, 360))
    assert np.allclose(half.pitch_covariance(px / 2, 0.5), camera.pitch_covariance(px, 1.0), rtol=1e-6)


@pytest.mark.parametrize("roi", [(0, 0, 1281, 720), (-1, 0, 10, 10), (0, 0, 0, 10), (1000, 0, 400, 100)])
def test_a_view_outside_the_image_is_refused(roi):
    camera = CameraCalibration.from_look_at((1280, 720), 1000, (50, 84, 12), (45, 34, 0))
    with pytest.raises(ConfigError, match="not inside the calibrated 1280x720"):
        camera.for_view(roi, (640, 360))


def test_a_source_of_another_size_is_refused():
    camera = CameraCalibration.from_look_at((1280, 720), 1000, (50, 84, 12), (45, 34, 0), camera="left")
    camera.check_source(1280, 720, "left.mp4")
    with pytest.raises(ConfigError, match=r"left.mp4 is 1920x1080 but the calibration of left holds for 1280x720"):
        camera.check_source(1920, 1080, "left.mp4")


@pytest.mark.parametrize(
    "change",
    [
        {"distortion": np.zeros(3)},
        {"camera_matrix": np.diag([0.0, 1.0, 1.0])},
        {"camera_matrix": np.ones((3, 3))},
        {"t_m": np.array([0.0, np.nan, 1.0])},
        {"rvec": np.zeros(2)},
        {"crown_m": -0.1},
        {"pitch_m": (0.0, 68.0)},
        {"image_size_px": (0, 720)},
        {"parameter_covariance": np.zeros((3, 3))},
    ],
)
def test_numbers_that_are_no_camera_are_refused(change):
    camera = CameraCalibration.from_look_at((1280, 720), 1000, (50, 84, 12), (45, 34, 0))
    with pytest.raises(ConfigError):
        replace(camera, **change)


def test_a_camera_in_the_grass_is_refused():
    camera = CameraCalibration.from_look_at((1280, 720), 1000, (50, 84, 12), (45, 34, 0))
    with pytest.raises(ConfigError, match="plane of the grass"):
        replace(camera, t_m=np.zeros(3))
    with pytest.raises(ConfigError, match="straight down"):
        CameraCalibration.from_look_at((1280, 720), 1000, (50, 34, 12), (50, 34, 0))


def test_arrays_are_read_only_copies():
    matrix = np.array([[1000.0, 0, 640], [0, 1000, 360], [0, 0, 1]])
    camera = replace(CameraCalibration.from_look_at((1280, 720), 1000, (50, 84, 12), (45, 34, 0)), camera_matrix=matrix)
    matrix[0, 0] = 1.0
    assert camera.camera_matrix[0, 0] == 1000.0
    with pytest.raises(ValueError, match="read-only"):
        camera.camera_matrix[0, 0] = 2.0
