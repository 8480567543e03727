"""The generated Wireshark dissector on a real capture: the demo's own traffic over plain MQTT on loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from hil.demo.plan import DemoPlan, venue_cameras
from hil.demo.stage import Stage
from hil.venue.optics import write_calibrations
from touchline.record_cli import record
from touchline.run import need, run

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]
BATCHES = 30  # six seconds: tshark may begin some seconds after it said so


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    cameras = venue_cameras(write_calibrations(tmp_path / "calibration"), 5.0, 7)[:1]
    plan = DemoPlan(seconds=5, cameras=cameras, threads=1, seed=7, plain_port=0)
    with Stage(plan, tmp_path) as running:
        running.await_frames()
        yield running


def test_tshark_reads_the_demos_batches_field_by_field(stage: Stage, tmp_path: Path):
    """A subscriber on the plain listener makes the broker send the node's batches in the clear; tshark watches."""
    tshark, listen = need("tshark", "tshark"), need("mosquitto_sub", "mosquitto-clients")
    script = tmp_path / "touchline.lua"
    script.write_text(CliRunner().invoke(record, ["spec", "--format", "wireshark"]).output)
    assert stage.broker is not None
    port = str(stage.broker.plain_port)
    capture = tmp_path / "demo.pcapng"
    watching = subprocess.Popen(
        [tshark, "-i", "lo", "-f", f"tcp port {port}", "-w", str(capture), "-a", "duration:150"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stderr is not None
        while "Capturing on" not in (line := watching.stderr.readline()):
            assert line, "tshark did not start"
        payload = run(
            [
                listen,
                "-h",
                "127.0.0.1",
                "-p",
                port,
                "-t",
                "tl/v1/+/det",
                "-q",
                "1",
                "-C",
                str(BATCHES),
                "-N",
                "-W",
                "120",
            ],
            timeout_s=150,
        ).stdout
    finally:
        watching.terminate()
        watching.wait()
    fields = ["touchline.header.node", "touchline.header.count", "touchline.record.frame", "touchline.record.x_m"]
    argv = [tshark, "-r", str(capture), "-d", f"tcp.port=={port},mqtt", "-X", f"lua_script:{script}", "-Y", "touchline"]
    wanted = [word for field in fields for word in ("-e", field)]
    lines = run([*argv, "-T", "fields", *wanted], timeout_s=120).stdout.decode().splitlines()
    decoded = subprocess.run(
        [sys.executable, "-m", "touchline.cli", "record", "decode", "-", "--limit", "1"],
        input=payload,
        capture_output=True,
        check=True,
    )
    assert len(lines) >= 5
    node, count, frames, xs = lines[0].split("\t")
    first = [int(value) for value in count.split(",")]
    assert set(node.split(",")) == {"demo-node"}
    assert len(frames.split(",")) == len(xs.split(",")) == sum(first)
    assert all(-10.0 < float(x) < 115.0 for x in xs.split(","))
    assert decoded.stdout.decode().count("of node demo-node") == BATCHES
