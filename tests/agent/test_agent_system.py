"""The whole agent as processes: it delivers, survives kills, and says in one line what is wrong with its input."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.failover.people import SIZE_PX, STANDING_M
from tests.agent.node import NAME, Node, alive, wait_for
from tests.agent.publish.rack import Rack
from touchline.run import need

pytestmark = pytest.mark.system


@pytest.fixture
def node(rack: Rack, tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME))
    yield made
    made.close()


METRICS = (
    r'touchline_stage_ms\{process="inference0",quantile="p99",stage="infer"\} [\d.e-]+',
    r'touchline_frames_total\{what="captured"\} [1-9]',
    r'touchline_records_total\{what="acknowledged"\} [1-9]',
    r'touchline_spool\{unit="records"\} \d',
    r"touchline_up 1.0",
)


def queued(node: Node) -> int:
    return int(node.status().get("queued", 0))


def test_a_finite_source_ends_with_every_record_delivered_once(rack: Rack, node: Node):
    """The ring holds all of them: how long this machine does not run the inference is no part of it."""
    node.edit("[camera.options]", "[camera.options]\nframes = 60")
    node.edit("slots = 16", "slots = 80")
    node.edit("[publish]", "max_lag_ms = 0\n[publish]")
    sink = rack.subscriber()
    node.start()
    assert node.wait() == 0, node.log
    status = node.status()
    assert status["state"] == "stopped"
    assert status["frames"] == {"captured": 60, "processed": 60}
    assert status["dropped"] == {}
    assert status["queued"] == status["acknowledged"] >= 50 * len(STANDING_M)
    wait_for(lambda: len(sink.seen) == status["queued"], "all records at the sink", node)


def test_metrics_and_status_show_stages_frames_and_spool(rack: Rack, node: Node):
    node.start()
    wait_for(lambda: node.status().get("state") == "running" and queued(node) > 100, "records", node)
    found = re.search(r"http://127\.0\.0\.1:\d+/metrics", node.log)
    assert found
    address = found[0]

    def page() -> str:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return str(answer.read().decode())

    for line in METRICS:
        wait_for(lambda line=line: bool(re.search(line, page())), line, node)  # type: ignore[misc]
    assert node.end() == 0


def test_sigterm_drains_within_the_deadline_and_reports_it(rack: Rack, node: Node):
    sink = rack.subscriber()
    node.start()
    wait_for(lambda: queued(node) > 200, "records", node)
    assert node.end() == 0
    assert node.status()["queued"] == node.status()["acknowledged"]
    wait_for(lambda: len(sink.seen) == node.status()["queued"], "all records at the sink", node)
    assert "SIGTERM received" in node.log


def degraded(node: Node) -> str:
    """Why its state is degraded; empty in any other."""
    status = node.status()
    return str(status["reason"]) if status.get("state") == "degraded" else ""


@pytest.mark.parametrize("victim", ["capture0", "inference0", "publisher"])
def test_a_killed_child_is_restarted_with_the_reason_in_health(rack: Rack, node: Node, victim: str):
    node.start()
    wait_for(lambda: queued(node) > 50, "records", node)
    first = node.child_pid(victim)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: node.status()["children"][victim]["restarts"] == 1, "the restart", node)
    before = queued(node)
    wait_for(lambda: queued(node) > before + 50, "records after the restart", node)
    child = node.status()["children"][victim]
    assert child["last_failure"] == "killed by SIGKILL"
    assert child["pid"] != first
    assert victim in node.status()["reason"]
    assert node.end() == 0


def test_a_child_that_keeps_dying_ends_the_agent_with_the_reason(rack: Rack, node: Node):
    node.text += "restart_limit = 1\n"
    node.start()
    killed: set[int] = set()

    def kill_every_life() -> bool:
        assert node.process is not None
        child = node.status().get("children", {}).get("inference0", {})
        if child.get("ready") and child["pid"] not in killed and alive(child["pid"]):
            killed.add(child["pid"])
            os.kill(child["pid"], signal.SIGKILL)
        return node.process.poll() is not None

    wait_for(kill_every_life, "the agent's end", node)
    assert node.wait() == 1
    assert len(killed) == 2
    assert "inference0 failed after 1 restarts: killed by SIGKILL" in node.log


def test_kill_9_of_the_agent_loses_nothing_that_was_spooled_and_leaves_no_child(rack: Rack, node: Node):
    sink = rack.subscriber()
    rack.broker.pause()  # nothing is acknowledged from here on
    node.start()
    wait_for(lambda: queued(node) > 300, "records in the spool", node)
    children = [child["pid"] for child in node.status()["children"].values()]
    spooled = queued(node)
    node.kill()
    wait_for(lambda: not any(map(alive, children)), "the children's end", node)
    rack.broker.resume()
    node.edit("[camera.options]", "[camera.options]\nframes = 5")
    node.start()
    assert node.wait() == 0, node.log
    wait_for(lambda: len(sink.seen) >= spooled, f"{spooled} spooled records", node)


def test_a_broker_that_is_down_at_the_start_gets_everything_later(rack: Rack, node: Node):
    sink = rack.subscriber()
    rack.broker.stop()
    node.start()
    wait_for(lambda: queued(node) > 100, "records in the spool", node)
    wait_for(lambda: "nothing listens at broker" in node.log, "the reason", node)
    rack.broker.start()
    wait_for(lambda: node.status()["acknowledged"] > 100, "acknowledgements", node)
    assert node.end() == 0
    wait_for(lambda: len(sink.seen) == node.status()["queued"], "all records at the sink", node)


def test_kill_9_of_the_broker_mid_way_loses_nothing(rack: Rack, node: Node):
    node.edit("wait_for_sink = false", "wait_for_sink = true")
    sink = rack.subscriber(announce=True)
    node.start()
    wait_for(lambda: len(sink.seen) > 200, "records at the sink", node)
    wait_for(lambda: node.status()["link"]["phase"] == "open", "a status as new as the link", node)
    rack.broker.kill()
    wait_for(lambda: node.status()["link"]["phase"] != "open", "the broken link", node)
    before, acknowledged = queued(node), node.status()["acknowledged"]
    wait_for(lambda: queued(node) > before + 100, "records in the spool", node)
    rack.broker.start()
    wait_for(lambda: node.status()["link"]["phase"] == "open", "the link", node)
    wait_for(lambda: node.status()["acknowledged"] > acknowledged + 100, "acknowledgements", node)
    assert node.end() == 0
    wait_for(lambda: len(sink.seen) == node.status()["queued"], "all records at the sink", node)


def test_a_decoder_that_dies_is_restarted_and_its_frames_flow_again(rack: Rack, node: Node, tmp_path: Path):
    """An error of a camera is no end of its source: the inference waits for the next life of the capture."""
    clip = tmp_path / "clip.mp4"
    source = f"testsrc=s={SIZE_PX[0]}x{SIZE_PX[1]}:r=25:d=20"
    argv = [need("ffmpeg", "ffmpeg"), "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264"]
    subprocess.run([*argv, "-preset", "ultrafast", str(clip)], check=True)
    node.edit('source = "pattern"', 'source = "video"')
    node.edit("[camera.options]", f'[camera.options]\nfile = "{clip}"\nloop = true')
    node.start()
    wait_for(lambda: queued(node) > 50, "records", node)
    capture = node.child_pid("capture0")
    children = Path(f"/proc/{capture}/task/{capture}/children").read_text().split()
    for pid in children:
        os.kill(int(pid), signal.SIGKILL)
    wait_for(lambda: node.status()["children"]["capture0"]["restarts"] == 1, "the restart", node)
    processed = node.status()["frames"]["processed"]
    wait_for(lambda: node.status()["frames"]["processed"] > processed + 50, "frames after the restart", node)
    assert "ffmpeg was killed" in node.status()["children"]["capture0"]["last_failure"]
    assert node.end() == 0


def test_one_lost_camera_leaves_the_other_at_work(rack: Rack, tmp_path: Path):
    node = Node(tmp_path / "two", rack.broker.port, rack.ca.client(NAME), cameras=2)
    node.text += "restart_limit = 0\n"
    try:
        node.start()
        wait_for(lambda: node.status().get("state") == "running", "both cameras", node)
        os.kill(node.child_pid("inference1"), signal.SIGKILL)
        wait_for(lambda: "camera 2 is given up" in degraded(node), "the degraded state", node)
        processed = node.status()["frames"]["processed"]
        wait_for(lambda: node.status()["frames"]["processed"] > processed + 50, "frames of camera 1", node)
        assert node.end() == 0
    finally:
        node.close()


def test_a_slow_camera_does_not_cost_the_publisher_its_drain(rack: Rack, node: Node):
    node.edit("rate_hz = 50.0", "rate_hz = 0.1")
    node.start()
    wait_for(lambda: node.status().get("frames", {}).get("processed", 0) > 0, "the first frame", node)
    assert node.end() == 0
    assert "killed" not in node.log


def test_status_of_a_dead_agent_says_gone_and_exits_6(rack: Rack, node: Node):
    node.start()
    assert node.process is not None
    wait_for(lambda: node.status().get("state") == "running", "frames", node)
    argv = [sys.executable, "-m", "touchline.cli", "agent", "status", "--json", "--config", str(node.config)]
    told = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    assert told["pid"] == node.process.pid and told["state"] in ("running", "degraded")
    node.kill()
    done = subprocess.run(argv, capture_output=True, check=False)
    assert done.returncode == 6
    assert json.loads(done.stdout)["state"] == "gone"


def test_the_rack_hears_of_restarts_of_the_end_and_of_sudden_death(rack: Rack, node: Node):
    sink = rack.subscriber()
    node.start()
    wait_for(lambda: queued(node) > 50, "records", node)
    os.kill(node.child_pid("inference0"), signal.SIGKILL)
    wait_for(lambda: any(b'"code":"restart"' in one for one in sink.payloads), "the restart as an event", node)
    assert node.end() == 0
    wait_for(lambda: b'"state":"stopped"' in sink.payloads[-1], "the goodbye", node)
    node.start()
    wait_for(lambda: b'"state":"running"' in sink.payloads[-1], "the next start", node)
    node.kill()
    wait_for(lambda: b'"state":"offline"' in sink.payloads[-1], "the last will", node)


# --- bad input: one clear line, a documented exit code ----------------------------------------------------------------


def refused(node: Node, code: int, *words: str) -> None:
    node.start()
    assert node.wait() == code, node.log
    assert "Traceback" not in node.log
    for word in words:
        assert word in node.log, node.log


def test_a_missing_video_ends_with_4(node: Node):
    node.edit('source = "pattern"', 'source = "video"')
    node.edit("[camera.options]", '[camera.options]\nfile = "none.mp4"')
    refused(node, 4, "none.mp4: no such file")


def test_a_truncated_video_ends_with_4_after_its_frames_were_delivered(rack: Rack, node: Node, tmp_path: Path):
    clip = tmp_path / "clip.mkv"
    source = f"testsrc=s={SIZE_PX[0]}x{SIZE_PX[1]}:r=50:d=2"
    argv = [
        need("ffmpeg", "ffmpeg"),
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        source,
        "-c:v",
        "libx264",
        "-g",
        "5",
        str(clip),
    ]
    subprocess.run(argv, check=True)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    sink = rack.subscriber()
    node.edit('source = "pattern"', 'source = "video"')
    node.edit("[camera.options]", f'[camera.options]\nfile = "{clip}"')
    refused(node, 4, str(clip))
    assert node.status()["queued"] > 0
    wait_for(lambda: len(sink.seen) == node.status()["queued"], "all records at the sink", node)


def test_a_calibration_of_another_shape_ends_with_3(node: Node):
    node.edit("width_px = 320", "width_px = 192")
    refused(node, 3, "left.json is for 320x192")


def test_a_model_of_another_layout_ends_with_3(node: Node, tmp_path: Path):
    from tests.agent.detect.stand_in import constant_model

    model = constant_model(tmp_path / "v5.onnx", input_shape=[1, 3, 192, 320], output_shapes=[[1, 2000, 6]])
    node.edit("people.onnx", "../v5.onnx")
    assert model.exists()
    refused(node, 3, "YOLOv8")


def test_a_ring_larger_than_the_memory_ends_with_5(node: Node):
    node.edit("slots = 16", "slots = 100000")
    node.edit(f"width_px = {SIZE_PX[0]}", "width_px = 8192")
    node.edit(f"height_px = {SIZE_PX[1]}", "height_px = 4800")
    refused(node, 5, "ring")


def test_a_taken_metrics_port_ends_with_5(node: Node):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        node.edit("[metrics]\nport = 0", f"[metrics]\nport = {taken.getsockname()[1]}")
        refused(node, 5, "metrics.port")


def test_an_unusable_run_folder_ends_with_5(node: Node):
    (node.folder / "file").write_text("")
    node.edit('run_dir = "run"', 'run_dir = "file/run"')
    refused(node, 5, "node.run_dir", "cannot be used")


def test_an_unknown_key_ends_with_3(node: Node):
    node.edit("[ring]", "[ring]\nslotz = 3")
    refused(node, 3, "unknown key ring.slotz", "did you mean 'slots'?")


def test_an_expired_certificate_is_named_and_nothing_is_lost(rack: Rack, tmp_path: Path):
    expired = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME, valid_days=-1))
    try:
        expired.start()
        wait_for(lambda: queued(expired) > 50 and "expired" in expired.log, "the reason", expired)
        spooled = queued(expired)
        wait_for(lambda: expired.status()["link"]["fault"] == "certificate_expired", "its name", expired)
        expired.end()
        assert expired.status()["acknowledged"] == 0
        rack.ca.client(NAME)
        sink = rack.subscriber()
        expired.edit("[camera.options]", "[camera.options]\nframes = 5")
        expired.start()
        assert expired.wait() == 0, expired.log
        wait_for(lambda: len(sink.seen) >= spooled, "what waited", expired)
    finally:
        expired.close()
