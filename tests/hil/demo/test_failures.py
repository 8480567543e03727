"""What the demo says when its parts fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]


def run_demo(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "touchline.cli", "demo", "--headless", "--seconds", "2", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=360, check=False)


def test_a_missing_video_is_named_with_4(tmp_path: Path):
    from hil.venue.optics import write_calibrations

    calibration = write_calibrations(tmp_path)["left"]
    done = run_demo("--video", str(tmp_path / "none.mp4"), "--calibration", str(calibration))
    assert done.returncode == 4
    assert "none.mp4: no such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_foreign_calibration_is_named_with_3(tmp_path: Path):
    source = "testsrc=s=320x180:r=25:d=2"
    clip = tmp_path / "clip.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, str(clip)], check=True)
    (tmp_path / "c.json").write_text('{"schema": "something else"}')
    done = run_demo("--video", str(clip), "--calibration", str(tmp_path / "c.json"))
    assert done.returncode == 3
    assert "c.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_page_port_is_named_with_5():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_demo("--port", str(port))
    assert done.returncode == 5
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr
