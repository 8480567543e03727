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
    pair.until(lambda: len(pair.active()) == 1, "one gate open")
    active = pair.active()[0]
    pair.until(lambda: pair.status(active).get("lease_left_ms", 0) > 0, "a lease")
    other = pair.other(active)

    def ready() -> bool:
        said = pair.status(other)
        return bool(said and said["twin"]["role"] == "active" and said["health"]["fit"] and said["witness"]["ok"])

    pair.until(ready, "a fit standby")
    return active


def takeover(pair: Pair, name: str) -> dict[str, Any]:
    """The report of the takeover that this node is doing."""

    def done() -> bool:
        said = pair.status(name)
        last = said.get("last_switch")
        return bool(last and last["kind"] == "takeover" and last["epoch"] == said["epoch"])

    pair.until(done, "its report")
    found = pair.status(name)["last_switch"]
    assert isinstance(found, dict)
    return found


def epoch(pair: Pair, name: str) -> int:
    found = pair.status(name)["epoch"]
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
    pair.run_for(0.1)
    assert (report["trigger"], report["epoch"], report["ok"]) == ("silence", before + 1, True)
    assert [one["step"] for one in report["steps"]] == [
        "detect", "lease", "gate", "address", "announce", "recorder", "event"
    ]  # fmt: skip
    assert pair.publisher[second].gate.covered == (CameraCursor(1, 5_000),)
    codes = [one["code"] for one in pair.publisher[second].events]
    assert codes.count("failover-takeover") == 1
    pair.start(first)
    assert settled(pair) == second
    pair.run_for(1.5)
    assert pair.active() == [second] and epoch(pair, second) == before + 1


def test_a_handover_has_no_moment_without_an_open_gate(pair):
    pair.start()
    first = settled(pair)
    shut = []

    def watched() -> bool:
        if not pair.active():
            shut.append(1)
        return bool(pair.active() == [pair.other(first)])

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
    pair.until(lambda: not pair.status(first)["twin"]["fit"], "word of it")
    refused = pair.cli("failover", "handover", "--config", str(pair.config[first]))
    assert refused.returncode == 4 and "is not fit to take over" in refused.stderr
    pair.publisher[second].health = replace(pair.publisher[second].health, clock_ok=True)
    pair.until(lambda: pair.status(first)["twin"]["fit"], "it is fit again")
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
        lost.extend([] if pair.active() == [first] else [pair.active()])
        said = pair.status(first)
        return bool(not said["witness"]["ok"] and said["promise_left_ms"] > 0)

    pair.until(without, "the active one holds by the promise")
    pair.run_for(1.0)
    assert not lost and pair.active() == [first] and pair.status(first)["exclusive"]
    pair.start("witness")
    pair.until(lambda: pair.status(first)["lease_left_ms"] > 0, "the lease again")
    assert pair.active() == [first] and epoch(pair, first) >= before
    assert pair.status(second)["role"] == "standby"


def test_without_witness_and_twin_records_go_on_and_nothing_else(pair):
    pair.start()
    first = settled(pair)
    second, before = pair.other(first), epoch(pair, first)
    pair.program["witness"].end(signal.SIGKILL)
    pair.until(lambda: not pair.status(second)["witness"]["ok"], "the witness missed")
    pair.program[first].end(signal.SIGKILL)
    pair.until(lambda: pair.active() == [second], "records")
    said = pair.status(second)
    assert (said["exclusive"], said["records"], said["epoch"]) == (False, True, before)
    assert "records alone" in said["reason"]


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
    assert pair.status(first)["late"]["turns"] >= 1


def test_a_publisher_that_hangs_is_no_publisher(pair):
    pair.start()
    first = settled(pair)
    second = pair.other(first)
    pair.publisher[first].hangs = True
    pair.until(lambda: pair.publisher[second].open_at(monotonic_ns()), "the twin's gate")
    pair.until(lambda: pair.status(first).get("role") == "standby", "the one with the dead publisher gives way")
    assert "connected and silent" in pair.status(first)["trouble"]
    assert pair.program[first].process.poll() is None


def test_a_witness_that_will_not_serve_the_pair_is_no_witness(tmp_path):
    pair = Pair(tmp_path)
    pair.rack.write_text(f'{pair.rack.read_text()}pairs = {{ "another" = ["node-a", "node-b"] }}\n')
    try:
        pair.start()
        pair.until(lambda: bool(pair.active()), "records without a lease")
        one = pair.active()[0]
        pair.until(lambda: pair.status(one)["wire"]["witness"]["refusal"] == "not_listed", "its word")
        pair.run_for(0.5)
        said = pair.status(one)
        assert said["records"] and not said["exclusive"] and not said["witness"]["ok"]
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
        assert pair.status(first)["trouble"] == pair.status(second)["trouble"] == ""
        pair.program[first].end(signal.SIGKILL)
        step = takeover(pair, second)["steps"][5]
        assert (step["step"], step["status"], step["code"], step["budget_ms"]) == ("recorder", "ok", 0, 50.0)
        assert "8.333 ms after the picture before" in step["detail"] and step["took_ms"] >= 0
        pair.start(first)
        assert settled(pair) == second
        pair.until(lambda: pair.status(first)["recorders"][0]["state"] == "recording", "its recorder")
        pair.recorder[first].there = False
        pair.until(lambda: "recorder of camera 1: not running" in pair.status(first)["trouble"], "its words")
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
        assert "recorder" in [one["code"] for one in pair.publisher[first].events]
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
    pair.until(lambda: all(file.exists() for file in files.values()), "epochs on disk")
    for name in ("witness", *NODES):
        pair.program[name].end(signal.SIGKILL)
    assert known >= 1 and [json.loads(files[name].read_text())["epoch"] for name in NODES] == [known, known]
    pair.start(*NODES)
    pair.until(lambda: bool(pair.active()), "records alone")
    one = pair.active()[0]
    pair.until(lambda: pair.status(one).get("epoch") == known, "the epoch of before")
    gate = pair.publisher[one].gate
    assert gate is not None and gate.epoch == known and not pair.status(one)["exclusive"]
    other = pair.other(one)
    pair.program[other].end(signal.SIGKILL)
    files[other].write_text("{}")
    pair.start(other)
    pair.until(lambda: "epoch_file" in [each["code"] for each in pair.status(other).get("events", [])], "its word")
    pair.until(lambda: '"epoch"' in files[other].read_text(), "a file anew, from what the twin knows")
    assert json.loads(files[other].read_text())["epoch"] == known


def test_both_started_as_active(tmp_path):
    pair = Pair(tmp_path, dict.fromkeys(NODES, 'start = "active"'))
    try:
        pair.start()
        first = settled(pair)
        pair.run_for(0.5)
        assert pair.active() == [first]
        assert pair.status(pair.other(first))["role"] == "standby"
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
    pair.program[first].end(signal.SIGTERM)
    pair.until(lambda: pair.active() == [pair.other(first)], "a service that is stopped hands over")
    told = pair.cli("failover", "history", "--config", str(pair.config[first]), "--json")
    kinds = [one["kind"] for one in json.loads(told.stdout)["entries"]]
    assert kinds.count("takeover") == 1 and kinds[-1] == "release"
