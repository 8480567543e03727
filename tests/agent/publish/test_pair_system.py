"""Two real publishers, a real broker and the rack's desk: kill -9 of the active one, and everything is there once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.agent.publish.pair import RackDesk
from tests.agent.publish.processes import MS, PublisherProcess
from tests.agent.publish.rack import DEADLINE_S, Rack, wait_for
from touchline.mqtt import AGGREGATOR, BrokerClient, make_client
from touchline.record import Flag, read_header, unpack_batch
from touchline.timeline import monotonic_ns, sleep_until

pytestmark = pytest.mark.system
PEOPLE = 3
PERIOD_NS = 10 * MS
T0_NS = 1_800_000_000 * 10**9


class Arrivals:
    """Every batch that reaches the rack's side of the broker: node, bytes, when."""

    def __init__(self, rack: Rack) -> None:
        self.batches: list[tuple[str, bytes, int]] = []
        self.events: list[bytes] = []
        self.ready = False
        settings = rack.link(rack.ca.client(AGGREGATOR), "rack-test-arrivals")
        self.client: BrokerClient = make_client(settings)
        self.client.on_connect = lambda client, *_: client.subscribe([("tl/v1/+/det", 1), ("tl/v1/+/event", 1)])
        self.client.on_subscribe = self._subscribed
        self.client.on_message = self._message
        self.client.dial()
        self.client.loop_start()

    def _subscribed(self, *_: Any) -> None:
        self.ready = True

    def _message(self, client: Any, userdata: Any, message: Any) -> None:
        if message.topic.endswith("/event"):
            self.events.append(bytes(message.payload))
            return
        self.batches.append((message.topic.split("/")[2], bytes(message.payload), monotonic_ns()))

    def frames(self, node: str = "") -> list[int]:
        """Frame numbers as they came."""
        return [int(unpack_batch(data)[1]["frame"][0]) for who, data, _ in self.batches if node in ("", who)]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Match:
    """Two nodes that see the same frames, the second 2 ms later, and a lease that the test holds."""

    def __init__(self, rack: Rack) -> None:
        self.arrivals = Arrivals(rack)
        wait_for(lambda: self.arrivals.ready, "the subscription")  # before anything is published
        self.nodes = [
            PublisherProcess(rack.folder / name, name, twin, rack.broker.port, rack.ca.client(name))
            for name, twin in (("node-a", "node-b"), ("node-b", "node-a"))
        ]
        self.number = 0
        self.holder: int | None = 0
        self.epoch = 1
        self.dead: set[int] = set()
        self.silent = False
        self.lease_ms = 60_000
        self.until_ns = 0  # of the last word that opened a gate
        self.handed_ns: list[int] = []  # when each frame was given to the nodes
        self._next_ns = monotonic_ns()

    def living(self) -> list[PublisherProcess]:
        return [node for side, node in enumerate(self.nodes) if side not in self.dead]

    def turn(self, people: int = PEOPLE) -> None:
        """One frame period: a frame to each, a word of the service to each."""
        self._next_ns = max(self._next_ns + PERIOD_NS, monotonic_ns() - 5 * PERIOD_NS)
        sleep_until(self._next_ns)
        self.handed_ns.append(monotonic_ns())
        for side, node in enumerate(self.nodes):
            if side not in self.dead:
                node.frame(self.number, T0_NS + self.number * PERIOD_NS + side * 2 * MS, people)
                if self.number % 50 == 0:
                    node.vouch()
        self.number += 1
        self.words()

    def words(self) -> None:
        for node in self.living():
            node.hear()
        for side, node in enumerate(self.nodes):
            if side not in self.dead and not self.silent:
                covered = self.nodes[1 - side].cursors if self.holder == 1 - side else ()
                is_open = self.holder == side
                until_ns = node.gate(is_open=is_open, epoch=self.epoch, covered=covered, for_ms=self.lease_ms)
                self.until_ns = until_ns if is_open else self.until_ns

    def play(self, until: Callable[[], bool], what: str, people: int = PEOPLE) -> None:
        end_ns = monotonic_ns() + int(DEADLINE_S * 1e9)
        while not until():
            assert monotonic_ns() < end_ns, f"timed out waiting for {what}: {[node.report for node in self.nodes]}"
            self.turn(people)

    def frames(self, count: int) -> None:
        for _ in range(count):
            self.turn()

    def settle(self) -> None:
        """No more frames; until all that was to come has come."""
        wanted = set(range(self.number))
        end_ns = monotonic_ns() + int(DEADLINE_S * 1e9)
        while not set(self.arrivals.frames()) >= wanted:
            assert monotonic_ns() < end_ns, f"missing: {sorted(wanted - set(self.arrivals.frames()))[:20]}"
            sleep_until(monotonic_ns() + 10 * MS)
            self.words()

    def books(self) -> RackDesk:
        """What the rack's desk makes of it."""
        desk, now_ns = RackDesk(PERIOD_NS), 0
        for node, data, now_ns in self.arrivals.batches:
            desk.tick(now_ns)
            desk.message(node, data, now_ns)
        desk.tick(now_ns + 10**12)
        return desk

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        self.arrivals.close()


@pytest.fixture
def match(rack: Rack) -> Iterator[Match]:
    made = Match(rack)
    made.play(lambda: made.arrivals.ready and len(made.arrivals.frames("node-a")) > 20, "the first frames")
    yield made
    made.close()


def all_once(match: Match) -> None:
    desk = match.books()
    for number in range(match.number):
        rows = desk.taken[1, number]
        assert len({node for node, _ in rows}) == 1, number
        assert sorted(person for _, person in rows) == list(range(PEOPLE)), number
    for node in match.living():
        missing = desk.desk.deduper.missing(10**18, node.name)
        assert (missing.open, missing.lost) == (0, 0)


def test_kill_of_the_active_one_loses_and_doubles_nothing(match: Match) -> None:
    a, b = match.nodes
    match.play(lambda: bool(b.cursors and a.cursors), "cursors")
    match.frames(30)
    before = match.arrivals.frames("node-b")  # what it had before it knew of its twin's cursor
    match.frames(60)
    assert match.arrivals.frames("node-b") == before, "a standby is silent"
    match.play(lambda: b.word is not None and b.word.pipeline.health.cameras == 1, "word of its frames")
    covered = a.cursors
    a.kill()
    match.dead.add(0)
    a.hear()
    assert a.word is not None and not a.word.pipeline.health.publishing, "its service knows at once"
    match.frames(5)
    match.holder, match.epoch = 1, 2
    opened_ns = monotonic_ns()
    b.gate(is_open=True, epoch=2, covered=covered)
    match.play(lambda: bool(b.opened), "the word that it is open")
    match.frames(60)
    match.play(lambda: bool(b.roles) and b.roles[-1] == ("active", 2), "word of its role")
    match.settle()
    first = b.opened[0]
    assert first.epoch == 2 and first.first is not None
    assert first.first.ptp_ns <= covered[0].ptp_ns + 2 * PERIOD_NS, "the cursor's next frame"
    assert first.at_ns > opened_ns, "how soon is measured by the benchmark, on a machine of its own"
    later = [data for node, data, _ in match.arrivals.batches if node == "node-b"][len(before) :]
    assert {read_header(data).epoch for data in later} == {2}
    flags = [int(unpack_batch(data)[1]["flags"][0]) for data in later]
    held = [bool(flag & Flag.FROM_STANDBY) for flag in flags]
    assert held == sorted(held, reverse=True) and held[0] and not held[-1], "recorded as a standby first, then not"
    all_once(match)


def test_a_killed_publisher_comes_back_as_standby_and_delivers_what_it_owes(match: Match) -> None:
    a, b = match.nodes
    match.play(lambda: bool(b.cursors and a.cursors), "cursors")
    match.frames(30)
    covered = a.cursors
    a.kill()
    match.dead.add(0)
    match.holder, match.epoch = 1, 2
    b.gate(is_open=True, epoch=2, covered=covered)
    match.frames(20)
    a.start()
    match.dead.clear()
    match.play(lambda: a.word is not None and a.word.pipeline.health.publishing and bool(a.roles), "its return")
    match.frames(60)
    match.settle()
    assert {role for role, _ in a.roles} == {"standby"}
    late = [read_header(data).epoch for node, data, _ in match.arrivals.batches if node == "node-a"]
    assert set(late) <= {0, 1}, "its debts never go under the epoch of another holder"
    all_once(match)


def test_the_gate_runs_out_when_the_service_is_gone(match: Match) -> None:
    a, _ = match.nodes
    match.lease_ms = 100
    match.turn()
    match.silent = True
    match.frames(60)
    match.play(lambda: a.roles[-1][0] == "standby", "half a second: then it records as a standby")
    match.frames(20)
    after = {number for number, handed_ns in enumerate(match.handed_ns) if handed_ns > match.until_ns}
    assert after and not after & set(match.arrivals.frames()), "no frame leaves after the word's end"
    match.silent, match.lease_ms = False, 60_000
    match.frames(20)
    match.settle()
    all_once(match)


def test_events_of_the_service_go_out_with_the_gate_shut(match: Match) -> None:
    from failover.link import NodeEvent

    _, b = match.nodes
    match.play(lambda: b.service.connected, "the standby's publisher")
    assert b.service.say(NodeEvent("warning", "takeover", "node-b is here", {"budget_ms": 800}))
    match.play(lambda: bool(match.arrivals.events), "the event")
    assert b'"budget_ms":800' in match.arrivals.events[0] and b'"ptp_ns":' in match.arrivals.events[0]


def test_an_empty_pitch_moves_the_cursor_and_a_blind_node_says_so(match: Match) -> None:
    a, _ = match.nodes
    before = match.number
    match.play(lambda: bool(a.cursors) and a.cursors[0].ptp_ns > T0_NS + (before + 20) * PERIOD_NS, "cursor", people=0)
    assert not set(match.arrivals.frames()) & set(range(before, match.number))
    deadline_ns = monotonic_ns() + int(DEADLINE_S * 1e9)
    while a.word is None or a.word.pipeline.health.cameras:
        assert monotonic_ns() < deadline_ns
        sleep_until(monotonic_ns() + 10 * MS)
        match.words()
    assert "no frame of any camera for 200 ms" in a.word.trouble


def test_it_ends_in_good_order_in_either_role(match: Match) -> None:
    a, b = match.nodes
    match.frames(20)
    assert b.stop() == 0, "what it holds is the twin's: nothing to wait for"
    assert a.stop() == 0
