"""The venue's commands."""

from __future__ import annotations

import csv
import json

import cv2
import pytest
from click.testing import CliRunner, Result

from calibration.camera_model import CameraCalibration
from hil.venue.cli import venue


def run(*args: str) -> Result:
    return CliRunner().invoke(venue, list(args), catch_exceptions=True)


def test_render_writes_a_picture(tmp_path):
    out = tmp_path / "frame.png"
    result = run("render", "--out", str(out), "--camera", "right", "--boxes", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["people"] > 5
    picture = cv2.imread(str(out))
    assert picture is not None
    assert picture.shape == (720, 1280, 3)


def test_render_refuses_another_format(tmp_path):
    assert run("render", "--out", str(tmp_path / "frame.xyz")).exit_code == 2


def test_calibrations_are_readable(tmp_path):
    result = run("calibrations", "--out", str(tmp_path / "calibration"), "--json")
    assert result.exit_code == 0, result.output
    paths = json.loads(result.output)
    assert {CameraCalibration.load(path).camera for path in paths.values()} == {"left", "right"}


def test_dataset_has_pictures_and_boxes(tmp_path):
    result = run("dataset", "--out", str(tmp_path), "--frames", "2", "--seed", "3")
    assert result.exit_code == 0, result.output
    with (tmp_path / "boxes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["frame"] for row in rows} <= {"0", "1"}
    assert {row["score"] for row in rows} == {"1.0"}
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["000000.jpg", "000001.jpg"]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("dataset", "--out", str(tmp_path / "file" / "below"), "--frames", "1")
    assert "cannot be written" in str(result.exception)


@pytest.mark.parametrize("command", ["render", "dataset", "calibrations"])
def test_help_has_examples(command):
    assert "Examples:" in run(command, "--help").output
