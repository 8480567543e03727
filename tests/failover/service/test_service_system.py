"""Two real services and a real witness: who is active through kills, stops, a blind agent and a dead witness."""

from __future__ import annotations

import errno
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from failover.core.types import CameraCursor
from tests.failover.service.pair import NODES, Pair
from touchline.timeline import monotonic_ns

pytestmark = pytest.mark.system


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    one = Pair(tmp_path)
    yield one
    one.close()


def settled(pair: Pair) -> str:
    """Both run, one is active by the witness's lease and the other hears it; return the active one."""
    found: list[str] = []

    def well() -> bool:
        found[:] = pair.active()
        if len(found) != 1:
            return False
        mine, other = pair.status(found[0]), pair.status(pair.other(found[0]))
        leased = mine and mine["role"] == "active" and mine["lease_left_ms"] > 0
        fit = other and other["role"] == "standby" and other["health"]["fit"] and other["witness"]["ok"]
        return bool(leased and fit and other["twin"]["role"] == "active")

    pair.until(well, "one active with a lease, one fit standby")
    return found[0]


def first_active(pair: Pair) -> str:
    """Whose gate opens first."""
    found: list[str] = []

    def opened() -> bool:
        found[:] = pair.active()
        return bool(found)

    pair.until(opened, "a gate open")
    return found[0]


def takeover(pair: Pair, name: str) -> dict[str, Any]:
    """The report of the takeover that this node is doing."""

    def done(said: dict[str, Any]) -> bool:
        last = said["last_switch"]
        return bool(last and last["kind"] == "takeover" and last["epoch"] == said["epoch"])

    found = pair.said(name, done, "its report")["last_switch"]
    assert isinstance(found, dict)
    return found


def epoch(pair: Pair, name: str) -> int:
    found = pair.said(name)["epoch"]
    assert isinstance(found, int)
    return found


def test_a_killed_node_is_followed_by_its_twin_and_comes_back_as_standby(pair):
    pair.start()
    first = settled(pair)
    second, before = pair.other(first), epoch(pair, first)
    pair.publisher[first].cursor_ns = 5_000
    pair.until(lambda: pair.publisher[second].gate.covered == (CameraCursor(1, 5_000),), "the cursor at the twin")
    pair.program[first].end(signal.SIGKILL)
    pair.until(lambda: pair.active() == [second], "the twin's gate")
    report = takeover(pair, second)
    assert (report["trigger"], report["epoch"]) == ("silence", before + 1)
    assert [one["step"] for one in report["steps"]] == [
        "detect", "lease", "gate", "address", "announce", "recorder", "event"
    ]  # fmt: skip
    assert {one["status"] for one in report["steps"]} <= {"ok", "skipped"}, report  # within 800 ms: where it is alone
    assert pair.publisher[second].gate.covered == (CameraCursor(1, 5_000),)

    def told() -> int:
        return [one["code"] for one in pair.publisher[second].events].count("failover-takeover")

    pair.until(lambda: told() > 0, "its event")
    assert told() == 1
    pair.start(first)
    assert settled(pair) == second
    pair.run_for(1.5)
    pair.until(lambda: pair.active() == [second], "the twin still")
    assert epoch(pair, second) == before + 1


def test_a_handover_has_no_moment_without_an_open_gate(pair):
    pair.start()
    first = settled(pair)
    shut = []

    def watched() -> bool:
        active = pair.active()
        if not active:
            shut.append(1)
        return bool(active == [pair.other(first)])

    pair.cli_begin("failover", "handover", "--config", str(pair.config[first]))
    pair.until(watched, "the other one")
    assert not shut
    done = pair.cli_end()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{pair.other(first)} is active" in done.stdout
    refused = pair.cli("failover", "handover", "--config", str(pair.config[first]))
    assert refused.returncode == 4 and "is standby; hand over from" in refused.stderr


def test_a_blind_node_gives_way_and_an_unfit_twin_is_not_handed_to(pair):
    pair.start()
    first = settled(pair)
    second = pair.other(first)
    pair.publisher[second].health = replace(pair.publisher[second].health, clock_ok=False)
    pair.said(first, lambda said: not said["twin"]["fit"], "word of it")
    refused = pair.cli("failover", "handover", "--config", str(pair.config[first]))
    assert refused.returncode == 4 and "is not fit to take over" in refused.stderr
    pair.publisher[second].health = replace(pair.publisher[second].health, clock_ok=True)
    pair.said(first, lambda said: said["twin"]["fit"], "it is fit again")
    pair.publisher[first].health = replace(pair.publisher[first].health, cameras=0)
    pair.until(lambda: pair.active() == [second], "the one that sees")
    assert "NOT FIT" in pair.cli("failover", "status", "--config", str(pair.config[first])).stdout


def test_a_dead_witness_changes_nothing_and_its_return_neither(pair):
    pair.start()
    first = settled(pair)
    second, before = pair.other(first), epoch(pair, first)
    lost = []
    pair.program["witness"].end(signal.SIGKILL)

    def without() -> bool:
        active = pair.active()
        lost.extend([] if active == [first] else [active])
        said = pair.status(first)
        return bool(said and not said["witness"]["ok"] and said["promise_left_ms"] > 0)

    pair.until(without, "the active one holds by the promise")
    pair.run_for(1.0)
    assert not lost
    pair.said(first, lambda said: said["exclusive"] and said["records"], "it still does")
    pair.start("witness")
    found = pair.said(first, lambda said: said["lease_left_ms"] > 0 and said["records"], "the lease again")
    assert found["epoch"] >= before
    assert pair.said(second)["role"] == "standby"


def test_without_witness_and_twin_records_go_on_and_nothing_else(pair):
    pair.start()
    first = settled(pair)
    second, before = pair.other(first), epoch(pair, first)
    pair.program["witness"].end(signal.SIGKILL)
    pair.said(second, lambda said: not said["witness"]["ok"], "the witness missed")
    pair.program[first].end(signal.SIGKILL)
    pair.until(lambda: pair.active() == [second], "records")
    said = pair.said(second, lambda said: said["records"] and "records alone" in said["reason"], "its reason")
    assert (said["exclusive"], said["epoch"]) == (False, before)


def test_a_stopped_node_finds_its_gate_shut(pair):
    pair.start()
    first = settled(pair)
    second = pair.other(first)
    pair.program[first].send(signal.SIGSTOP)
    pair.until(lambda: pair.active() == [second], "the twin")
    before = len(pair.publisher[first].opened)
    pair.program[first].send(signal.SIGCONT)
    pair.until(lambda: pair.status(first).get("role") == "standby", "the stopped one is standby")
    pair.run_for(0.5)
    # A service that is not run for longer than its lease shuts its own gate and opens it again: on a busy machine that
    # is as it should be for a moment. Never may the stopped one open.
    pair.until(lambda: pair.active() == [second], "the twin still")
    assert len(pair.publisher[first].opened) == before
    assert pair.said(first)["late"]["turns"] >= 1


def test_a_publisher_that_hangs_is_no_publisher(pair):
    pair.start()
    first = settled(pair)
    second = pair.other(first)
    pair.publisher[first].hangs = True
    pair.until(lambda: pair.publisher[second].open_at(monotonic_ns()), "the twin's gate")
    said = pair.said(first, lambda said: said["role"] == "standby", "the one with the dead publisher gives way")
    assert "connected and silent" in said["trouble"]
    assert pair.program[first].process.poll() is None


def test_a_witness_that_will_not_serve_the_pair_is_no_witness(tmp_path):
    pair = Pair(tmp_path)
    pair.rack.write_text(f'{pair.rack.read_text()}pairs = {{ "another" = ["node-a", "node-b"] }}\n')
    try:
        pair.start()
        one = first_active(pair)
        pair.said(one, lambda said: said["wire"]["witness"]["refusal"] == "not_listed", "its word")
        pair.run_for(0.5)
        said = pair.said(one, lambda said: said["records"], "records without a lease")
        assert not said["exclusive"] and not said["witness"]["ok"]
        shown = pair.cli("failover", "status", "--config", str(pair.config[one])).stdout
        assert "REFUSES (not listed)" in shown
    finally:
        pair.close()


RECORDED = dict.fromkeys(NODES, '\n[record]\nfolder = "recordings"')


def test_a_takeover_shows_the_recording_and_one_without_recorder_says_so_and_takes_over_all_the_same(tmp_path):
    pair = Pair(tmp_path, RECORDED)
    try:
        pair.recorder["node-a"].there = pair.recorder["node-b"].there = True
        pair.start()
        first = settled(pair)
        second = pair.other(first)
        for name in NODES:
            pair.said(name, lambda said: said["trouble"] == "", f"all is well at {name}")
        pair.program[first].end(signal.SIGKILL)
        step = takeover(pair, second)["steps"][5]
        assert (step["step"], step["status"], step["code"], step["budget_ms"]) == ("recorder", "ok", 0, 50.0)
        assert "8.333 ms after the picture before" in step["detail"] and step["took_ms"] >= 0
        pair.start(first)
        assert settled(pair) == second
        pair.said(first, lambda said: said["recorders"][0]["state"] == "recording", "its recorder")
        pair.recorder[first].there = False
        pair.said(first, lambda said: "recorder of camera 1: not running" in said["trouble"], "its words")
        shown = pair.cli("failover", "status", "--config", str(pair.config[first])).stdout
        assert "fit, 1 cameras: recorder of camera 1: not running" in shown and "camera 1 not running" in shown
        pair.program[second].end(signal.SIGKILL)
        report = takeover(pair, first)
        step = report["steps"][5]
        assert (step["status"], step["code"], step["detail"]) == (
            "failed", errno.ENOTCONN, "camera 1: its recorder is not running",
        )  # fmt: skip
        assert not report["ok"]
        # A dead service's gate runs out up to a beat after its lease: for records that is as it should be.
        pair.until(lambda: pair.active() == [first], "its gate alone")
        pair.until(lambda: "recorder" in [one["code"] for one in pair.publisher[first].events], "its event")
    finally:
        pair.close()


def test_a_recorder_that_does_not_answer_fails_its_step_alone(tmp_path):
    pair = Pair(tmp_path, RECORDED)
    try:
        for recorder in pair.recorder.values():
            recorder.there = recorder.deaf = True
        pair.start()
        first = settled(pair)
        second = pair.other(first)
        pair.program[first].end(signal.SIGKILL)
        steps = {one["step"]: one for one in takeover(pair, second)["steps"]}
        assert (steps["recorder"]["status"], steps["recorder"]["code"]) == ("failed", errno.ETIMEDOUT)
        assert "has not heard of it" in steps["recorder"]["detail"]
        assert steps["gate"]["status"] == steps["event"]["status"] == "ok"
    finally:
        pair.close()


def test_both_nodes_started_again_without_a_witness_go_on_under_the_epoch_they_knew(pair):
    pair.start()
    first = settled(pair)
    known = epoch(pair, first)
    files = {name: pair.folder / f"{name}-state" / "failover" / "epoch" for name in NODES}

    def kept(name: str) -> int:
        return int(json.loads(files[name].read_text()).get("epoch", 0)) if files[name].exists() else 0

    pair.until(lambda: kept(NODES[0]) == kept(NODES[1]) == known, "epochs on disk")
    for name in ("witness", *NODES):
        pair.program[name].end(signal.SIGKILL)
    assert known >= 1 and [kept(name) for name in NODES] == [known, known]
    pair.until(lambda: not pair.active(), "the end of what the dead ones opened")
    pair.start(*NODES)
    one = first_active(pair)
    said = pair.said(one, lambda said: said["epoch"] == known and said["records"], "the epoch of before")
    assert not said["exclusive"]
    pair.until(lambda: pair.publisher[one].gate.epoch == known, "its gate's too")
    other = pair.other(one)
    pair.program[other].end(signal.SIGKILL)
    files[other].write_text("{}")
    pair.start(other)
    pair.said(other, lambda said: "epoch_file" in [each["code"] for each in said["events"]], "its word")
    pair.until(lambda: kept(other) > 0, "a file anew, from what the twin knows")
    assert kept(other) == known


def test_both_started_as_active(tmp_path):
    pair = Pair(tmp_path, dict.fromkeys(NODES, 'start = "active"'))
    try:
        pair.start()
        first = settled(pair)
        pair.run_for(0.5)
        assert settled(pair) == first
    finally:
        pair.close()


def test_the_commands_say_what_is_wrong(pair, tmp_path):
    config = str(pair.config["node-a"])
    done = pair.cli("failover", "status", "--config", config)
    assert done.returncode == 6 and "no failover service answers" in done.stderr
    assert pair.cli("failover", "needed", "--config", config).returncode == 0
    alone = tmp_path / "alone.toml"
    alone.write_text(pair.config["node-a"].read_text().split("[failover]")[0])
    assert pair.cli("failover", "needed", "--config", str(alone)).returncode == 1
    broken = tmp_path / "broken.toml"
    broken.write_text("[failover")
    assert pair.cli("failover", "needed", "--config", str(broken)).returncode == 255
    refused = pair.cli("failover", "run", "--config", str(alone))
    assert refused.returncode == 3 and "has no [failover]" in refused.stderr
    pair.start()
    first = settled(pair)
    again = pair.cli("failover", "run", "--config", str(pair.config[first]))
    assert again.returncode == 5 and "in use" in again.stderr
    pair.end(first)
    pair.until(lambda: pair.active() == [pair.other(first)], "a service that is stopped hands over")
    told = pair.cli("failover", "history", "--config", str(pair.config[first]), "--json")
    kinds = [one["kind"] for one in json.loads(told.stdout)["entries"]]
    assert kinds.count("takeover") == 1 and kinds[-1] == "release"
