"""The calibration of what a camera really delivers."""

from __future__ import annotations

import numpy as np
import pytest

from agent.view import view_of
from hil.venue.optics import site_camera
from touchline.config import CameraSection
from touchline.errors import ConfigError

FULL = site_camera("left", (3072, 1728))


def section(**fields: object) -> CameraSection:
    return CameraSection.model_validate({"number": 1, "source": "video", "calibration": "left.json", **fields})


def test_scaling_keeps_the_place_on_the_pitch():
    view = view_of(FULL, section(width_px=1280, height_px=720))
    assert np.allclose(view.pitch_from_pixels([[640, 500]]), FULL.pitch_from_pixels([[1536, 1200]]))


def test_a_region_is_cut_out():
    view = view_of(FULL, section(width_px=1280, height_px=720, roi=[1000, 500, 1280, 720]))
    assert np.allclose(view.pitch_from_pixels([[10, 600]]), FULL.pitch_from_pixels([[1010, 1100]]))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"width_px": 960, "height_px": 720}, "another shape"),
        ({"width_px": 1280, "height_px": 720, "roi": [2000, 0, 1280, 720]}, "not inside the calibrated 3072x1728"),
        ({"width_px": 1280, "height_px": 720, "roi": [-1, 0, 1280, 720]}, "not inside"),
        ({"width_px": 1280, "height_px": 720, "roi": [0, 0, 0, 0]}, "not inside"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        view_of(FULL, section(**fields))
