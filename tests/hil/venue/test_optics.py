"""The cameras of the venue and their calibration files."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.camera_model import CameraCalibration
from hil.venue.optics import MAST_M, SIDES, rays, site_camera, write_calibrations


def test_both_cameras_together_see_the_whole_pitch():
    x, y = np.meshgrid(np.linspace(0, 105, 43), np.linspace(0, 68, 35))
    points = np.column_stack([x.ravel(), y.ravel()])
    seen = np.zeros(len(points), bool)
    for side in SIDES:
        px = site_camera(side).pixels_from_pitch(points)
        seen |= ((px >= 0) & (px < (1280, 720))).all(axis=1)
    assert seen.all()


def test_rays_agree_with_the_projection():
    camera = site_camera("left")
    view = rays(camera)
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 720, 500), rng.integers(0, 1280, 500)
    points = view.origin_m + view.directions[rows, columns] * 40.0
    px = camera.pixels_from_pitch(points)
    np.testing.assert_allclose(px, np.column_stack([columns, rows]) + 0.5, atol=0.02)


def test_the_image_size_scales_the_picture():
    point = np.array([[30.0, 20.0, 1.0]])
    full, half = site_camera("left"), site_camera("left", (640, 360))
    np.testing.assert_allclose(half.pixels_from_pitch(point) * 2, full.pixels_from_pitch(point), atol=1e-6)


def test_calibration_files_hold_the_same_cameras(tmp_path):
    paths = write_calibrations(tmp_path / "new")
    for side in SIDES:
        loaded = CameraCalibration.load(paths[side])
        assert loaded.image_size_px == (1280, 720)
        np.testing.assert_allclose(loaded.position_m, MAST_M, atol=1e-9)
        feet = np.array([[20.0, 10.0], [60.0, 50.0]])
        np.testing.assert_allclose(loaded.pixels_from_pitch(feet), site_camera(side).pixels_from_pitch(feet), atol=1e-9)


def test_an_unknown_side_is_refused():
    with pytest.raises(ValueError, match="left, right"):
        site_camera("middle")
