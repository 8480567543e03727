from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from calibration.camera_model import CameraCalibration
from calibration.cli import calibrate
from tests.calibration.scene import SIZE, clicked, to_xml, truth
from touchline.errors import ConfigError, GateError, InputError, ResourceError


@pytest.fixture
def landmarks(tmp_path: Path) -> Path:
    path = tmp_path / "left.xml"
    path.write_bytes(to_xml(clicked(truth(0.2)).relabelled([("(16.5,13.84)", "(16.5,14.84)")])))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(calibrate, ["camera", *map(str, arguments)])


def test_a_file_is_written_and_the_wrong_label_named(landmarks, tmp_path):
    out = tmp_path / "left.json"
    result = run("--landmarks", landmarks, "--out", out, "--name", "left")
    assert result.exit_code == 0, result.output
    assert "(16.5,14.84)" in result.output
    assert "REJECTED  wrong label?" in result.output
    assert '--relabel "(16.5,14.84)=(16.5,13.84)"' in result.output
    assert "Gate POS-1" in result.output
    camera = CameraCalibration.load(out)
    assert camera.camera == "left"
    assert camera.position_m == pytest.approx([48, 84, 9], abs=0.5)
    assert camera.quality is not None
    assert camera.quality.rejected == 1


def test_json_has_everything_measured(landmarks, tmp_path):
    result = run("--landmarks", landmarks, "--out", tmp_path / "left.json", "--json")
    value = json.loads(result.stdout)
    assert value["quality"]["used"] == len(value["landmarks"]) - 1
    assert value["rejected"][0]["likely"] == "(16.5,13.84)"
    assert value["handedness"] == "left"
    assert value["camera"]["height_m"] == pytest.approx(9, abs=0.5)
    assert any(cell["sigma_m"] for cell in value["cells"])
    assert value["board"] is None


def test_the_picture_is_wellformed_and_draws_over_the_still(landmarks, tmp_path):
    still, picture = tmp_path / "still.png", tmp_path / "left.svg"
    cv2.imwrite(str(still), np.full((SIZE[1], SIZE[0], 3), 80, np.uint8))
    result = run("--landmarks", landmarks, "--out", tmp_path / "l.json", "--picture", picture, "--still", still)
    assert result.exit_code == 0, result.output
    root = ET.fromstring(picture.read_text(encoding="utf-8"))
    text = " ".join(element.text or "" for element in root.iter())
    assert "RMS" in text
    assert "(16.5,14.84)" in text
    kinds = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert kinds.count("image") == 1
    assert kinds.count("polyline") > 20
    assert kinds.count("circle") > 40


def test_the_picture_needs_no_still(landmarks, tmp_path):
    picture = tmp_path / "left.svg"
    assert run("--landmarks", landmarks, "--out", tmp_path / "l.json", "--picture", picture).exit_code == 0
    assert "<image" not in picture.read_text()


def test_the_gate_can_be_required(landmarks, tmp_path):
    out = tmp_path / "left.json"
    result = run("--landmarks", landmarks, "--out", out, "--require-gate")
    if "holds" in result.output:
        assert result.exit_code == 0
    else:
        assert isinstance(result.exception, GateError)
    assert out.exists()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("--image-size", "1280x720"), ConfigError, "clicked on a 3072x1728 image, --image-size says 1280x720"),
        (("--pitch", "100x64"), InputError, "off the 100 x 64 m pitch"),
        (("--relabel", "(9,9)=(1,1)"), InputError, "no landmark '(9,9)'"),
        (("--checkerboards", "nowhere"), InputError, "nowhere is not a folder"),
        (("--image", "other.png"), InputError, "no landmarks for image 'other.png'"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_written(landmarks, tmp_path, arguments, error, message):
    out = tmp_path / "left.json"
    result = run("--landmarks", landmarks, "--out", out, *arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert result.exception.hint
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--pitch", "wide"),
        ("--pitch", "0x68"),
        ("--board", "9"),
        ("--relabel", "x"),
        ("--picture", "a.jpg"),
        ("--still", "a"),
    ],
)
def test_wrong_usage_exits_2(landmarks, tmp_path, arguments):
    assert run("--landmarks", landmarks, "--out", tmp_path / "left.json", *arguments).exit_code == 2


def test_a_still_of_another_size_or_kind_is_refused(landmarks, tmp_path):
    still, picture = tmp_path / "still.png", tmp_path / "left.svg"
    cv2.imwrite(str(still), np.full((90, 160, 3), 80, np.uint8))
    base = ("--landmarks", landmarks, "--out", tmp_path / "left.json", "--picture", picture, "--still")
    assert "is 160x90 but the calibration holds for 3072x1728" in str(run(*base, still).exception)
    assert "no readable image or video" in str(run(*base, landmarks).exception)
    assert "no readable image or video" in str(run(*base, tmp_path / "none.png").exception)


def test_a_missing_folder_is_refused_before_the_work(landmarks, tmp_path):
    result = run("--landmarks", landmarks, "--out", tmp_path / "gone" / "left.json")
    assert isinstance(result.exception, ResourceError)


def test_help_shows_examples_and_imports_nothing_heavy():
    result = CliRunner().invoke(calibrate, ["camera", "--help"])
    assert "Examples:" in result.output
    assert "calibration.cli" in sys.modules
