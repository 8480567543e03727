"""The lease table: each rule."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from failover.core.types import MAX_TOLD_EPOCH
from failover.wire.beats import MAX_EPOCH, Ask, Denial, Grant, Reason
from failover.witness.core import MAX_PAIRS, RETRY_NS, WAIT_NS, Change, Holder, LeaseTable

MS = 1_000_000
LEASE = 100 * MS
A, B = b"session of node a"[:16], b"session of node b"[-16:]


@dataclass
class Counter:
    """Epochs without a disk; ``ready`` False: the disk is slow."""

    last: int = 0
    ready: bool = True

    def take(self, above: int) -> int | None:
        if not self.ready:
            return None
        self.last = max(self.last, above) + 1
        return self.last


def own_word(holder: Holder, ask: Ask) -> bool:
    """In these tests a session's word is the session itself; the real one is the channel's."""
    return ask.given_tag == holder.session


def table(quarantine_ns: int = 0, epochs: Counter | None = None, **more) -> LeaseTable:
    return LeaseTable(epochs or Counter(), quarantine_ns, 200 * MS, own_word, **more)


REQUESTS = iter(range(1, 1_000_000))


def claim(node, epoch=0, lease_ns=LEASE, pair="goal-1", request=None) -> Ask:
    return Ask("claim", pair, node, epoch, lease_ns, request or next(REQUESTS))


def look(node, epoch=0) -> Ask:
    return Ask("look", "goal-1", node, epoch, LEASE, 7)


def release(node, epoch=0) -> Ask:
    return Ask("release", "goal-1", node, epoch, LEASE, 8)


def test_a_release_that_was_overtaken_frees_nothing():
    leases = table()
    leases.ask(claim("a"), A, 0)
    leases.ask(release("a", 1), A, 10 * MS)
    assert isinstance(leases.ask(claim("b", 1), B, 20 * MS), Grant)
    assert isinstance(leases.ask(release("b", 2), B, 30 * MS), Denial)
    assert isinstance(leases.ask(claim("a", 2), A, 40 * MS), Grant)
    assert denied(leases, release("a", 1), A, 50 * MS).holder == "a"


def denied(leases: LeaseTable, ask: Ask, session: bytes, now_ns: int) -> Denial:
    answer = leases.ask(ask, session, now_ns)
    assert isinstance(answer, Denial)
    return answer


# --- the rules ------------------------------------------------------------------------------------------------------


def test_first_claim_gets_it_and_renews_under_the_same_epoch():
    leases = table()
    assert leases.ask(claim("a", request=1), A, 0) == Grant(1, 1, LEASE)
    for turn in range(1, 50):
        assert leases.ask(claim("a", request=turn), A, turn * 20 * MS) == Grant(turn, 1, LEASE)
    assert [change.why for change in leases.changes()] == ["claimed"]


def test_another_node_is_told_who_and_how_long():
    leases = table()
    leases.ask(claim("a"), A, 0)
    assert leases.ask(claim("b", request=5), B, 30 * MS) == Denial(5, 1, "a", 70 * MS, Reason.HELD)
    assert leases.ask(look("b"), B, 40 * MS) == Denial(7, 1, "a", 60 * MS, Reason.HELD)
    assert leases.ask(look("a"), A, 40 * MS) == Denial(7, 1, "a", 60 * MS, Reason.HELD)
    assert leases.ask(look("b"), B, 100 * MS) == Denial(7, 1, "", 0, Reason.FREE)


def test_a_waiting_claim_is_granted_at_the_moment_the_lease_runs_out():
    leases = table()
    leases.ask(claim("a"), A, 0)
    leases.ask(claim("b", epoch=1, request=5), B, 60 * MS)
    assert leases.next_ns() == 100 * MS
    assert leases.tick(100 * MS - 1) == []
    [(holder, grant)] = leases.tick(100 * MS)
    assert (holder.node, holder.session, grant) == ("b", B, Grant(5, 2, LEASE))
    assert leases.tick(100 * MS) == []
    assert isinstance(leases.ask(claim("a", epoch=1), A, 101 * MS), Denial)
    assert leases.changes() == [
        Change("goal-1", 1, "a", "", "claimed"),
        Change("goal-1", 2, "b", "a", "waited for"),
    ]


@pytest.mark.parametrize(("asked_ms", "granted"), [(39, False), (50, True), (99, True)])
def test_a_claim_waits_for_half_its_lease_at_most(asked_ms, granted):
    leases = table()
    leases.ask(claim("a"), A, 0)
    leases.ask(claim("b"), B, asked_ms * MS)
    assert bool(leases.tick(100 * MS)) is granted


def test_no_claim_waits_longer_than_60_ms():
    leases = table()
    leases.ask(claim("a", lease_ns=200 * MS), A, 0)
    leases.ask(claim("b", lease_ns=200 * MS), B, 200 * MS - WAIT_NS - 1)
    assert leases.tick(200 * MS) == []
    assert leases.next_ns() is None


def test_who_asks_for_something_else_no_longer_claims():
    leases = table()
    leases.ask(claim("a"), A, 0)
    leases.ask(claim("b"), B, 90 * MS)
    leases.ask(look("b"), B, 95 * MS)
    assert leases.tick(100 * MS) == []


def test_a_release_sets_it_free_at_once_and_the_waiting_twin_has_it():
    leases = table()
    leases.ask(claim("a"), A, 0)
    leases.ask(claim("b", request=5), B, 5 * MS)
    assert leases.ask(release("a", 1), A, 10 * MS) == Denial(8, 1, "", 0, Reason.FREE)
    [(holder, grant)] = leases.tick(10 * MS)
    assert (holder.node, grant.epoch) == ("b", 2)


@pytest.mark.parametrize(("node", "session"), [("b", B), ("b", A), ("a", B)])
def test_nobody_else_can_give_it_back(node, session):
    leases = table()
    leases.ask(claim("a"), A, 0)
    leases.ask(release(node, 1), session, 10 * MS)
    assert denied(leases, look("a"), A, 10 * MS).holder == "a"


def shown(node, given, epoch=0, tag=A) -> Ask:
    """A claim with the twin's word."""
    return Ask("claim", "goal-1", node, epoch, LEASE, next(REQUESTS), given, tag)


def test_the_twins_word_that_it_gave_its_lease_back_is_as_good_as_its_own():
    leases = table()
    leases.ask(claim("a"), A, 0)
    answer = leases.ask(shown("b", 1), B, 10 * MS)
    assert isinstance(answer, Grant) and answer.epoch == 2
    assert [(change.node, change.why) for change in leases.changes()] == [
        ("a", "claimed"),
        ("", "given back to the twin"),
        ("b", "claimed"),
    ]
    assert denied(leases, claim("a", 1), A, 20 * MS).holder == "b"


@pytest.mark.parametrize("tag", [bytes(16), B, b"a's last session"])
def test_a_twin_cannot_make_the_holders_word(tag):
    leases = table()
    leases.ask(claim("a"), A, 0)
    assert denied(leases, shown("b", 1, tag=tag), B, 10 * MS).holder == "a"
    assert leases.unproven == 1
    assert isinstance(leases.ask(claim("a", 1), A, 20 * MS), Grant)


@pytest.mark.parametrize("given", [0, 1, 3])
def test_an_older_word_of_the_twin_frees_nothing(given):
    leases = table()
    leases.ask(claim("a"), A, 0)
    leases.ask(release("a", 1), A, 1 * MS)
    leases.ask(claim("a", 1), A, 2 * MS)  # epoch 2
    assert denied(leases, shown("b", given), B, 10 * MS).holder == "a"


def test_nobody_is_freed_of_its_own_lease_by_its_twins_word():
    leases = table()
    leases.ask(claim("a"), A, 0)
    renewed = leases.ask(shown("a", 1), A, 10 * MS)
    assert isinstance(renewed, Grant) and renewed.epoch == 1
    assert denied(leases, shown("a", 1), b"another session", 20 * MS).holder == "a"
    assert denied(leases, Ask("look", "goal-1", "b", 1, LEASE, 9, 1), B, 30 * MS).holder == "a"


def test_a_restarted_holder_waits_for_its_own_lease_and_gets_a_new_epoch():
    leases = table()
    leases.ask(claim("a"), A, 0)
    again = b"a new session of"
    assert leases.ask(claim("a", 1, request=5), again, 60 * MS) == Denial(5, 1, "a", 40 * MS, Reason.HELD)
    [(holder, grant)] = leases.tick(100 * MS)
    assert (holder.session, grant.epoch) == (again, 2)
    assert isinstance(leases.ask(claim("a", 1), A, 110 * MS), Denial)


def test_a_holder_that_comes_late_keeps_its_epoch_if_nobody_took_it():
    leases = table()
    leases.ask(claim("a"), A, 0)
    leases.tick(100 * MS)
    assert leases.ask(claim("a", 1, request=2), A, 500 * MS) == Grant(2, 1, LEASE)
    assert [change.why for change in leases.changes()] == ["claimed", "ran out", "claimed"]


def test_the_end_of_a_lease_is_told_once():
    leases = table()
    leases.ask(claim("a"), A, 0)
    assert leases.next_ns() == 100 * MS
    leases.tick(100 * MS)
    leases.tick(200 * MS)
    assert leases.changes()[1:] == [Change("goal-1", 1, "", "a", "ran out")]
    assert leases.next_ns() is None


def test_a_shorter_renewal_does_not_cut_a_longer_lease_short():
    """The holder counts on the longest that it was ever granted."""
    leases = table()
    leases.ask(claim("a", lease_ns=200 * MS), A, 0)
    leases.ask(claim("a", lease_ns=30 * MS), A, 10 * MS)
    assert denied(leases, claim("b"), B, 50 * MS).wait_ns == 150 * MS


@pytest.mark.parametrize(("asked", "granted"), [(0, 10), (50, 50), (200, 200), (10**6, 200)])
def test_the_lease_is_as_asked_within_limits(asked, granted):
    answer = table().ask(claim("a", lease_ns=asked * MS), A, 0)
    assert isinstance(answer, Grant)
    assert answer.lease_ns == granted * MS


def test_a_new_witness_grants_nothing_until_the_longest_lease_is_over():
    leases = table(quarantine_ns=200 * MS)
    assert leases.ask(claim("a", 5, request=3), A, 50 * MS) == Denial(3, 5, "", 150 * MS, Reason.QUARANTINE)
    assert denied(leases, look("b", 4), B, 60 * MS).reason is Reason.QUARANTINE
    assert leases.tick(199 * MS) == []
    leases.ask(claim("b", 4), B, 170 * MS)
    leases.ask(claim("a", 5), A, 180 * MS)
    assert leases.next_ns() == 200 * MS
    [(holder, grant)] = leases.tick(200 * MS)
    assert (holder.node, grant.epoch) == ("a", 6), "who knows of the higher epoch held it last"


def test_epochs_go_above_what_nodes_know():
    leases = table()
    leases.ask(look("b", 41), B, 0)
    assert leases.ask(claim("a", 7), A, 0).epoch == 42
    leases.ask(look("b", 50), B, 10 * MS)
    assert leases.ask(claim("a", 42), A, 20 * MS).epoch == 51
    assert leases.ask(claim("a", MAX_TOLD_EPOCH + 1), A, 30 * MS).epoch == 51


def test_a_mad_node_cannot_use_up_the_epochs_of_all():
    leases = table()
    for told in (MAX_TOLD_EPOCH, MAX_EPOCH, MAX_TOLD_EPOCH):
        leases.ask(look("b", told), B, 0)
        leases.ask(release("a", told), A, 0)
    found = [leases.ask(claim("a", pair=f"goal-{pair}"), A, pair * MS) for pair in range(1, 60)]
    epochs = [answer.epoch for answer in found if isinstance(answer, Grant)]
    assert epochs == sorted(epochs) and len(epochs) == 59 and MAX_EPOCH - epochs[-1] > 2**60


def test_a_slow_disk_stops_new_holders_only():
    epochs = Counter()
    leases = table(epochs=epochs)
    leases.ask(claim("a"), A, 0)
    epochs.ready = False
    assert leases.ask(claim("a", 9), A, 20 * MS) == Grant(leases_last(), 1, LEASE)
    leases.ask(release("a", 1), A, 30 * MS)
    assert leases.ask(claim("b", 1, request=4), B, 40 * MS) == Denial(4, 9, "", RETRY_NS, Reason.NO_EPOCH)
    assert leases.next_ns() == 40 * MS + RETRY_NS
    assert leases.tick(60 * MS) == []
    assert leases.next_ns() == 60 * MS + RETRY_NS, "no busy loop"
    epochs.ready = True
    [(holder, grant)] = leases.tick(80 * MS)
    assert (holder.node, grant.epoch) == ("b", 10)


def leases_last() -> int:
    """The request number that :func:`claim` used last."""
    return next(REQUESTS) - 1


def test_pairs_have_nothing_to_do_with_each_other():
    leases = table()
    assert isinstance(leases.ask(claim("a", pair="goal-1"), A, 0), Grant)
    assert isinstance(leases.ask(claim("b", pair="goal-2"), B, 0), Grant)
    assert [(row["pair"], row["holder"]) for row in leases.document(0)] == [("goal-1", "a"), ("goal-2", "b")]


def test_a_listed_pair_is_for_its_two_nodes():
    leases = table(pairs={"goal-1": ["a", "b"]})
    assert isinstance(leases.ask(claim("a"), A, 0), Grant)
    for ask in (claim("c"), claim("a", pair="goal-2")):
        answer = leases.ask(ask, A, 0)
        assert isinstance(answer, Denial)
        assert answer.reason is Reason.NOT_LISTED
        assert answer.wait_ns > 0, "not to be taken for a free lease"


def test_pairs_are_bounded_and_the_one_unused_longest_makes_room():
    leases = table()
    for number in range(MAX_PAIRS):
        assert isinstance(leases.ask(claim("a", pair=f"p-{number}"), A, number), Grant)
    full = leases.ask(claim("a", pair="one-more"), A, 50 * MS)
    assert isinstance(full, Denial)
    assert full.reason is Reason.FULL
    later = 200 * MS
    assert isinstance(leases.ask(claim("a", pair="one-more"), A, later), Grant)
    assert "p-0" not in {row["pair"] for row in leases.document(later)}
    assert len(leases.document(later)) == MAX_PAIRS
