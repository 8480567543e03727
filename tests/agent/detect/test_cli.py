"""``touchline detect`` from end to end on generated footage."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from agent.camera.ffmpeg import probe
from agent.detect import output
from agent.detect.build import DEFAULT_MODEL
from agent.detect.cli import detect
from agent.detect.source import read_picture
from tests.agent.detect.stand_in import constant_model, square_corner, square_frame
from touchline.errors import ConfigError, InputError, ResourceError, TouchlineError


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(detect, [str(argument) for argument in arguments])


def refused(error: type[TouchlineError], *arguments: Any) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, error), result.output
    return result.exception.message


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_a_video_becomes_boxes_in_source_pixels(tmp_path, square_video: Path, square_model: Path):
    out = tmp_path / "boxes.csv"
    result = run(square_video, "--model", square_model, "--out", out, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert out.read_text().splitlines()[0] == "frame,x1,y1,x2,y2,score,class"
    table = rows(out)
    assert [int(row["frame"]) for row in table] == list(range(20))
    for row in table:
        x, y = square_corner(int(row["frame"]))
        assert np.allclose([float(row[key]) for key in ("x1", "y1", "x2", "y2")], [x, y, x + 32, y + 32], atol=1)
        assert float(row["score"]) > 0.8 and row["class"] == "0"
    assert "20 frames, 20 detections (1.0 per frame)" in result.output and "onnxruntime" in result.output


@pytest.mark.parametrize(
    ("text", "numbers"), [("3:7", range(3, 8)), ("18:", range(18, 20)), (":2", range(3)), ("5", [5]), ("0:0", [0])]
)
def test_ranges_include_both_ends(tmp_path, square_video: Path, square_model: Path, text: str, numbers):
    out = tmp_path / "boxes.csv"
    result = run(square_video, "--model", square_model, "--out", out, "--frames", text, "--json")
    assert result.exit_code == 0, result.output
    assert [int(row["frame"]) for row in rows(out)] == list(numbers)
    assert json.loads(result.stdout)["frames"] == len(list(numbers))


def test_the_summary_as_json(tmp_path, square_video: Path, square_model: Path):
    result = run(square_video, "--model", square_model, "--out", tmp_path / "b.csv", "--json", "--tiles")
    summary = json.loads(result.stdout)
    assert summary["frames"] == summary["detections"] == 20 and summary["tiled"] is True
    assert set(summary["stages_ms"]) == {"letterbox", "infer", "decode"} and summary["frames_per_s"] > 0
    assert summary["engine"]["input_size_px"] == [640, 384] and summary["engine"]["load_ms"] > 0
    assert summary["non_finite"] == 0 and summary["decoder_warnings"] == 0 and summary["overlay"] is None
    assert summary["model"] == str(square_model)


def test_the_overlay_video_shows_the_boxes(tmp_path, square_video: Path, square_model: Path):
    overlay = tmp_path / "look.mp4"
    arguments = ["--model", square_model, "--out", tmp_path / "b.csv", "--frames", "4:9", "--overlay", overlay]
    assert run(square_video, *arguments).exit_code == 0
    info = probe(overlay)
    assert (info.width_px, info.height_px, info.frames, info.rate_hz) == (640, 360, 6, 25.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.csv", "look.mp4"]


def test_the_overlay_picture_is_of_the_first_frame(tmp_path, square_video: Path, square_model: Path):
    overlay = tmp_path / "look.png"
    arguments = ["--model", square_model, "--out", tmp_path / "b.csv", "--frames", "4:6", "--overlay", overlay]
    assert run(square_video, *arguments).exit_code == 0
    image = read_picture(overlay)
    x, y = square_corner(4)
    assert image.shape == (360, 640, 3)
    assert np.abs(image[y + 16, x].astype(int) - (255, 214, 10)).max() < 30  # the box's line
    assert overlay.stat().st_mode & 0o777 == 0o644


def test_pictures_are_numbered_in_their_order(tmp_path, square_model: Path):
    paths = []
    for number in (9, 2):
        paths.append(tmp_path / f"picture{number}.png")
        cv2.imwrite(str(paths[-1]), cv2.cvtColor(square_frame(number), cv2.COLOR_RGB2BGR))
    out, overlay = tmp_path / "b.csv", tmp_path / "look.png"
    result = run(*paths, "--model", square_model, "--out", out, "--overlay", overlay)
    assert result.exit_code == 0, result.output
    found = [(int(row["frame"]), round(float(row["x1"]))) for row in rows(out)]
    assert found == [(0, 9 * 32), (1, 2 * 32)] and overlay.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.mp4"],
        ["a.mp4", "b.mp4", "--out", "o.csv"],
        ["a.mp4", "b.png", "--out", "o.csv"],
        ["a.mp4", "--out", "o.csv", "--frames", "9:3"],
        ["a.mp4", "--out", "o.csv", "--frames", "x"],
        ["a.mp4", "--out", "o.csv", "--frames", ""],
        ["a.mp4", "--out", "o.csv", "--classes", "people"],
        ["a.mp4", "--out", "o.csv", "--overlay", "look.gif"],
        ["a.mp4", "--out", "a.mp4"],
        ["a.png", "--out", "o.csv", "--frames", "0:1"],
        ["a.png", "--out", "o.csv", "--overlay", "look.mp4"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments):
    assert run(*arguments).exit_code == 2


def test_bad_input_is_named_and_leaves_nothing(tmp_path, square_video: Path, square_model: Path):
    good = ["--model", square_model, "--out", tmp_path / "b.csv"]
    assert "no such file" in refused(InputError, tmp_path / "none.mp4", *good)
    assert "has 20 frames" in refused(InputError, square_video, *good, "--frames", "10:20")
    assert "no frame 20" in refused(InputError, square_video, *good, "--frames", "20:")
    assert "cannot read the picture" in refused(InputError, tmp_path / "none.png", *good)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nothing")
    assert "not a picture" in refused(InputError, tmp_path / "bad.png", *good)
    assert "score threshold" in refused(ConfigError, square_video, *good, "--score", "2")
    assert "no class 5" in refused(ConfigError, square_video, *good, "--classes", "0,5")
    wrong = constant_model(tmp_path / "w.onnx", input_shape=[1, 3, 64, 64], output_shapes=[[1, 84, 6]])
    assert "expected" in refused(ConfigError, square_video, "--model", wrong, "--out", tmp_path / "b.csv")
    assert "cannot write" in refused(ResourceError, square_video, "--model", square_model, "--out", tmp_path / "no/b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.png", "w.onnx"]


def test_a_truncated_video_keeps_an_older_result(tmp_path, square_video: Path, square_model: Path):
    cut, out = tmp_path / "cut.mp4", tmp_path / "b.csv"
    data = square_video.read_bytes()
    cut.write_bytes(data[: len(data) * 3 // 4])
    out.write_text("older result")
    overlay = tmp_path / "look.mp4"
    message = refused(InputError, cut, "--model", square_model, "--out", out, "--overlay", overlay)
    assert "at frame" in message and "of 20" in message
    assert out.read_text() == "older result"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.csv", "cut.mp4"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_named(tmp_path, square_video: Path, square_model: Path, monkeypatch: pytest.MonkeyPatch):
    real = tempfile.mkstemp

    def full(**options: Any) -> tuple[int, str]:
        handle, name = real(**options)
        Path(name).unlink()
        Path(name).symlink_to("/dev/full")
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", full)
    out = tmp_path / "b.csv"
    assert "No space left" in refused(ResourceError, square_video, "--model", square_model, "--out", out)
    assert not list(tmp_path.iterdir())


def test_a_missing_encoder_is_named(tmp_path, square_video: Path, square_model: Path, monkeypatch: pytest.MonkeyPatch):
    def absent(program: str, package: str) -> str:
        raise ResourceError(f"{program} is not installed", hint=f"apt install {package}")

    monkeypatch.setattr(output, "need", absent)
    arguments = ["--model", square_model, "--out", tmp_path / "b.csv", "--overlay", tmp_path / "o.mp4"]
    assert "ffmpeg is not installed" in refused(ResourceError, square_video, *arguments)
    assert not list(tmp_path.iterdir())


def test_help_has_examples_and_exit_codes():
    text = run("--help").output
    assert "Examples:" in text and "--frames 200:249" in text and "Exit codes" in text


@pytest.mark.system
def test_the_own_model_sees_people_in_a_real_match(tmp_path, stadium: Path):
    out = tmp_path / "b.csv"
    result = run(stadium / "left_camera.mp4", "--frames", "200:201", "--out", out, "--json", "--threads", 2)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert DEFAULT_MODEL.exists() and summary["frames"] == 2
    assert 10 <= summary["detections"] / 2 <= 40  # 22 players, officials and staff, half of the pitch
    boxes = np.array([[float(row[key]) for key in ("x1", "y1", "x2", "y2")] for row in rows(out)])
    assert (boxes[:, [0, 2]] <= 3072).all() and (boxes[:, [1, 3]] <= 1728).all() and boxes[:, 2].max() > 1280


def test_an_overlay_that_cannot_be_encoded_gives_ffmpegs_reason(tmp_path):
    frame = square_frame(0)
    with (
        pytest.raises(ResourceError, match=r"could not be encoded: .*No such file"),
        output.OverlayVideo(tmp_path / "none" / "look.mp4", (640, 360), 25.0) as film,
    ):
        for _ in range(50):
            film.add(frame)
