"""What the inference does with a frame's stamp: unlocked ones kept back or flagged, lags and steps of two epochs."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from agent.parent.health import NodeView
from agent.processes.child import Child
from agent.processes.inference import Pipeline, _Work
from agent.processes.spec import ChildSpec, Role
from agent.ring import RingReader, RingWriter
from agent.trace import read_frame_trace
from agent.track.tracker import Tracker
from tests.agent.parent.helpers import node_config
from tests.agent.ring.helpers import small_ring
from thermal.trace.segment import records_in
from touchline.config.protect import ProtectSection
from touchline.record import RECORD, new_records
from touchline.timeline import ClockState, Stamp, Timebase, monotonic_ns

PEOPLE = 3
MS, S = 1_000_000, 1_000_000_000


class Now:
    """The clock of the process: PTP time is the monotonic time plus ``ahead_ns``."""

    def __init__(self) -> None:
        self.ahead_ns, self.epoch, self.state = 10**18, 1, ClockState.LOCKED

    def now(self) -> Stamp:
        return self.at(monotonic_ns())

    def at(self, base_ns: int, timebase: Timebase = Timebase.MONOTONIC) -> Stamp:
        return Stamp(base_ns + self.ahead_ns, 100, self.epoch, self.state)


class Stage:
    """A pipeline that finds three people in everything."""

    def __init__(self) -> None:
        timings = SimpleNamespace(letterbox_ms=0.0, infer_ms=0.0, decode_ms=0.0)
        self.detector = SimpleNamespace(find=lambda: None, timings=timings, non_finite=0)
        self.tracker = Tracker()
        self.people = PEOPLE

    def place(self, pixels: memoryview) -> None:
        """Nothing to look at."""

    def follow(self, detections: object, frame: object) -> tuple[np.ndarray, int]:
        return new_records(self.people), 0


class Desk:
    """One inference with its ring and its link."""

    def __init__(self, folder: Path, protect: ProtectSection | None = None, **clock: Any) -> None:
        self.child = Child.__new__(Child)
        self.child.spec = ChildSpec(Role.INFERENCE, "node.toml", -1, "00" * 16, 0)
        self.child.config = node_config(folder, **clock).model_copy(update={"protect": protect})
        self.child.counters, self.child.stages = {}, {}
        self.link, self.sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.stage, self.now = Stage(), Now()
        self.work = _Work(self.child, cast(Pipeline, self.stage), self.sending)
        self.work._clock = self.now
        self.ring = small_ring(readers=1)
        self.writer, self.reader = RingWriter(self.ring), RingReader(self.ring, 0)
        self.frames = 0

    def frame(self, **changes: Any) -> int:
        """Send a frame through with this stamp; how many records came out."""
        self.writer.acquire()
        self.writer.commit(self.frames, replace(self.now.now(), **changes))
        self.frames += 1
        assert self.work.step(self.reader)
        try:
            return len(self.link.recv(1 << 20, socket.MSG_DONTWAIT)) // RECORD.itemsize
        except BlockingIOError:
            return 0


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    made: list[Desk] = []

    def desk(**settings: Any) -> Desk:
        made.append(Desk(tmp_path, **settings))
        return made[-1]

    yield desk
    for one in made:
        one.work.close()
        one.link.close()
        one.sending.close()
        one.reader.close()
        one.ring.close()


STATES = [ClockState.UNLOCKED, ClockState.LOCKED, ClockState.HOLDOVER, ClockState.UNLOCKED]


def test_required_keeps_back_what_is_unlocked_and_counts_its_records(make):
    desk = make(source="ptp", on_unlocked="required")
    assert [desk.frame(state=state) for state in STATES] == [0, PEOPLE, PEOPLE, 0]
    counters = desk.child.counters
    assert counters["dropped_clock_unlocked"] == 2 * PEOPLE
    assert counters["records"] == 2 * PEOPLE
    assert counters["processed"] == 4, "frames flow, whatever the clock says"
    assert "exposure_to_link" in desk.child.stages


def test_the_loss_is_one_of_the_nodes_drops(make):
    desk = make(source="ptp", on_unlocked="required")
    desk.frame(state=ClockState.UNLOCKED)
    child = SimpleNamespace(counters=lambda: desk.child.counters)
    view = NodeView.__new__(NodeView)
    object.__setattr__(view, "children", [child])
    object.__setattr__(view, "ledgers", {})
    assert view.drops() == {"clock_unlocked": PEOPLE}


def test_flag_lets_everything_pass(make):
    desk = make(source="ptp")
    assert [desk.frame(state=state) for state in STATES] == [PEOPLE] * 4
    assert "dropped_clock_unlocked" not in desk.child.counters


def test_a_wide_camera_on_a_locked_clock_is_not_the_clocks_fault(make):
    """End-of-frame stamps are a period wide: their flag goes, they do not."""
    desk = make(source="ptp", on_unlocked="required")
    assert desk.frame(bound_ns=8_000_000) == PEOPLE


def test_no_people_is_no_loss(make):
    desk = make(source="ptp", on_unlocked="required")
    desk.stage.people = 0
    desk.frame(state=ClockState.UNLOCKED)
    assert desk.child.counters["dropped_clock_unlocked"] == 0


def test_a_lag_is_measured_within_one_epoch_and_by_the_landing_between_two(make):
    desk = make(source="ptp")
    desk.work._max_lag_ns = 60 * S
    now = desk.now.now()
    desk.frame(ptp_ns=now.ptp_ns - 100 * S)
    assert desk.work._lagging
    desk.frame(ptp_ns=now.ptp_ns - 3600 * S, epoch=0)
    assert not desk.work._lagging
    assert desk.child.stages["exposure_to_link"].summary().max < 1_000_000


# --- the tracker, when time moves ---


class Ground:
    """Nothing to be seen from it."""


def pipeline(monkeypatch: pytest.MonkeyPatch) -> tuple[Pipeline, list[float]]:
    """A pipeline without people, and when its tracker was asked."""
    made = Pipeline.__new__(Pipeline)
    asked: list[float] = []
    tracker = Tracker()
    monkeypatch.setattr(tracker, "update", lambda time_s, _located: asked.append(time_s))
    made.tracker, made.ground, made.clock_bound_limit_ns = tracker, cast(Any, Ground()), 1000
    made.camera, made.track = node_config(Path("x")).camera[0], node_config(Path("x")).track
    monkeypatch.setattr("agent.processes.inference.locate", lambda *_, **__: None)
    monkeypatch.setattr("agent.processes.inference.records_of", lambda *_: (new_records(0), 0))
    return made, asked


def follow(made: Pipeline, ptp_ns: int, landed_ns: int, epoch: int) -> None:
    stamp = Stamp(ptp_ns, 100, epoch, ClockState.LOCKED)
    made.follow(cast(Any, None), cast(Any, SimpleNamespace(sequence=1, stamp=stamp, landed_monotonic_ns=landed_ns)))


@pytest.mark.parametrize(("moved_ns", "resets"), [(150, 0), (-15 * MS, 0), (30 * MS, 1), (-(10**12), 1)])
def test_a_new_epoch_ends_the_tracks_where_time_really_moved(monkeypatch: pytest.MonkeyPatch, moved_ns, resets):
    made, asked = pipeline(monkeypatch)
    follow(made, 10**18, 5 * 10**9, 1)
    follow(made, 10**18 + 20 * MS, 5 * 10**9 + 22 * MS, 1)
    follow(made, 10**18 + 40 * MS + moved_ns, 5 * 10**9 + 42 * MS, 2)
    assert made.tracker.counters.resets == resets
    assert len(asked) == 3


def test_within_an_epoch_the_tracker_judges_time_itself(monkeypatch: pytest.MonkeyPatch):
    made, _ = pipeline(monkeypatch)
    follow(made, 10**18, 5 * 10**9, 1)
    follow(made, 10**18 + 10**10, 5 * 10**9, 1)
    assert made.tracker.counters.resets == 0


# --- trace ---------------------------------------------------------------------------------------------------------


def node_view(desk: Desk) -> NodeView:
    view = NodeView.__new__(NodeView)
    object.__setattr__(view, "children", [SimpleNamespace(counters=lambda: desk.child.counters)])
    return view


def test_every_frame_is_traced_as_it_was_sent(make):
    """CAP-6: stamp, times and records of each frame lie in memory, also of one without people."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        desk = make(protect=ProtectSection(trace_max="2MiB", trace_dir=memory, trace_spare_ram="1MiB"))
        before_ns = monotonic_ns()
        assert desk.frame(state=ClockState.HOLDOVER, bound_ns=4321) == PEOPLE
        desk.stage.people = 0
        desk.frame()
        desk.work.close()
        (path,) = (Path(memory) / "cam1").glob("*.seg")
        found = [read_frame_trace(one) for _, one in records_in(path.read_bytes())]
    assert [(one.camera, one.sequence, len(one.records)) for one in found] == [(1, 0, PEOPLE * 104), (1, 1, 0)]
    assert (found[0].stamp.state, found[0].stamp.bound_ns) == (ClockState.HOLDOVER, 4321)
    for one in found:
        assert before_ns <= one.landed_ns <= one.detected_ns <= one.sent_ns <= monotonic_ns()
    trace = node_view(desk).trace()
    assert (trace["frames"], trace["dropped"]) == (2, 0)
    assert trace["bytes"] == sum(8 + 64 + len(one.records) for one in found)


def test_a_ring_that_cannot_be_costs_no_frame_and_is_counted(make, tmp_path):
    (tmp_path / "file").write_text("x")
    desk = make(protect=ProtectSection(trace_dir=str(tmp_path / "file" / "trace")))
    assert [desk.frame(), desk.frame()] == [PEOPLE] * 2
    assert node_view(desk).trace() == {"frames": 0, "bytes": 0, "dropped": 2}


def test_a_node_without_protect_says_nothing_of_traces(make):
    desk = make()
    desk.frame()
    assert node_view(desk).trace() == {}
