"""The tool on a real camera: hand-clicked landmarks, real lens, real grass."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from calibration.board import BoardResult, calibrate_boards
from calibration.calibrate import calibrate
from calibration.landmarks import LandmarkSet, load_cvat

PITCH = (105.0, 68.0)
WRONG_LABELS = {"(0,14.84)", "(16.5,14.84)", "(0,53.16)", "(16.5,53.16)"}
"""The penalty area is 40.32 m wide, so its edges are at 13.84 and 54.16: these four are a metre off."""


@pytest.fixture(scope="module")
def landmarks(stadium: Path) -> LandmarkSet:
    return load_cvat(stadium / "left_landmarks.xml")


@pytest.fixture(scope="module")
def board(stadium: Path) -> BoardResult:
    return calibrate_boards(stadium / "left_checkerboards", (9, 5))


def test_the_stills_give_the_lens(board):
    assert sum(not still.reason for still in board.stills) >= 20
    assert 0.4 < board.rms_px < 0.9


@pytest.mark.parametrize("with_board", [True, False])
def test_real_landmarks_within_half_a_metre_and_wrong_labels_named(landmarks, board, with_board):
    outcome = calibrate(landmarks, PITCH, board=board if with_board else None)
    quality = outcome.calibration.quality
    assert quality is not None
    assert quality.rms_m <= 0.35
    assert {finding.label for finding in outcome.findings} == WRONG_LABELS
    assert outcome.calibration.position_m == pytest.approx([51, 83.5, 7.8], abs=0.5)
    likely = {finding.label: finding.likely for finding in outcome.findings}
    assert likely["(16.5,14.84)"] == "(16.5,13.84)"
    again = calibrate(
        landmarks.relabelled([(label, str(new)) for label, new in likely.items()]),
        PITCH,
        board=board if with_board else None,
    )
    assert not again.findings
    assert again.calibration.quality is not None
    assert again.calibration.quality.rms_m <= 0.30


def test_the_crown_of_the_grass_is_proven(landmarks, board):
    """Flat grass rejects the centre spot and circle; with the crown they agree (docs/calibration.md)."""
    flat = calibrate(landmarks, PITCH, board=board, crown_m=0.0)
    assert "(52.5,34)" in {finding.label for finding in flat.findings}
    domed = calibrate(landmarks, PITCH, board=board)
    assert domed.calibration.crown_m == pytest.approx(0.21, abs=0.06)
    assert domed.calibration.crown_m > 5 * domed.fit.crown_sigma_m


def test_people_are_as_tall_as_people_at_every_depth(stadium, landmarks, board):
    camera = calibrate(landmarks, PITCH, board=board).calibration
    with (stadium / "left_boxes.csv").open() as stream:
        boxes = np.array([[float(row[key]) for key in ("x1", "y1", "x2", "y2")] for row in csv.DictReader(stream)])
    boxes = boxes[(boxes[:, 3] - boxes[:, 1]) > 2.2 * (boxes[:, 2] - boxes[:, 0])]
    middle = (boxes[:, 0] + boxes[:, 2]) / 2
    feet, heads = np.column_stack((middle, boxes[:, 3])), np.column_stack((middle, boxes[:, 1]))
    xy, height = camera.pitch_from_pixels(feet), camera.heights_m(feet, heads)
    medians = []
    for near, far in ((0, 17), (17, 34), (34, 51), (51, 68)):
        band = (xy[:, 1] >= near) & (xy[:, 1] < far) & (xy[:, 0] > 0)
        assert band.sum() > 50
        medians.append(float(np.median(height[band])))
    assert all(1.6 < value < 1.95 for value in medians)
    assert max(medians) - min(medians) < 0.1
