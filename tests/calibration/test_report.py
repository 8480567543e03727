from __future__ import annotations

import json
from dataclasses import replace

import pytest

from calibration.board import BoardResult, Still
from calibration.calibrate import Outcome, calibrate
from calibration.report import to_text, to_values
from tests.calibration.scene import PITCH, SIZE, clicked, truth


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    landmarks = clicked(truth(0.25)).relabelled([("(16.5,13.84)", "(16.5,14.84)")])
    return calibrate(landmarks, PITCH, crown_m=None, camera="left")


@pytest.fixture
def board() -> BoardResult:
    mean = truth().camera_matrix[[0, 1, 0, 1, 0, 0, 0, 0, 0], [0, 1, 2, 2, 1, 1, 1, 1, 1]]
    stills = (Still("0.jpg", 0.61), Still("1.jpg", None, "no board found"))
    return BoardResult(SIZE, mean, mean * 0 + 1, 0.61, (0.6, 0.88), stills)


def test_the_text_says_what_a_person_needs(outcome, board):
    text = to_text(outcome, board, "left.json")
    assert "Board: 1 of 2 stills, 0.61 px RMS, spanning 60% of the width and 88% of the height" in text
    assert "dropped 1.jpg: no board found" in text
    assert "grass with a crown of 0.2" in text
    assert "1-sigma of the calibration per cell: median 0." in text
    assert "Written        left.json" in text


def test_flat_and_given_grass_are_worded(outcome):
    flat = replace(outcome, calibration=replace(outcome.calibration, crown_m=0.0))
    assert "flat grass" in to_text(flat, None, "x")
    given = replace(outcome, fit=replace(outcome.fit, crown_sigma_m=0.0))
    assert "(given) m" in to_text(given, None, "x")


def test_a_camera_that_sees_no_pitch_says_so(outcome):
    away = replace(outcome.calibration, image_size_px=(1, 1))
    assert "no part of the pitch is in view" in to_text(replace(outcome, calibration=away), None, "x")


def test_the_values_are_plain_json(outcome, board):
    value = json.loads(json.dumps(to_values(outcome, board, "left.json"), allow_nan=False))
    assert value["board"]["stills"][1] == {"name": "1.jpg", "rms_px": None, "reason": "no board found"}
    assert value["crown_m"] == pytest.approx(0.25, abs=0.1)
    assert value["quality"]["gate_m"] == 0.08
