"""The shipped model: its contract, its size, its description, and the bar it must hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.detector import evaluate
from calibration.detector.boxes import decode_yolov8
from calibration.detector.dataset import read_boxes, read_video
from calibration.detector.matching import score_frames
from touchline.ort import onnxruntime

MOST_BYTES = 12 * 2**20
BAR_RECALL, BAR_PRECISION = 0.83, 0.85
MODELS = ("touchline_people.onnx", "touchline_people_int8.onnx")


@pytest.fixture(scope="module", params=MODELS)
def model_path(repo: Path, request: pytest.FixtureRequest) -> Path:
    return repo / "agent" / "detect" / "models" / str(request.param)


def test_the_model_fits_and_has_the_layout_the_agent_expects(model_path: Path) -> None:
    assert model_path.stat().st_size <= MOST_BYTES
    session = onnxruntime.InferenceSession(str(model_path), providers=["CPUExecutionProvider"])
    entry, result = session.get_inputs()[0], session.get_outputs()[0]
    assert (entry.name, entry.shape, entry.type) == ("images", [1, 3, 736, 1280], "tensor(float)")
    assert result.shape == [1, 5, 92 * 160]


def test_the_model_describes_itself(model_path: Path) -> None:
    session = onnxruntime.InferenceSession(str(model_path), providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["name"] == "touchline_people"
    assert json.loads(facts["classes"]) == ["person"]
    assert json.loads(facts["input_size_px"]) == [1280, 736]
    assert facts["names"] == "{0: 'person'}"
    assert facts["licence"] == "Apache-2.0"
    assert facts["training_date"].startswith("20")


@pytest.mark.parametrize("grey", [0, 114, 255])
def test_an_empty_picture_holds_nobody(model_path: Path, grey: int) -> None:
    boxes, scores = evaluate.Model(model_path).find(np.full((720, 1280, 3), grey, np.uint8))
    assert not (scores > 0.4).any()
    assert np.isfinite(boxes).all()


def test_the_output_is_finite_for_noise(model_path: Path) -> None:
    session = onnxruntime.InferenceSession(str(model_path), providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(0).random((1, 3, 736, 1280), np.float32)
    output = session.run(None, {"images": noise})[0]
    assert decode_yolov8(output, 0.0).non_finite == 0
    assert output[0, 4].min() >= 0
    assert output[0, 4].max() <= 1


def held_out(stadium: Path, every: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    labels = read_boxes(stadium / "left_boxes.csv")
    for number, frame in enumerate(read_video(stadium / "left_camera.mp4", 200, 250), 200):
        if number % every == 0:
            small = cv2.resize(frame, (1280, 720), interpolation=cv2.INTER_AREA)
            yield np.asarray(small, np.uint8), labels[number] * np.float32(1280 / 3072)


def test_it_holds_the_bar_on_frames_it_never_saw(repo: Path, stadium: Path) -> None:
    model = evaluate.Model(repo / "agent" / "detect" / "models" / MODELS[0])
    found, truth = [], []
    for image, labels in held_out(stadium, every=5):
        found.append(model.find(image))
        truth.append(labels)
    recall, _ = score_frames(found, truth).recall_at_precision(BAR_PRECISION)
    assert recall >= BAR_RECALL


def test_evaluation_writes_its_figures_and_gates(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    cv2.imwrite(str(tmp_path / "set" / "000000.png"), np.full((360, 640, 3), 90, np.uint8))
    (tmp_path / "set" / "boxes.csv").write_text("frame,x1,y1,x2,y2,score\n0,10,10,20,40,1.0\n")
    model = repo / "agent" / "detect" / "models" / MODELS[0]
    out = tmp_path / "figures.json"
    argv = ["--model", str(model), "--generated", str(tmp_path / "set"), "--json", str(out)]
    assert evaluate.main(argv) == 0
    figures = json.loads(out.read_text())
    assert figures["frames"] == 1
    assert figures["people"] == 1
    assert evaluate.main([*argv, "--bar", "0.83"]) == 8
    assert "below the bar" in capsys.readouterr().err


def test_a_list_of_detections_is_scored_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels, found = tmp_path / "labels.csv", tmp_path / "found.csv"
    labels.write_text("frame,x1,y1,x2,y2,score\n3,10,10,20,40,1.0\n4,10,10,20,40,1.0\n")
    found.write_text("frame,x1,y1,x2,y2,score,class\n3,10,11,20,40,0.9,person\n")
    argv = ["--detections", str(found), "--boxes", str(labels), "--frames", "3:4"]
    assert evaluate.main(argv) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["recall_at_precision"], figures["people"]) == (0.5, 2)


@pytest.mark.parametrize("frames", ["7", "9:3", "a:b"])
def test_a_wrong_stretch_of_frames_is_refused(tmp_path: Path, frames: str, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("frame,x1,y1,x2,y2,score\n")
    assert evaluate.main(["--detections", str(labels), "--boxes", str(labels), "--frames", frames]) == 4
    assert "--frames" in capsys.readouterr().err


def test_a_file_that_is_no_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"not a model")
    assert evaluate.main(["--model", str(bad), "--generated", str(tmp_path)]) == 4
    assert "not a model" in capsys.readouterr().err
