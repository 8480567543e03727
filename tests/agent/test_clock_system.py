"""The whole agent with a clock process: kept back or flagged while unlocked, lost clocks, events on their way."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent import stand_in_clock
from tests.agent.node import NAME, Node, wait_for
from tests.agent.publish.rack import Rack

pytestmark = pytest.mark.system

CLOCK = '[clock]\nsource = "ptp"\non_unlocked = "{policy}"\n[ring]'


class Clocked(Node):
    """A node whose clock process does as it is told."""

    def order(self, **orders: object) -> None:
        stand_in_clock.order(self.folder / "run", **orders)

    @property
    def kept_back(self) -> int:
        """Records that were not published for want of a locked clock."""
        return int(self.status().get("dropped", {}).get("clock_unlocked", 0))

    @property
    def queued(self) -> int:
        return int(self.status().get("queued", 0))

    def until(self, state: str, reason: str = "") -> None:
        """Until it is in a state, with words like these in its reason (a pattern)."""

        def is_there() -> bool:
            status = self.status()
            return status.get("state") == state and re.search(reason, status["reason"]) is not None

        wait_for(is_there, f"the state {state} and {reason!r}", self)

    def caught_up(self) -> None:
        """Until the inference has told of frames that came after this moment."""
        processed = self.status()["frames"]["processed"]
        wait_for(lambda: self.status()["frames"]["processed"] > processed + 25, "frames", self)


@pytest.fixture
def node(rack: Rack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clocked]:
    monkeypatch.setenv("PYTHONPATH", stand_in_clock.install(tmp_path / "site"))
    made = Clocked(tmp_path / "node", rack.broker.port, rack.ca.client(NAME))
    made.order()
    yield made
    made.close()


def locked_and_well(status: dict[str, Any]) -> bool:
    clock = status["clock"]
    if status["state"] != "running" or clock["state"] != "locked":
        return False
    assert status["reason"] == ""
    assert (clock["epoch"], clock["limit_ns"]) == (1, 1000)
    assert (clock["source"], clock["grandmaster"]) == ("ptp", stand_in_clock.GRANDMASTER)
    return True


def test_required_publishes_nothing_until_the_lock_and_nothing_after_it(rack: Rack, node: Clocked):
    node.edit("[ring]", CLOCK.format(policy="required"))
    sink = rack.subscriber()
    node.start()
    node.until("degraded", "clock unlocked: bound .* exceeds the limit 1 µs")
    wait_for(lambda: node.kept_back > 50, "records that are kept back", node)
    wait_for(lambda: node.status()["children"]["clock"]["ready"], "the clock's process", node)
    assert node.queued == 0

    node.order(bound_ns=100)
    wait_for(lambda: node.queued > 50, "records under a locked clock", node)
    wait_for(lambda: locked_and_well(node.status()), "a locked clock that is told", node)

    node.order(bound_ns=3_099)
    node.until("degraded", r"clock unlocked: bound 3\.\d+ µs exceeds the limit 1 µs$")  # a little more each moment
    node.caught_up()
    kept_back = node.kept_back
    wait_for(lambda: node.kept_back > kept_back + 50, "records that are kept back", node)
    handed = node.status()["records"]
    wait_for(lambda: node.kept_back > kept_back + 300, "more of them", node)
    assert node.status()["records"] == handed
    assert node.end() == 0
    assert node.status()["queued"] == handed
    wait_for(lambda: len(sink.seen) == handed, "all records at the sink", node)
    assert "killed" not in node.log


def test_flag_publishes_all_of_it_and_a_lost_clock_degrades(rack: Rack, node: Clocked):
    node.edit("[ring]", CLOCK.format(policy="flag"))
    node.text += "restart_limit = 0\n"
    sink = rack.subscriber()
    node.start()
    node.until("running", "^clock unlocked: ")
    wait_for(lambda: node.queued > 50, "records under an unlocked clock", node)
    node.order(bound_ns=100)
    wait_for(lambda: node.status()["clock"]["state"] == "locked", "the lock", node)

    os.kill(node.child_pid("clock"), signal.SIGKILL)
    node.until("degraded", "clock failed after 0 restarts: killed by SIGKILL")
    queued = node.queued
    wait_for(lambda: node.queued > queued + 50, "records after the loss", node)
    wait_for(lambda: node.status()["clock"]["state"] != "locked", "the end of the lock", node)
    wait_for(lambda: node.status()["clock"]["offset_ns"] is None, "the end of old readings", node)
    assert node.status()["clock"]["grandmaster"] == stand_in_clock.GRANDMASTER
    wait_for(lambda: any(b'"code":"clock_lost"' in one for one in sink.payloads), "the loss as an event", node)
    assert node.kept_back == 0
    assert node.end() == 0


def test_a_killed_clock_is_started_again_and_its_events_reach_the_rack(rack: Rack, node: Clocked):
    node.edit("[ring]", CLOCK.format(policy="required"))
    node.order(bound_ns=100)
    sink = rack.subscriber()
    node.start()
    wait_for(lambda: node.queued > 50, "records", node)
    node.order(bound_ns=100, number=1, events=[{"severity": "error", "code": "clock_step", "text": "time stepped"}])
    wait_for(lambda: any(b'"code":"clock_step"' in one for one in sink.payloads), "the event", node)
    assert "time stepped" in node.log
    node.caught_up()
    kept_back = node.kept_back  # where the first frames came before the first page
    os.kill(node.child_pid("clock"), signal.SIGKILL)
    wait_for(lambda: node.status()["children"]["clock"]["restarts"] == 1, "the restart", node)
    queued = node.queued
    wait_for(lambda: node.queued > queued + 50, "records after the restart", node)
    node.caught_up()
    assert node.kept_back == kept_back, "the page outlives its writer"
    assert node.end() == 0


def test_required_ends_with_its_clock(rack: Rack, node: Clocked):
    node.edit("[ring]", CLOCK.format(policy="required"))
    node.text += "restart_limit = 0\n"
    node.order(bound_ns=100)
    node.start()
    wait_for(lambda: node.queued > 50, "records", node)
    os.kill(node.child_pid("clock"), signal.SIGKILL)
    assert node.wait() == 1
    assert "clock failed after 0 restarts: killed by SIGKILL" in node.log
