"""The keeper of the address: never held without permission, always dropped, renewed in time. Pure, no real time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from failover.actions.keeper import RENEW_NS, RETRY_NS, AddressKeeper, Job

MS = 1_000_000


class Kept(RuleBasedStateMachine):
    """A kernel that does the jobs in their order, late or never well, and time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.keeper = AddressKeeper()
        self.now_ns = 1_000 * MS
        self.until_ns = 0
        self.queue: list[Job] = []
        self.held_there = True  # a process before us left it
        self.refusals = 0

    @rule(length_ms=st.integers(1, 200))
    def permission(self, length_ms):
        self.until_ns = self.now_ns + length_ms * MS
        self.keeper.exclusive(True, self.until_ns)

    @rule()
    def withdrawn(self):
        self.until_ns = 0
        self.keeper.exclusive(False, 0)

    @rule(step_ms=st.integers(0, 400))
    def time_passes(self, step_ms):
        self.now_ns += step_ms * MS

    @rule()
    def asked(self):
        job = self.keeper.due(self.now_ns)
        if job is not None:
            assert job == ("hold" if self.now_ns < self.until_ns else "drop")
            self.queue.append(job)
        assert len(self.queue) <= 2
        assert self.queue.count("hold") <= 1 and self.queue.count("drop") <= 1
        assert self.queue != ["drop", "hold"]

    @precondition(lambda self: self.queue)
    @rule(ok=st.booleans())
    def kernel_does_one(self, ok):
        job = self.queue.pop(0)
        ok = ok or self.refusals > 3
        self.refusals = 0 if ok else self.refusals + 1
        if job == "hold" and not self.keeper.may_hold(self.now_ns):
            ok = False  # the job looks again when it runs
        elif ok:
            self.held_there = job == "hold"
        self.keeper.done(job, ok, self.now_ns)

    @invariant()
    def what_is_due_has_a_time(self):
        if not self.queue and (self.now_ns < self.until_ns or self.held_there):
            assert self.keeper.next_ns(self.now_ns) is not None

    @invariant()
    def settled_means_not_there(self):
        if self.keeper.settled:
            assert not self.held_there and not self.queue

    def teardown(self):
        """However it went: when permission has ended and the kernel works, the address goes within two retries."""
        self.now_ns = max(self.now_ns, self.until_ns)
        for _ in range(6):
            job = self.keeper.due(self.now_ns)
            self.queue += [job] if job else []
            while self.queue:
                done = self.queue.pop(0)
                if done == "drop":
                    self.held_there = False
                self.keeper.done(done, done == "drop", self.now_ns)
            self.now_ns += RETRY_NS
        assert not self.held_there and self.keeper.settled
        assert self.keeper.next_ns(self.now_ns) is None


Kept.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestKept = Kept.TestCase


def test_renewed_twice_a_second_and_at_once_after_a_pause():
    keeper, holds = AddressKeeper(), []
    for now_ms in range(0, 3_000, 10):
        keeper.exclusive(True, (now_ms + 100) * MS)
        job = keeper.due(now_ms * MS)
        if job:
            holds.append(now_ms)
            keeper.done(job, True, now_ms * MS)
    assert holds == list(range(0, 3_000, RENEW_NS // MS))
    keeper.exclusive(False, 0)
    assert keeper.due(2_995 * MS) == "drop"
    keeper.exclusive(True, 4_000 * MS)
    assert keeper.due(2_996 * MS) is None  # the drop is still running
    keeper.done("drop", True, 2_997 * MS)
    assert keeper.due(2_997 * MS) == "hold"


def test_a_lease_that_runs_out_without_a_word_drops_at_once():
    keeper = AddressKeeper()
    keeper.exclusive(True, 100 * MS)
    assert keeper.due(0) == "hold"
    assert keeper.next_ns(0) == 100 * MS
    assert keeper.due(99 * MS) is None
    assert keeper.due(100 * MS) == "drop"  # behind the hold that hangs


def test_a_refused_hold_is_tried_again_soon():
    keeper = AddressKeeper()
    keeper.exclusive(True, 10_000 * MS)
    assert keeper.due(0) == "hold"
    keeper.done("hold", False, 5 * MS)
    assert keeper.next_ns(5 * MS) == 5 * MS + RETRY_NS
    assert keeper.due(5 * MS + RETRY_NS) == "hold"
