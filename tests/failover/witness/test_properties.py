"""The lease table whatever happens: no two nodes ever hold one lease, whatever network and restarts do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover.wire.beats import Ask, Denial, Grant
from tests.failover.witness.test_core import LEASE, MS, Counter, shown, table


@dataclass
class Claimant:
    """A node as the core sees itself: it counts a lease from when it asked, and stops asking when it gave it back."""

    name: str
    session: bytes
    held: list[tuple[int, int, int]] = field(default_factory=list)  # from, until, epoch
    known: int = 0
    gave: int = 0  # the highest epoch that it gave back, and never takes up again
    given: tuple[int, bytes] = (0, bytes(16))  # and its twin, as far as it has heard: in its own word
    requests: dict[int, int] = field(default_factory=dict)
    number: int = 0


@dataclass
class World:
    """Two nodes, one witness, a network that delays, loses and reorders (old numbers are dropped, as Channel does).

    What a node gave back is heard by its twin at once or later, and is shown however late.
    """

    now_ns: int = 0
    epochs: Counter = field(default_factory=Counter)
    under_way: list[tuple[Claimant, Ask | Grant | Denial]] = field(default_factory=list)
    nodes: dict[str, Claimant] = field(default_factory=dict)
    sessions: int = 0
    heard: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.leases = table(0, self.epochs)
        for name in "ab":
            self.restart(name)

    def restart(self, name: str) -> None:
        self.sessions += 1
        before = self.nodes.get(name)
        self.nodes[name] = Claimant(name, self.sessions.to_bytes(16, "little"))
        if before is not None:  # what the dead process held counts on: it may only have been stopped
            self.nodes[name].held = before.held

    def restart_witness(self) -> None:
        self.heard.clear()
        self.leases = table(self.now_ns + 200 * MS, self.epochs)

    def ask(self, name: str, what: str) -> None:
        node = self.nodes[name]
        node.number += 1
        if what == "release":
            node.requests.clear()
            node.held = [(start, min(until, self.now_ns), epoch) for start, until, epoch in node.held]
            node.gave = node.known
        node.requests[node.number] = self.now_ns
        words = Ask(what, "goal-1", name, node.known, LEASE, node.number, *node.given)  # type: ignore[arg-type]
        self.under_way.append((node, words))

    def tell(self, name: str) -> None:
        """A beat of this node comes through."""
        twin = self.nodes["b" if name == "a" else "a"]
        if self.nodes[name].gave:
            twin.given = self.nodes[name].gave, self.nodes[name].session

    def lie(self, name: str, epoch: int) -> None:
        """This node is mad: it shows words that it made itself, and those of sessions that are over."""
        self.nodes[name].given = epoch, max(0, self.sessions - 2).to_bytes(16, "little") if epoch % 2 else b"!" * 16
        if self.nodes[name].given[1] in {node.session for node in self.nodes.values()}:
            self.nodes[name].given = epoch, b"?" * 16

    def arrive(self, index: int) -> None:
        node, message = self.under_way.pop(index % len(self.under_way))
        if isinstance(message, Ask):
            if message.request <= self.heard.get(node.session, 0):
                return
            self.heard[node.session] = message.request
            self.under_way.append((node, self.leases.ask(message, node.session, self.now_ns)))
        elif isinstance(message, Grant) and message.request in node.requests:
            sent_ns = node.requests.pop(message.request)
            node.known = max(node.known, message.epoch)
            if sent_ns + message.lease_ns > self.now_ns and message.epoch > node.gave:
                node.held.append((self.now_ns, sent_ns + message.lease_ns, message.epoch))

    def tick(self) -> None:
        by_session = {node.session: node for node in self.nodes.values()}
        for holder, grant in self.leases.tick(self.now_ns):
            if holder.session in by_session:
                self.under_way.append((by_session[holder.session], grant))

    def check(self) -> None:
        for mine, theirs in product(self.nodes["a"].held, self.nodes["b"].held):
            first, second = sorted((mine, theirs))
            assert second[0] >= first[1], f"one until {first[1]}, the other from {second[0]}"
            assert second[2] > first[2]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 60)),
        st.tuples(st.just("claim"), st.sampled_from("ab")),
        st.tuples(st.just("claim"), st.sampled_from("ab")),
        st.tuples(st.just("release"), st.sampled_from("ab")),
        st.tuples(st.just("look"), st.sampled_from("ab")),
        st.tuples(st.just("tell"), st.sampled_from("ab")),
        st.tuples(st.just("lie"), st.tuples(st.sampled_from("ab"), st.integers(0, 12))),
        st.tuples(st.just("arrive"), st.integers(0, 20)),
        st.tuples(st.just("arrive"), st.just(0)),
        st.tuples(st.just("lose"), st.integers(0, 20)),
        st.tuples(st.just("restart"), st.sampled_from("ab")),
        st.tuples(st.just("witness"), st.just(0)),
    ),
    max_size=150,
)


@settings(max_examples=600, deadline=None)
@given(STEPS)
def test_never_two_holders_and_epochs_grow(steps):
    world = World()
    for what, value in steps:
        if what == "wait":
            world.now_ns += value * MS
        elif what in {"claim", "release", "look"}:
            world.ask(value, what)
        elif what == "tell":
            world.tell(value)
        elif what == "lie":
            world.lie(*value)
        elif what == "arrive" and world.under_way:
            world.arrive(value)
        elif what == "lose" and world.under_way:
            world.under_way.pop(value % len(world.under_way))
        elif what == "restart":
            world.restart(value)
        elif what == "witness":
            world.restart_witness()
        world.tick()
        world.check()
    epochs = [change.epoch for change in world.leases.changes() if change.node]
    assert epochs == sorted(epochs)


def test_the_world_would_see_that_the_witness_was_lied_to_by_the_twin():
    world = World()
    for name, what in (("a", "claim"), ("a", "release"), ("a", "claim"), ("b", "claim")):
        world.ask(name, what)
        world.tell("a")
        world.arrive(0)
        world.arrive(0)
    world.check()
    given = replace(shown("b", 2, tag=world.nodes["a"].session), request=world.nodes["b"].number + 1)
    world.nodes["b"].requests[given.request] = world.now_ns
    world.under_way.append((world.nodes["b"], given))
    world.arrive(0)
    world.arrive(0)
    with pytest.raises(AssertionError, match="until"):
        world.check()


def test_the_world_would_see_two_holders():
    """The check can fail: a witness that forgets its leases and does not wait."""
    world = World()
    for name in "ab":
        world.ask(name, "claim")
        world.leases = table(0, world.epochs)
        world.arrive(0)
        world.arrive(0)
    with pytest.raises(AssertionError, match="until"):
        world.check()
