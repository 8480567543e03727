"""Every interleaving that hypothesis can think of: never torn, never twice, every skipped frame counted.

The writer and the readers are the real ones on real shared memory. A frame's payload is its number eight times, so a
torn frame shows. In the first test the writer runs between any two loads of a reader, in the second whole steps of
one writer and two readers are shuffled, deaths included.
"""

from __future__ import annotations

from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.ring import Ring, RingFrame, RingReader, RingWriter
from agent.ring.core import intact, oldest_handable
from tests.agent.ring.helpers import PAYLOAD, forget_reader, forget_writer, interleave, small_ring, stamp_of


class StepWriter:
    """A writer whose frame takes four steps: claim, half the payload, the other half, commit."""

    def __init__(self, ring: Ring) -> None:
        self.writer = RingWriter(ring)
        self.phase = 0
        self.claimed = self.writer.committed

    def step(self) -> None:
        number = self.writer.committed
        if self.phase == 0:
            self.slot = self.writer.acquire()
            self.claimed = number + 1
        elif self.phase == 1:
            self.slot[:32] = PAYLOAD.pack(*[number] * 8)[:32]
        elif self.phase == 2:
            self.slot[32:] = PAYLOAD.pack(*[number] * 8)[32:]
        else:
            self.writer.commit(10 + number, stamp_of(number))
        self.phase = (self.phase + 1) % 4


def is_whole(frame: RingFrame) -> bool:
    return PAYLOAD.unpack(frame.payload) == (frame.index,) * 8


@settings(max_examples=150, deadline=None)
@given(
    slots=st.integers(0, 3),
    guard=st.integers(1, 3),
    lengths=st.lists(st.integers(0, 14), min_size=1, max_size=60),
    newest=st.booleans(),
)
def test_a_reader_never_gets_a_torn_frame_from_a_writer_running_beside_it(slots, guard, lengths, newest):
    ring = small_ring(guard + 2 + slots, guard)
    writer, reader = StepWriter(ring), RingReader(ring, 0)
    steps = cycle(lengths)
    budget = 600

    def between() -> None:
        nonlocal budget
        for _ in range(min(next(steps), budget)):
            budget -= 1
            writer.step()

    proxy = interleave(reader, between)
    seen = []
    for _ in range(60):
        frame = reader.next(0, newest=newest)
        if frame is None:
            continue
        assert frame.index >= oldest_handable(proxy.claimed_seen, ring.spec)
        assert (frame.sequence, frame.stamp) == (10 + frame.index, stamp_of(frame.index))
        if intact(frame.index, writer.claimed, ring.spec.slots):
            assert is_whole(frame)
        first = bytes(frame.payload[:32])
        between()
        second = bytes(frame.payload[32:])
        if frame.still_valid():
            assert PAYLOAD.unpack(first + second) == (frame.index,) * 8
        seen.append(frame.index)
    budget = 0
    while (frame := reader.next(0)) is not None:
        seen.append(frame.index)
    ledger = reader.ledger()
    assert seen == sorted(set(seen))
    assert (ledger.handed, ledger.handed + ledger.skipped) == (len(seen), writer.writer.committed)
    reader.close()
    ring.close()


class RingLife(RuleBasedStateMachine):
    """One writer and two readers, each of which may be killed and started again at any moment."""

    @initialize(slots=st.integers(0, 3), guard=st.integers(1, 3))
    def begin(self, slots, guard):
        self.ring = small_ring(guard + 2 + slots, guard)
        self.writer = StepWriter(self.ring)
        self.readers = [RingReader(self.ring, 0), RingReader(self.ring, 1)]
        self.seen: list[list[int]] = [[], []]
        self.skipped = [0, 0]
        self.in_hand: list[RingFrame | None] = [None, None]
        self.late = [0, 0]

    @rule(steps=st.integers(1, 30))
    def write(self, steps):
        for _ in range(steps):
            self.writer.step()

    @rule(which=st.integers(0, 1), newest=st.booleans())
    def read(self, which, newest):
        frame = self.readers[which].next(0, newest=newest)
        self.in_hand[which] = frame
        if frame is None:
            assert len(self.seen[which]) + self.skipped[which] == self.writer.writer.committed
            return
        assert is_whole(frame)
        assert frame.index + self.ring.spec.slots >= self.writer.claimed + self.ring.spec.guard_slots
        assert frame.index == len(self.seen[which]) + self.skipped[which] + frame.skipped_before
        self.seen[which].append(frame.index)
        self.skipped[which] += frame.skipped_before

    @precondition(lambda self: any(self.in_hand))
    @rule(which=st.integers(0, 1))
    def use(self, which):
        frame = self.in_hand[which]
        if frame is not None:
            assert frame.still_valid() == intact(frame.index, self.writer.claimed, self.ring.spec.slots)
            assert is_whole(frame) or not frame.still_valid()

    @rule(which=st.integers(0, 1))
    def kill_reader(self, which):
        abandoned = self.readers[which].ledger().abandoned
        forget_reader(self.ring, which)
        self.readers[which] = RingReader(self.ring, which)
        held = self.in_hand[which] is not None
        assert self.readers[which].ledger().abandoned == abandoned + held
        self.in_hand[which] = None

    @rule()
    def kill_writer(self):
        half_done, committed = self.writer.phase > 0, self.writer.writer.committed
        claimed, abandoned = self.writer.claimed, self.ring.ledger().abandoned
        forget_writer(self.ring)
        self.writer = StepWriter(self.ring)
        assert self.writer.writer.committed == committed
        assert self.ring.ledger().abandoned == abandoned + half_done
        self.writer.claimed = claimed  # a slot once claimed is never whole again before its commit

    @invariant()
    def books_agree(self):
        if not hasattr(self, "ring"):
            return
        for which, ledger in enumerate(self.ring.ledger().readers):
            assert (ledger.handed, ledger.skipped) == (len(self.seen[which]), self.skipped[which])
            assert ledger.handed + ledger.skipped + ledger.lag == self.writer.writer.committed

    def teardown(self):
        if hasattr(self, "ring"):
            for reader in self.readers:
                reader.close()
            self.ring.close()


TestRingLife = RingLife.TestCase
TestRingLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
