"""The parent's part in failover and recording: recorders hear the role, their loss costs no match, the clock is vouched
for at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.parent.clock import ClockView
from agent.parent.drain import Drain
from agent.parent.duty import NodeDuty
from agent.parent.parent import Agent
from agent.processes.spec import Role
from tests.agent.parent.conftest import MakeParent
from tests.agent.parent.helpers import Parent, node_config
from touchline.config import NodeConfig
from touchline.timeline import ClockState, Stamp

PAIR: dict[str, Any] = {
    "pair": "goal-1", "twin": "other", "paths": [["127.0.0.1:7400", "127.0.0.2:7400"]], "witness": "127.0.0.1:7401",
}  # fmt: skip


def config(folder: Path, *, failover: bool = False, record: bool = False, **clock: Any) -> NodeConfig:
    whole = node_config(folder, **clock).model_dump()
    more = {"failover": PAIR} if failover else {}
    more |= {"record": {"folder": str(folder / "rec")}} if record else {}
    return NodeConfig.model_validate({**whole, **more})


def view(state: ClockState = ClockState.LOCKED, trouble: str = "") -> ClockView:
    return ClockView(Stamp(10**18, 100, 1, state), {}, trouble)


@pytest.fixture
def make_recording(make_parent: MakeParent) -> Callable[..., Parent]:
    def parent(*, failover: bool = False, **how: Any) -> Parent:
        made = make_parent(**how)
        made.agent.config = config(made.agent.config.node.run_dir, failover=failover, record=True)
        made.agent._duty = NodeDuty(made.agent.config)
        return made

    return parent


# --- recorders ---


def children_of(folder: Path, monkeypatch: pytest.MonkeyPatch, **how: bool) -> tuple[list[str], int]:
    agent = Agent(config(folder, **how), folder / "node.toml")
    started: list[str] = []
    monkeypatch.setattr(Agent, "_start", lambda _, child: started.append(child.name))
    agent._make_rings()
    readers = agent._rings[0].spec.readers
    try:
        agent._make_children()
    finally:
        for ring in agent._rings.values():
            ring.close()
        for end in agent._sockets:
            end.close()
        agent._selector.close()
    return started, readers


def test_each_camera_has_its_recorder_and_the_ring_a_place_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert children_of(tmp_path, monkeypatch) == (["publisher", "inference0", "capture0"], 1)
    assert children_of(tmp_path, monkeypatch, record=True) == (
        ["publisher", "inference0", "recorder0", "capture0"],
        2,
    )


def roles(child: Any) -> list[tuple[str, int]]:
    return [(one["role"], one["epoch"]) for one in child.heard() if one["type"] == "role"]


def test_without_failover_a_recorder_is_active(make_recording: Callable[..., Parent]):
    parent = make_recording()
    recorder = parent.add(Role.RECORDER, 0)
    for _ in range(3):
        parent.agent._duty.tell(parent.agent._children)
    assert roles(recorder) == [("active", 1)]


def test_a_recorder_hears_each_change_once_and_again_in_its_next_life(make_recording: Callable[..., Parent]):
    parent = make_recording(failover=True)
    recorder = parent.add(Role.RECORDER, 0)
    tell = parent.agent._duty.tell
    tell(parent.agent._children)
    assert roles(recorder) == [("standby", 0)]
    parent.publisher.say(type="role", role="active", epoch=7)
    tell(parent.agent._children)
    tell(parent.agent._children)
    assert roles(recorder) == [("active", 7)]
    parent.ends(recorder, -9)
    recorder.handle.told_duty = None  # as start() does
    recorder = parent.begin(recorder.handle)
    tell(parent.agent._children)
    assert roles(recorder) == [("active", 7)]


def test_a_publisher_that_ended_changes_no_role(make_recording: Callable[..., Parent]):
    parent = make_recording(failover=True)
    recorder = parent.add(Role.RECORDER, 0)
    parent.publisher.say(type="role", role="active", epoch=7)
    parent.agent._duty.tell(parent.agent._children)
    roles(recorder)
    parent.ends(parent.publisher, -9)
    parent.agent._duty.tell(parent.agent._children)
    assert roles(recorder) == []


@pytest.mark.parametrize("code", [-9, 3])
def test_a_recorder_that_cannot_live_degrades_the_node_and_no_more(make_recording: Callable[..., Parent], code: int):
    parent = make_recording(limit=0)
    recorder = parent.add(Role.RECORDER, 0)
    recorder.say(type="failed", message="no encoder works", hint="apt install ffmpeg")
    parent.ends(recorder, code)
    assert parent.ended() is None
    state, reason = parent.state()
    assert state == "degraded" and "no encoder works — apt install ffmpeg" in reason
    assert recorder.handle.restart_ns is None
    (told,) = [one["event"] for one in parent.publisher.heard() if one["type"] == "event"]
    assert (told["severity"], told["code"]) == ("error", "recorder_lost")


def test_a_recorder_is_restarted_within_limits(make_recording: Callable[..., Parent]):
    parent = make_recording(limit=1)
    recorder = parent.add(Role.RECORDER, 0)
    parent.ends(recorder, -9)
    assert recorder.handle.restart_ns is not None and parent.state()[0] == "running"


def test_one_that_ends_with_its_camera_is_well_and_before_it_is_not(make_recording: Callable[..., Parent]):
    parent = make_recording()
    recorder = parent.add(Role.RECORDER, 0)
    parent.ends(recorder, 0)
    assert parent.state() == ("degraded", "recorder0 ended without being told")
    parent.capture.handle.finished = True
    assert parent.agent._duty.troubles(parent.agent._children, {}) == []


def test_it_works_the_ring_off_before_the_end(make_recording: Callable[..., Parent]):
    parent = make_recording()
    recorder = parent.add(Role.RECORDER, 0)
    drain = Drain(parent.agent._children, "enough", 0, 0, 10.0)
    drain.goes_on(1)
    assert not any(one["type"] == "stop" for one in recorder.heard())
    parent.agent._drain = drain
    parent.ends(parent.capture, 0)
    drain.goes_on(2)
    assert any(one["type"] == "stop" for one in recorder.heard())
    drain.goes_on(9_100_000_000)
    assert recorder.life.killed and not parent.publisher.life.killed


# --- the clock is vouched for ---


def test_an_unlocked_clock_is_well_where_it_may_be_published(tmp_path: Path):
    ptp: dict[str, Any] = {"source": "ptp"}
    flagged = NodeDuty(config(tmp_path, failover=True, **ptp))
    assert flagged.fitness(view(ClockState.UNLOCKED, "why"))["clock_ok"]
    required = NodeDuty(config(tmp_path, failover=True, on_unlocked="required", **ptp))
    assert required.fitness(view()) == {"clock_ok": True, "trouble": ""}
    assert required.fitness(view(ClockState.HOLDOVER))["clock_ok"]
    assert required.fitness(view(ClockState.UNLOCKED, "why")) == {"clock_ok": False, "trouble": "why"}


def test_a_change_is_told_at_once_with_failover_alone(tmp_path: Path):
    how: dict[str, Any] = {"source": "ptp", "on_unlocked": "required"}
    duty, alone = NodeDuty(config(tmp_path, failover=True, **how)), NodeDuty(config(tmp_path, **how))
    for one in (duty, alone):
        one.fitness(view())
    lost = view(ClockState.UNLOCKED, "why")
    assert duty.must_tell(lost) and not duty.must_tell(view())
    assert not alone.must_tell(lost)


def test_the_loop_tells_it_without_waiting_for_the_next_look(make_parent: MakeParent, monkeypatch: pytest.MonkeyPatch):
    parent = make_parent(source="ptp", on_unlocked="required")
    agent = parent.agent
    agent.config = config(agent.config.node.run_dir, failover=True, source="ptp", on_unlocked="required")
    agent._duty, agent._rings = NodeDuty(agent.config), {}
    seen = [view()]
    monkeypatch.setattr(agent._clock, "look", lambda _: seen[0])
    now_ns = 10**15
    agent._watch(now_ns)
    seen[0] = replace(seen[0], stamp=replace(seen[0].stamp, state=ClockState.UNLOCKED), trouble="gone")
    agent._watch(now_ns + 1)
    agent._watch(now_ns + 2)
    told = [one["fitness"] for one in parent.publisher.heard() if one["type"] == "documents"]
    assert [one["clock_ok"] for one in told] == [True, False]
