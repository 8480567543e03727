"""A pair against the rack's real desk: every frame there exactly once, whoever dies, restarts or is cut off when."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.publish import ledger
from agent.publish.ledger import FEW_BATCHES
from tests.agent.publish.pair import LEASE_NS, MS, PERIOD_NS, Frame, Node, RackDesk

CAMERAS = (1, 2)
SIDES = st.integers(0, 1)


class PairMachine(RuleBasedStateMachine):
    """Who holds the lease is drawn; words, beats, sends and acknowledgements come in any order, late or never.

    A frame must be at the rack in the end when a node that lives on has it and was to deliver it, or both had it, or
    the other one was away. At most one node dies for good; when the active one restarts, the other takes over, as the
    service sees to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="pair-model-"))
        self.rack = RackDesk()
        self.now_ns = 10**9
        self.number = 0
        self.holder = 0
        self.epoch = 0
        self.people: dict[Frame, int] = {}
        self.spooled: dict[Frame, set[int]] = {}
        self.alone: dict[Frame, set[int]] = {}  # this one's to deliver, whatever the other has
        self.nodes: list[Node] = []

    @initialize(share=st.floats(-0.45, 0.45), few=st.sampled_from([0, 3, FEW_BATCHES]))
    def begin(self, share: float, few: int) -> None:
        ledger.FEW_BATCHES = few  # type: ignore[misc]
        offsets = (0, int(share * PERIOD_NS))
        self.nodes = [Node(name, self.root / name, offset) for name, offset in zip("ab", offsets, strict=True)]
        self.lease(0)
        self.tell(0)

    # -- what happens ------------------------------------------------------------------------------------------------

    def lease(self, side: int) -> None:
        self.epoch += 1
        self.holder = side
        self.nodes[side].epoch = self.epoch

    @rule(count=st.integers(1, 6), people=st.integers(0, 3), missed=st.sampled_from([None, None, None, 0, 1]))
    def frames(self, count: int, people: int, missed: int | None) -> None:
        for _ in range(count):
            self.now_ns += PERIOD_NS
            for camera in CAMERAS:
                self.one_frame(camera, people if camera == 1 else 1, missed)
            self.number += 1

    def one_frame(self, camera: int, people: int, missed: int | None) -> None:
        frame = (camera, self.number)
        looking = [side for side, node in enumerate(self.nodes) if node.alive and side != missed]
        if people:
            self.people[frame], self.spooled[frame], self.alone[frame] = people, set(looking), set()
        for side in looking:
            delivers = self.nodes[side].frame(camera, self.number, people, self.now_ns)
            if people and (delivers or not self.nodes[1 - side].alive):
                self.alone[frame].add(side)

    @rule(ms=st.sampled_from([1, 5, 30, 120, 700]))
    def time(self, ms: int) -> None:
        self.now_ns += ms * MS
        self.rack.tick(self.now_ns)
        for node in self.living():
            node.duty.spool.tick(self.now_ns)

    @rule(side=SIDES)
    def tell(self, side: int) -> None:
        """A word of the service; the one that holds the lease opens the gate."""
        if self.nodes[side].alive:
            twin = self.nodes[1 - side].alive and self.holder == 1 - side
            self.nodes[side].word(self.now_ns, holds=self.holder == side, twin_holds=twin)

    @rule(side=SIDES)
    def tell_without_witness(self, side: int) -> None:
        """Records alone: open under the last epoch, whoever else is."""
        if self.nodes[side].alive:
            self.nodes[side].word(self.now_ns, holds=False, twin_holds=False, alone=True)

    @rule(side=SIDES)
    def beat(self, side: int) -> None:
        """The twin learns the cursors of one that is active."""
        me, twin = self.nodes[side], self.nodes[1 - side]
        if me.alive and me.duty.keeper.is_open(self.now_ns):
            for camera, ptp_ns in me.cursors().items():
                twin.heard[camera] = max(ptp_ns, twin.heard.get(camera, 0))

    @rule(side=SIDES, most=st.integers(1, 20))
    def send(self, side: int, most: int) -> None:
        if self.nodes[side].alive:
            self.nodes[side].send(most, self.now_ns)

    @rule(side=SIDES, count=st.integers(1, 20))
    def acknowledge(self, side: int, count: int) -> None:
        if self.nodes[side].alive:
            self.nodes[side].acknowledge(self.rack, count, self.now_ns)

    @rule(side=SIDES)
    def flow(self, side: int) -> None:
        """All of it at once, as in quiet times."""
        self.tell(side)
        self.send(side, 20)
        self.acknowledge(side, 20)
        self.beat(side)
        self.tell(1 - side)

    @rule(side=SIDES, arrived=st.integers(0, 20))
    def reconnect(self, side: int, arrived: int) -> None:
        if self.nodes[side].alive:
            self.nodes[side].reconnect(self.rack, arrived, self.now_ns)

    @precondition(lambda self: all(node.alive for node in self.nodes))
    @rule()
    def switch(self) -> None:
        self.lease(1 - self.holder)

    @precondition(lambda self: all(node.alive for node in self.nodes))
    @rule(side=SIDES, arrived=st.integers(0, 20), away=st.integers(0, 3))
    def restart(self, side: int, arrived: int, away: int) -> None:
        """kill -9 of a publisher; frames go on without it for a while."""
        node = self.nodes[side]
        for _, data in list(node.flight)[:arrived]:
            self.rack.message(node.name, data, self.now_ns)
        node.alive = False
        if self.holder == side:
            self.lease(1 - side)
            self.tell(1 - side)
        if away:
            self.frames(away, 2, None)
        node.alive = True
        node.start(self.now_ns)

    @precondition(lambda self: all(node.alive for node in self.nodes))
    @rule(side=SIDES, arrived=st.integers(0, 20))
    def die(self, side: int, arrived: int) -> None:
        node = self.nodes[side]
        for _, data in list(node.flight)[:arrived]:
            self.rack.message(node.name, data, self.now_ns)
        node.alive = False

    # -- what must hold ----------------------------------------------------------------------------------------------

    def living(self) -> list[Node]:
        return [node for node in self.nodes if node.alive]

    @invariant()
    def no_frame_is_taken_twice(self) -> None:
        for frame, rows in self.rack.taken.items():
            assert len({node for node, _ in rows}) == 1, frame
            assert sorted(person for _, person in rows) == list(range(self.people[frame])), frame

    @invariant()
    def no_cursor_is_ahead_of_the_rack(self) -> None:
        for node in self.living():
            cursors = node.cursors()
            for (camera, number), sides in self.spooled.items():
                if len(sides) == 2 and node.exposure(number) <= cursors.get(camera, 0):
                    assert (camera, number) in self.rack.here

    def teardown(self) -> None:
        if self.nodes:
            self.finish()
            for node in self.nodes:
                node.close()
        shutil.rmtree(self.root)
        ledger.FEW_BATCHES = FEW_BATCHES  # type: ignore[misc]

    def finish(self) -> None:
        """Each living one takes over once, and all work on until nothing is left; then the books are read."""
        for side in (1 - self.holder, self.holder):
            if self.nodes[side].alive:
                self.now_ns += 10 * LEASE_NS
                self.lease(side)
                self.work_off()
        self.rack.tick(self.now_ns + 10**12)
        self.read_the_books()

    def work_off(self) -> None:
        """Until nothing is left to send."""
        for _ in range(400):
            self.now_ns += 10 * MS
            for side in (self.holder, 1 - self.holder):
                self.flow(side)
            if all(not node.duty.spool.unread and not node.flight for node in self.living()):
                return
        raise AssertionError("it goes on for ever")

    def read_the_books(self) -> None:
        lives = {side for side, node in enumerate(self.nodes) if node.alive}
        for frame, sides in self.spooled.items():
            both, debt = len(sides) == 2 and sides & lives, self.alone[frame] & lives
            if both or debt:
                assert len(self.rack.taken[frame]) == self.people[frame], f"{frame} of {sides}, {lives} live"
        for node in self.living():
            assert not set(node.duty.spool.dropped), node.duty.spool.dropped
            missing = self.rack.desk.deduper.missing(self.now_ns + 10**12, node.name)
            assert (missing.open, missing.lost) == (0, 0), "numbers without holes"


TestPair = PairMachine.TestCase
TestPair.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
