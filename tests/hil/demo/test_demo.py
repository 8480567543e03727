"""The demo: its figures from hand-made inputs, and the real thing for a few seconds."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from hil.demo.cli import demo
from hil.demo.plan import DemoPlan, node_toml, rack_toml, venue_cameras, video_camera
from hil.demo.result import Stored, result_of
from hil.demo.run import judge
from hil.demo.show import live_view, result_table
from hil.rack.pki import Identity
from touchline.config import NodeConfig, RackConfig, parse
from touchline.errors import ConfigError, GateError
from touchline.record import RECORD

IDENTITY = Identity(Path("/pki/ca.crt"), Path("/pki/n.crt"), Path("/pki/n.key"))
STATUS = {
    "frames": {"captured": 100, "processed": 97},
    "dropped": {"camera": 2, "ring": 1},
    "queued": 3,
    "records": 3,
    "fps": {"1": 12.5},
    "stages_ms": {"infer": {"count": 97, "p50": 20.0, "p99": 30.0, "max": 40.0}},
    "spool": {"depth_max": 52},
    "children": {"inference0": {"engine": {"name": "onnxruntime"}}},
}


def stored(count: int, doubled: int = 0) -> Stored:
    records = np.zeros(count, RECORD)
    records["ptp_ns"] = 10**18
    arrived = np.full(count, 10**18, np.int64) + np.arange(count) * 10_000_000
    return Stored(records, arrived, np.array([count], np.int64), doubled)


FIGURES = {"rms": 0.25, "p95": 0.5, "matched_share": 0.9, "found_share": 0.8}


def plan(video: bool = False) -> DemoPlan:
    cameras = venue_cameras({"left": Path("/c/left.json"), "right": Path("/c/right.json")}, 12.5, 7)
    if video:
        cameras = video_camera(Path("/m/a.mp4"), Path("/m/a.json"), 25.0)
    return DemoPlan(seconds=5, cameras=cameras, threads=1, seed=7, video=Path("/m/a.mp4") if video else None)


@pytest.mark.parametrize("video", [False, True])
def test_the_written_configurations_are_valid(video):
    node = parse(node_toml(plan(video), Path("/demo"), 8883, IDENTITY), NodeConfig)
    assert [camera.source for camera in node.camera] == (["video"] if video else ["venue", "venue"])
    assert node.mqtt.key_file == Path("/pki/n.key")
    rack = parse(rack_toml(plan(video), Path("/demo"), 8883, IDENTITY), RackConfig)
    assert rack.store.path == Path("/demo/match.sqlite")


def test_the_result_has_the_documented_form():
    result = result_of(STATUS, stored(3), {"rms": 0.25, "p95": 0.5}, 5.0)
    assert result["frames"] == {"captured": 100, "processed": 97, "dropped": 3}
    assert result["records"] == {"published": 3, "received": 3, "lost": 0, "duplicated": 0}
    assert result["latency_ms"] == {"p50": 10.0, "p99": 19.8, "max": 20.0}
    assert result["stages_ms"] == {"infer": {"p50": 20.0, "p99": 30.0}}
    assert result["burst"] == {"records_p50": 3, "records_max": 3}
    assert result["spool"] == {"depth_max": 52}
    assert result["engine"] == {"name": "onnxruntime", "fps": 50.0}


def test_losses_doubles_and_silence_fail_the_demo():
    judge(result_of(STATUS, stored(3), None, 5.0))
    for bad in (stored(2), stored(4, doubled=1), stored(0)):
        with pytest.raises(GateError, match="lost"):
            judge(result_of(STATUS, bad, None, 5.0))
    never_spooled = {**STATUS, "dropped": {"link": 5}}
    with pytest.raises(GateError, match="5 records lost"):
        judge(result_of(never_spooled, stored(3), None, 5.0))


def test_the_views_show_the_figures():
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(result_table(result_of(STATUS, stored(3), FIGURES, 5.0)))
    console.print(live_view("http://127.0.0.1:1/", 2.0, 5.0, STATUS, {"records": {"unique": 3, "lost": 0}}))
    text = console.export_text()
    for figure in (
        "100 / 3",
        "3 / 3",
        "10.0 / 19.8 / 20.0",
        "0.250 / 0.500",
        "camera 1: 12.5 fps",
        "90.0 % / 80.0 %",
        "ring 1",
    ):
        assert figure in text


def test_a_video_needs_its_calibration():
    result = CliRunner().invoke(demo, ["--video", "a.mp4"])
    assert isinstance(result.exception, ConfigError)


@pytest.mark.system
@pytest.mark.timeout(400)
def test_a_short_real_demo_loses_nothing_and_is_near_the_truth(tmp_path):
    out = tmp_path / "demo.json"
    argv = [sys.executable, "-m", "touchline.cli", "demo", "--headless", "--seconds", "6", "--fps", "5"]
    done = subprocess.run(
        [*argv, "--json", str(out), "--keep", str(tmp_path / "kept")],
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    assert result["records"]["received"] > 100
    assert result["records"]["lost"] == result["records"]["duplicated"] == 0
    assert result["position_error_m"]["rms"] < 1.0
    assert result["position_error_m"]["matched_share"] > 0.5
    assert result["latency_ms"]["p50"] is not None
    assert re.search(r"records lost / duplicated\s+│ 0 / 0", done.stdout)
