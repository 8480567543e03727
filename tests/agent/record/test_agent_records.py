"""The whole agent with ``[record]``: every frame that its camera delivered is in a file that plays."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from agent.record.check import check
from agent.record.read import read_recording
from tests.agent.node import NAME, Node, wait_for
from tests.agent.publish.rack import Rack

pytestmark = pytest.mark.system


@pytest.fixture
def node(rack: Rack, tmp_path: Path):
    made = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME))
    made.edit("slots = 16", "slots = 600")  # of which a recorder may be a quarter behind: three seconds
    made.text += '[record]\nfolder = "recordings"\npreset = "ultrafast"\nmin_free = "1MiB"\n'
    yield made
    made.close()


def recording(node: Node) -> str:
    return str(node.status().get("recording", {}).get("recorder0", {}).get("state", ""))


def test_what_the_camera_saw_is_recorded(node: Node):
    """From the first frame, which waits in the ring for a recorder that comes up late, to the last."""
    node.start()
    wait_for(lambda: recording(node) == "recording" and node.status()["frames"]["captured"] > 150, "frames", node)
    assert node.end() == 0, node.log
    (path,) = (node.folder / "recordings" / "cam1").glob("*.mp4")
    found = read_recording(path)
    assert found is not None and found.frames["active"].all()
    status = node.status()
    assert status["recording"]["recorder0"]["role"] == "active"
    assert len(found.frames) == status["frames"]["captured"]
    played = check(path, 1000.0)
    assert played["good"] and played["ptp"]["pts_error_max_us"] <= 0.5


def test_a_killed_recorder_comes_back_and_the_match_goes_on(node: Node):
    node.start()
    wait_for(lambda: "recorder0" in node.status().get("recording", {}), "the recorder", node)
    files = node.folder / "recordings" / "cam1"
    wait_for(lambda: len(list(files.glob("*.mp4"))) == 1, "a file", node)
    os.kill(node.child_pid("recorder0"), signal.SIGKILL)
    wait_for(lambda: len(list(files.glob("*.mp4"))) == 2, "another file", node)
    assert node.status()["state"] in ("running", "degraded")
    assert node.end() == 0
    for path in files.glob("*.mp4"):
        assert check(path, 60_000.0)["good"]
