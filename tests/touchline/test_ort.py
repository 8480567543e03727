"""ONNX Runtime is loaded through one door, which turns its usage reports off."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FIRST_IMPORT = re.compile(r"^\s*(?:import onnxruntime|from onnxruntime)", re.M)


def test_only_the_door_imports_it(repo: Path):
    rooms = ("touchline", "agent", "calibration", "aggregator", "flash", "hil", "benchmarks")
    users = {
        path.relative_to(repo).as_posix()
        for room in rooms
        for path in (repo / room).rglob("*.py")
        if FIRST_IMPORT.search(path.read_text())
    }
    assert users == {"touchline/ort.py", "calibration/detector/quantise.py"}  # the second comes through the first


def test_it_leaves_nothing_in_the_cache(tmp_path: Path):
    words = "import touchline.ort, calibration.camera_model"
    environment = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", words], env=environment, check=True, timeout=150)
    assert not list(tmp_path.rglob("*"))
