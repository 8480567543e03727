"""The clock process among the parent's children: started first, restarted, given up by its rules, stopped late."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from agent.parent.drain import Drain
from agent.parent.parent import Agent
from agent.processes.child import _cpus_of
from agent.processes.spec import Role
from tests.agent.parent.conftest import MakeParent
from tests.agent.parent.helpers import Child, node_config

PTP: dict[str, Any] = {"source": "ptp"}
REQUIRED: dict[str, Any] = {**PTP, "on_unlocked": "required"}


def children_of(folder: Path, monkeypatch: pytest.MonkeyPatch, **clock: str) -> list[str]:
    agent = Agent(node_config(folder, **clock), folder / "node.toml")
    started: list[str] = []
    monkeypatch.setattr(Agent, "_start", lambda _, child: started.append(child.name))
    agent._make_rings()
    try:
        agent._make_children()
    finally:
        for ring in agent._rings.values():
            ring.close()
        for end in agent._sockets:
            end.close()
        agent._selector.close()
    return started


def test_it_is_there_with_ptp_alone_and_starts_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    others = ["publisher", "inference0", "capture0"]
    assert children_of(tmp_path, monkeypatch) == others
    assert children_of(tmp_path, monkeypatch, **PTP) == ["clock", *others]


def test_it_runs_on_any_cpu(tmp_path: Path):
    assert _cpus_of(node_config(tmp_path), Role.CLOCK) == []


@pytest.mark.parametrize("clock", [PTP, REQUIRED])
def test_it_is_restarted_within_limits(make_parent: MakeParent, clock):
    parent = make_parent(**clock)
    parent.ends(parent.clock, -9)
    assert parent.clock.handle.restart_ns is not None
    assert parent.ended() is None
    (told,) = parent.publisher.heard()
    assert told["event"]["text"] == "clock ended (killed by SIGKILL) and is started again"


def test_given_up_it_degrades_a_node_that_flags(make_parent: MakeParent):
    parent = make_parent(limit=0, **PTP)
    parent.clock.say(type="failed", message="/dev/ptp0 is gone", hint="look for it")
    parent.ends(parent.clock, 7)
    assert parent.ended() is None
    assert parent.clock.handle.restart_ns is None
    reason = "clock failed after 0 restarts: /dev/ptp0 is gone — look for it"
    assert parent.state() == ("degraded", reason)
    (told,) = parent.publisher.heard()
    event = told["event"]
    assert (event["severity"], event["code"]) == ("error", "clock_lost")
    assert event["text"] == f"{reason}; stamps hold over and end unlocked"
    assert abs(event["ptp_ns"] - parent.agent._clock.now().ptp_ns) < 10**10


def test_given_up_it_ends_a_node_that_must_not_publish_unlocked(make_parent: MakeParent):
    parent = make_parent(limit=0, **REQUIRED)
    parent.ends(parent.clock, -11)
    assert parent.ended() == ("clock failed after 0 restarts: killed by SIGSEGV", 1)


@pytest.mark.parametrize("code", [3, 4])
def test_a_mistake_in_its_configuration_ends_the_node_before_it_has_begun(make_parent: MakeParent, code):
    parent = make_parent(**PTP)
    parent.clock.say(type="failed", message="no such thing", hint="")
    parent.ends(parent.clock, code)
    assert parent.ended() == ("clock failed: no such thing", code)


def test_such_an_end_later_is_none_of_the_nodes(make_parent: MakeParent):
    parent = make_parent(**PTP)
    parent.clock.say(type="ready")
    parent.ends(parent.clock, 4)
    assert parent.ended() is None
    assert parent.state()[0] == "degraded"


@pytest.mark.parametrize(("clock", "ends"), [(PTP, False), (REQUIRED, True)])
def test_an_end_in_good_order_that_nobody_asked_for_is_a_loss(make_parent: MakeParent, clock, ends):
    parent = make_parent(**clock)
    parent.ends(parent.clock, 0)
    reason = "the clock process ended without being told"
    assert parent.ended() == ((reason, 1) if ends else None)
    assert ends or parent.state() == ("degraded", reason)


# --- state ---


def test_an_unlocked_clock_degrades_only_where_it_is_required(make_parent: MakeParent):
    trouble = "clock unlocked: bound 3.1 µs exceeds the limit 1 µs"
    assert make_parent(**REQUIRED).state(trouble) == ("degraded", trouble)
    assert make_parent(**PTP).state(trouble) == ("running", trouble)
    assert make_parent(**PTP).state() == ("running", "")


def test_while_the_node_starts_it_is_said_too(make_parent: MakeParent):
    parent = make_parent(**REQUIRED)
    parent.agent._was_running = False
    assert parent.state("clock unlocked") == ("starting", "clock unlocked")


# --- events ---


def test_its_events_are_logged_and_published_with_the_present_stamp(
    make_parent: MakeParent, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    parent = make_parent(**PTP)
    events = [
        {"severity": "info", "code": "clock_locked", "text": "clock unlocked -> locked"},
        {"severity": "error", "code": "clock_step", "text": "time stepped"},
    ]
    parent.clock.say(type="events", events=events)
    parent.agent._pass_on(parent.clock.handle)
    told = [message["event"] for message in parent.publisher.heard()]
    assert [{name: one[name] for name in ("severity", "code", "text")} for one in told] == events
    assert all(abs(one["ptp_ns"] - parent.agent._clock.now().ptp_ns) < 10**10 for one in told)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "clock unlocked -> locked"),
        ("ERROR", "time stepped"),
    ]
    parent.agent._pass_on(parent.clock.handle)
    assert parent.publisher.heard() == []


def test_its_last_words_are_passed_on(make_parent: MakeParent):
    parent = make_parent(**PTP)
    parent.clock.say(type="events", events=[{"severity": "error", "code": "clock_step", "text": "the end"}])
    parent.ends(parent.clock, 1)
    assert [message["event"]["code"] for message in parent.publisher.heard()] == ["clock_step", "restart"]


def test_the_loop_hears_them(make_parent: MakeParent):
    parent = make_parent(**PTP)
    parent.agent._rings.clear()
    parent.clock.end.send(b'{"type":"events","events":[{"severity":"info","code":"c","text":"t"}]}')
    parent.agent._turn()
    assert [one["event"]["text"] for one in parent.publisher.heard() if one["type"] == "event"] == ["t"]


# --- the end ---


def told(child: Child) -> bool:
    return any(message["type"] == "stop" for message in child.heard())


def test_it_is_stopped_with_the_publisher_when_nobody_stamps_any_more(make_parent: MakeParent):
    parent = make_parent(**PTP)
    drain = Drain(parent.agent._children, "enough", 0, 0, 10.0)
    assert drain.goes_on(1)
    assert (told(parent.capture), told(parent.inference), told(parent.clock)) == (True, False, False)
    parent.agent._drain = drain
    parent.ends(parent.capture, 0)
    assert drain.goes_on(2)
    assert (told(parent.inference), told(parent.clock), told(parent.publisher)) == (True, False, False)
    parent.ends(parent.inference, 0)
    assert drain.goes_on(3)
    assert (told(parent.clock), told(parent.publisher)) == (True, True)
    parent.ends(parent.clock, 0)
    parent.ends(parent.publisher, 0)
    assert not drain.goes_on(4)
    assert drain.exit_code == 0


def test_one_that_hangs_is_killed_before_the_publishers_time_is_over(make_parent: MakeParent):
    parent = make_parent(**PTP)
    drain = Drain(parent.agent._children, "enough", 0, 0, 10.0)
    drain.goes_on(9_100_000_000)
    assert parent.clock.life.killed
    assert not parent.publisher.life.killed
