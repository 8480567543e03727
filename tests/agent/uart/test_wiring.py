"""The serial line in the agent's tree: who is started with which ends, what its loss costs, what an inference tells."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from agent.detect.types import Detections
from agent.parent.drain import Drain
from agent.parent.duty import NodeDuty
from agent.parent.health import NodeView
from agent.parent.parent import Agent
from agent.processes.inference import Pipeline
from agent.processes.spec import ChildSpec, Role
from agent.ring import RingFrame
from agent.track.ground import GroundProjector
from agent.track.tracker import Tracker
from agent.track.tracks import no_tracks
from agent.uart.feed import Feed, read_sight
from calibration.camera_model import CameraCalibration
from hil.venue.optics import site_camera
from tests.agent.parent.helpers import Parent, node_config
from tests.agent.processes.test_inference import Desk
from touchline.config import NodeConfig, TrackSection
from touchline.timeline import ClockState, Stamp

CLOCK_LIMIT_NS = 1000


def config(folder: Path, **more: Any) -> NodeConfig:
    return NodeConfig.model_validate({**node_config(folder).model_dump(), "uart": {}, **more})


@pytest.fixture
def parent(tmp_path: Path):
    made = Parent(tmp_path, limit=0)
    made.agent.config = config(tmp_path)
    made.agent._duty = NodeDuty(made.agent.config)
    yield made
    made.close()


# --- the parent ---


@pytest.mark.parametrize("asked", [True, False])
def test_the_pair_goes_to_inference_and_uart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool):
    agent = Agent(config(tmp_path) if asked else node_config(tmp_path), tmp_path / "node.toml")
    monkeypatch.setattr(Agent, "_start", lambda _, child: None)
    agent._make_rings()
    try:
        agent._make_children()
        children = {child.name: child for child in agent._children}
        assert ("uart" in children) == asked
        assert (children["inference0"].spec.uart_fd is not None) == asked
        assert all(one.spec.uart_fd is None for name, one in children.items() if name != "inference0")
        if asked:
            inference, uart = children["inference0"], children["uart"]
            assert inference.spec.uart_fd in inference.pass_fds and uart.spec.link_fd in uart.pass_fds
            assert inference.spec.link_fd in inference.pass_fds
            assert ChildSpec.from_text(inference.spec.to_text()) == inference.spec
            assert inference.spec.uart_fd is not None and uart.spec.link_fd is not None
            with socket.fromfd(inference.spec.uart_fd, socket.AF_UNIX, socket.SOCK_SEQPACKET) as near:
                near.send(b"here")
            with socket.fromfd(uart.spec.link_fd, socket.AF_UNIX, socket.SOCK_SEQPACKET) as far:
                assert far.recv(10) == b"here"
    finally:
        for ring in agent._rings.values():
            ring.close()
        for end in agent._sockets:
            end.close()
        agent._selector.close()


@pytest.mark.parametrize("code", [-9, 3])
def test_a_line_that_cannot_live_degrades_the_node_and_no_more(parent: Parent, code: int):
    uart = parent.add(Role.UART)
    uart.say(type="failed", message="a fault", hint="mend it")
    parent.ends(uart, code)
    assert parent.ended() is None
    state, reason = parent.state()
    assert state == "degraded" and "uart failed" in reason and "a fault — mend it" in reason
    (told,) = [one["event"] for one in parent.publisher.heard() if one["type"] == "event"]
    assert (told["severity"], told["code"]) == ("error", "uart_lost")
    assert told["text"].endswith("no lines any more")


def test_a_port_that_is_not_there_degrades_the_node(parent: Parent):
    uart = parent.add(Role.UART)
    uart.say(type="report", counters={}, stages={}, uart={"trouble": "/dev/ttyTHS1 is the terminal of agetty"})
    assert parent.state() == ("degraded", "serial line: /dev/ttyTHS1 is the terminal of agetty")
    uart.say(type="report", counters={}, stages={}, uart={"trouble": ""})
    assert parent.state()[0] == "running"


def test_it_hears_the_role_and_is_stopped_after_the_inferences(parent: Parent):
    uart = parent.add(Role.UART)
    parent.agent._duty.tell(parent.agent._children)
    assert [one for one in uart.heard() if one["type"] == "role"] == [{"type": "role", "role": "active", "epoch": 1}]
    drain = Drain(parent.agent._children, "over", 0, 0, 5.0)
    assert drain.goes_on(1)
    assert uart.heard() == []
    parent.agent._drain = drain
    parent.ends(parent.capture, 0)
    drain.goes_on(2)
    assert uart.heard() == []
    parent.ends(parent.inference, 0)
    drain.goes_on(3)
    assert uart.heard() == [{"type": "stop"}]


def test_its_words_and_drops_are_the_nodes(parent: Parent):
    uart = parent.add(Role.UART)
    uart.say(type="report", counters={"dropped_uart_queue": 3, "uart_lines": 9}, stages={}, uart={"open": True})
    parent.inference.say(type="report", counters={"dropped_uart_link": 2}, stages={})
    stamp = Stamp(10**18, 500, 0, ClockState.UNLOCKED)
    view = NodeView("n", 77, 1, "00", "running", "", stamp, parent.agent._children, {}, {})
    assert view.document()["uart"] == {"open": True}
    assert view.document()["dropped"] == {"uart_queue": 3, "uart_link": 2}


# --- the inference ---


@pytest.fixture
def told(tmp_path: Path):
    desk = Desk(tmp_path)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    far.setblocking(False)
    desk.work._feed = Feed(near)
    desk.stage.detector.find = Detections.empty
    stage = cast(Any, desk.stage)
    stage.tracks, stage.clock_bound_limit_ns = no_tracks(), CLOCK_LIMIT_NS
    yield desk, far
    for one in (near, far, desk.link, desk.sending):
        one.close()
    desk.reader.close()
    desk.ring.close()


@pytest.mark.parametrize(
    ("state", "bound_ns", "in_bound"),
    [(ClockState.LOCKED, 100, True), (ClockState.HOLDOVER, 1001, False), (ClockState.UNLOCKED, 100, False)],
)
def test_each_frame_is_told_with_what_its_stamp_is_worth(told: Any, state: ClockState, bound_ns: int, in_bound: bool):
    desk, far = told
    desk.frame(state=state, bound_ns=bound_ns)
    sight = read_sight(far.recv(1000))
    assert (sight.camera, sight.frame, sight.people, sight.box) == (1, 0, 0, None)
    assert (sight.stamp.state, sight.stamp.bound_ns, sight.in_bound) == (state, bound_ns, in_bound)
    assert "uart" in desk.child.stages


def test_a_line_that_nobody_hears_costs_no_record(told: Any):
    desk, far = told
    far.close()
    assert desk.frame() == 3
    assert desk.child.counters["dropped_uart_link"] == 1
    assert desk.child.counters["records"] == 3


def test_a_pipeline_keeps_the_frames_people(tmp_path: Path):
    """As many as its records, by the real tracker."""
    section = node_config(tmp_path).camera[0]
    site_camera("left", (640, 360)).save(tmp_path / "left.json")
    calibration = CameraCalibration.load(tmp_path / "left.json")
    pipeline = Pipeline(
        camera=section,
        detector=cast(Any, None),
        tracker=Tracker(TrackSection(position_limit_m=50.0, confirm_hits=1)),
        ground=cast(GroundProjector, calibration),
        track=TrackSection(),
        clock_bound_limit_ns=CLOCK_LIMIT_NS,
    )
    boxes = np.array([[300, 150, 320, 200], [100, 160, 125, 220]], np.float32)
    seen = Detections(boxes, np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64))
    for number in range(5):
        stamp = Stamp(10**18 + number * 8_333_333, 100, 1, ClockState.LOCKED)
        frame = SimpleNamespace(stamp=stamp, landed_monotonic_ns=number * 8_333_333, sequence=number)
        records, _ = pipeline.follow(seen, cast(RingFrame, frame))
        tracks = pipeline.tracks
        assert len(tracks) == len(records)
        assert np.allclose(tracks.last[:4].T, tracks.boxes)
        assert ((tracks.last[6] < tracks.time_s) == tracks.predicted).all()
        assert (tracks.last[5][~tracks.predicted] == tracks.detection_index[~tracks.predicted]).all()
    assert len(records) == 2
