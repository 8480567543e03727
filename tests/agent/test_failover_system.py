"""The whole agent with a failover section; the test is its failover service: shut, open, a publisher that dies."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli import status_text
from failover.core.types import Gate, Role
from failover.link import Opened, PublisherPort, PublisherWord, socket_path
from tests.agent.node import NAME, Node, wait_for
from tests.agent.publish.rack import Rack, Subscriber
from touchline.timeline import monotonic_ns

pytestmark = pytest.mark.system
LEASE_NS = 60_000_000_000  # it does not run out because this process has to wait for its turn
SECTION = """
[failover]
pair = "goal-1"
twin = "node-u"
paths = [["127.0.0.1:17400", "127.0.0.1:17401"]]
witness = "127.0.0.1:17402"
"""


class Service:
    """What the failover service would say and hear."""

    def __init__(self, node: Node) -> None:
        self.port = PublisherPort(socket_path(node.folder / "run"))
        self.word: PublisherWord | None = None
        self.opened: list[Opened] = []
        self.gate = (False, 0)

    def turn(self) -> bool:
        """Hear and speak; call it often."""
        for said in self.port.receive():
            if isinstance(said, Opened):
                self.opened.append(said)
            else:
                self.word = said
        is_open, epoch = self.gate
        role = Role.ACTIVE if is_open else Role.STANDBY
        self.port.send(Gate(is_open, epoch, monotonic_ns() + LEASE_NS * is_open, role))
        return True

    def fit(self) -> bool:
        self.turn()
        health = self.word.pipeline.health if self.word is not None else None
        return health is not None and health.cameras == 1 and health.clock_ok and health.publishing

    def gone(self) -> bool:
        self.turn()
        return self.word is not None and not self.word.pipeline.health.publishing


def shut_and_arrived(node: Node, sink: Subscriber) -> bool:
    """Whether the gate is shut, and all that left before is at the sink."""
    status = node.status()
    shut = status["failover"]["role"] == "standby" and status["link"]["in_flight"] == 0
    return bool(shut and len(sink.seen) == status["acknowledged"])


@pytest.fixture
def node(rack: Rack, tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME))
    made.text += SECTION
    yield made
    made.close()


@pytest.fixture
def service(node: Node) -> Iterator[Service]:
    made = Service(node)
    yield made
    made.port.close()


def test_a_node_publishes_while_its_gate_is_open_and_says_what_it_is(rack: Rack, node: Node, service: Service):
    sink = rack.subscriber()
    node.start()
    wait_for(service.fit, "a fit node", node)
    wait_for(lambda: service.turn() and node.status().get("failover", {}).get("held_batches", 0) > 20, "frames", node)
    wait_for(lambda: service.turn() and node.status()["state"] == "running", "a status of frames", node)
    wait_for(lambda: service.turn() and "tl/v1/node-t/health" in sink.topics, "its health", node)
    assert not sink.seen, "a standby is silent"
    status = node.status()
    assert status["queued"] > 0
    assert (status["failover"]["role"], status["failover"]["open"]) == ("standby", False)
    service.gate = (True, 41)
    wait_for(lambda: service.turn() and len(sink.frames) > 60, "records", node)
    wait_for(lambda: service.turn() and bool(service.opened), "word of the open gate", node)
    assert service.opened[0].epoch == 41 and service.opened[0].first is not None
    words = "failover active, epoch 41, gate open"
    wait_for(lambda: service.turn() and words in status_text(node.status()), "the role", node)
    status = node.status()
    assert status["epoch"] == 41 and status["failover"]["service"]
    found = re.search(r"http://127\.0\.0\.1:\d+/metrics", node.log)
    assert found
    with urllib.request.urlopen(found[0], timeout=30) as answer:  # of the same view as the status, or a newer one
        page = answer.read().decode()
    assert "touchline_failover_epoch 41.0" in page and 'touchline_failover_role{role="active"} 1.0' in page
    service.gate = (False, 41)
    wait_for(lambda: service.turn() and shut_and_arrived(node, sink), "the other role", node)
    seen = len(sink.seen)
    held = node.status()["failover"]["held_batches"]
    wait_for(lambda: service.turn() and node.status()["failover"]["held_batches"] > held + 20, "frames", node)
    assert len(sink.seen) == seen
    assert node.end() == 0, node.log


def test_a_node_without_its_publisher_is_unfit_until_it_is_back(node: Node, service: Service):
    node.start()
    wait_for(service.fit, "a fit node", node)
    service.gate = (True, 1)
    wait_for(lambda: service.turn() and bool(service.opened), "the gate", node)
    os.kill(node.child_pid("publisher"), signal.SIGKILL)
    wait_for(service.gone, "its end", node)
    wait_for(service.fit, "its return", node)
    wait_for(lambda: service.turn() and len(service.opened) == 2, "the gate again", node)
    assert node.end() == 0, node.log
