"""The active node: what keeps it, what ends it, and in which order things are given up."""

from dataclasses import replace

import pytest

from failover.core.state import LONGEST_PROMISE_NS
from failover.core.types import (
    AskWitness,
    Changed,
    Denied,
    Exclusive,
    Gate,
    Granted,
    Pipeline,
    Role,
    SendBeat,
    Tick,
    Trigger,
    TwinRestarted,
)
from tests.failover.core.bench import FIT, Bench, active, starting
from tests.failover.core.parts import MS


def promised(bench: Bench, ms: float, promise_ms: float = 60.0, every_ms: float = 20.0) -> None:
    """Let time pass while the standby twin promises, with each of its beats, on the newest of ours."""
    for _ in range(int(ms / every_ms)):
        bench.hear(promise_ns=int(promise_ms * MS))
        bench.run(every_ms - 0.1)


def test_the_lease_is_renewed_every_20_ms_and_prolongs_gate_and_hold():
    bench = active()
    bench.run(400)
    assert set(bench.asked()) == {"claim"}
    assert len(bench.asked()) == pytest.approx(20, abs=1)
    untils = [said.until_ns for said in bench.look(Exclusive)]
    assert untils == sorted(untils) and all(said.hold for said in bench.look(Exclusive))
    assert untils[-1] - bench.now_ns > 70 * MS
    assert all(gate.open and gate.epoch == 1 and gate.until_ns > bench.now_ns - 400 * MS for gate in bench.look(Gate))
    assert bench.describe()["lease_left_ms"] > 70


def test_a_witness_that_grants_less_than_is_asked_for_is_asked_as_often_as_that_needs():
    slow = {"beat_ns": 200 * MS, "silence_ns": 600 * MS, "lease_ns": 600 * MS, "renew_ns": 120 * MS}
    bench = starting(**slow, witness_lost_ns=240 * MS)
    bench.lease_ns = 100 * MS
    bench.run(2_500)
    assert bench.exclusive()
    bench.clear()
    bench.run(3_000)
    assert bench.exclusive() and bench.changes() == [] and "exclusive_lost" not in bench.notes()
    assert len(bench.asked()) == pytest.approx(150, abs=5)


def test_an_active_node_promises_nothing():
    bench = active()
    bench.run(100)
    assert {beat.promise_ns for beat in bench.beats()} == {0}


def test_isolated_it_drops_what_is_exclusive_when_the_lease_ends_and_records_go_on():
    bench = active()
    until_ns = bench.state.hold.until_ns
    bench.holder = None
    bench.silence()
    bench.run(150)
    dropped = next(
        at for at, said in bench.history if isinstance(said, Exclusive) and not said.hold and at > until_ns - 1
    )
    assert 0 <= dropped - until_ns < MS // 10
    assert bench.role() is Role.ACTIVE and bench.gate().open and not bench.gate().settled
    assert bench.notes()[:2] == ["twin_lost", "exclusive_lost"]
    bench.run(1_000)
    assert bench.notes() == ["twin_lost", "exclusive_lost", "witness_lost"]  # each once
    assert bench.gate().until_ns > bench.now_ns


def test_isolated_everything_ends_with_the_lease_where_that_was_chosen():
    bench = active(without_witness="nothing")
    bench.holder = None
    bench.run(150)
    assert bench.role() is Role.STANDBY and not bench.gate().open and not bench.exclusive()
    assert max(gate.until_ns for gate in bench.look(Gate) if gate.open) <= bench.state.me.switched_ns  # type: ignore[operator]


def test_the_twins_promise_holds_it_without_a_witness_and_ends_with_the_twin():
    bench = active()
    bench.holder = None
    promised(bench, 2_000)
    assert bench.exclusive() and bench.gate().open and bench.gate().settled
    assert not [said for said in bench.look(Exclusive) if not said.hold]
    assert bench.describe()["promise_left_ms"] > 20
    sent_ns = bench.state.talk.sent[-1][1]
    bench.silence()
    bench.run(200)
    dropped = next(at for at, said in bench.history[::-1] if isinstance(said, Exclusive) and not said.hold)
    assert dropped <= sent_ns + 55 * MS + MS
    assert bench.role() is Role.ACTIVE  # records


def test_a_promise_counts_from_when_the_beat_it_answers_was_sent():
    bench = active()
    number, sent_ns = bench.state.talk.sent[-3]
    bench.hear(seen=number, promise_ns=500 * MS)
    assert bench.state.hold.promise_until_ns == sent_ns + 495 * MS
    bench.hear(seen=number - 1, promise_ns=500 * MS)  # an older one takes nothing away
    assert bench.state.hold.promise_until_ns == sent_ns + 495 * MS
    bench.hear(seen=number + 1_000, promise_ns=500 * MS)  # of a beat that we never sent
    assert bench.state.hold.promise_until_ns == sent_ns + 495 * MS


def test_a_promise_alone_never_begins_a_hold_and_one_from_before_the_drop_is_void():
    bench = active()
    old = bench.state.talk.number
    bench.holder = None
    bench.silence()
    bench.run(150)
    assert not bench.exclusive()
    bench.hear(promise_ns=500 * MS)
    promised(bench, 100)
    assert not bench.exclusive()
    bench.holder = ""
    bench.run(60)
    assert bench.exclusive() and bench.gate().epoch == 2
    before_ns = bench.state.hold.promise_until_ns
    bench.hear(seen=old, promise_ns=700 * MS)
    assert bench.state.hold.promise_until_ns == before_ns


@pytest.mark.parametrize("event", [Tick(), Pipeline(FIT), Granted(1, 0, 100 * MS), Denied(1, "a", 0), TwinRestarted()])
def test_a_late_tick_gives_up_before_anything_else(event):
    bench = active()
    before = bench.state.hold.granted
    bench.holder = None
    said = bench.feed(event, late_ns=150 * MS)
    assert isinstance(said[0], Gate) and not said[0].open
    assert isinstance(said[1], Exclusive) and not said[1].hold
    first_word = next(i for i, one in enumerate(said) if isinstance(one, SendBeat | AskWitness | Changed))
    assert not any(isinstance(one, Exclusive) and one.hold for one in said[:first_word])
    assert bench.role() is Role.STANDBY
    assert "late_tick" in bench.notes()
    change = bench.changes()[0]
    assert (change.role, change.epoch, change.trigger) == (Role.STANDBY, before, None)


def test_after_a_late_tick_an_able_twin_goes_first_and_else_it_claims_again():
    bench = active()
    bench.feed(Tick(), late_ns=150 * MS)
    bench.holder = ""
    bench.hear()
    bench.run(150)
    assert bench.role() is Role.STANDBY
    bench.run(30)
    assert bench.role() is Role.ACTIVE  # the twin did not take it
    alone = active()
    alone.silence()
    alone.run(500)
    alone.feed(Tick(), late_ns=150 * MS)
    alone.holder = ""
    alone.run(40)
    assert alone.role() is Role.ACTIVE and alone.exclusive()


def test_a_short_stall_within_the_lease_changes_nothing():
    bench = active()
    bench.run(20)
    bench.clear()
    bench.feed(Tick(), late_ns=60 * MS)
    bench.run(100)
    assert bench.changes() == [] and bench.exclusive()


def test_late_notes_are_rare():
    bench = active()
    for _ in range(50):
        bench.feed(Tick(), late_ns=45 * MS)
    assert bench.notes().count("late_tick") == 1


def test_denied_because_the_twin_holds_it():
    bench = active()
    bench.holder, bench.epoch = "b", 2
    bench.run(25)
    assert bench.role() is Role.STANDBY and not bench.gate().open and not bench.exclusive()
    assert "the twin holds it" in bench.changes()[0].reason


def test_a_promise_outlives_a_denial():
    bench = active()
    bench.hear(promise_ns=500 * MS)
    bench.holder, bench.epoch = "b", 2
    bench.run(25)
    assert bench.exclusive()


def test_an_old_denial_ends_nothing():
    bench = active()
    bench.feed(Denied(1, "b", 50 * MS, bench.now_ns - 10 * MS))
    assert bench.exclusive()


def test_a_witness_that_waits_grants_nothing_and_takes_nothing():
    bench = active()
    bench.holder = None
    promised(bench, 200)
    bench.feed(Denied(1, "", 0, bench.now_ns))
    assert bench.exclusive()


def test_records_alone_end_when_the_witness_says_that_the_twin_holds_the_lease():
    bench = active()
    bench.holder = None
    bench.silence()
    bench.run(300)
    assert bench.role() is Role.ACTIVE
    bench.holder, bench.epoch = "b", 2
    bench.run(25)
    assert bench.role() is Role.STANDBY


def test_a_new_epoch_for_a_node_that_stays_active():
    bench = active()
    bench.epoch = 7  # another witness, which learned of more
    bench.run(25)
    assert bench.role() is Role.ACTIVE and bench.gate().epoch == 7
    assert bench.look(Exclusive)[-1].epoch == 7
    assert bench.changes() == [] and bench.notes() == ["lease"]
    assert bench.beats()[-1].epoch == 7


@pytest.mark.parametrize(
    ("theirs", "yields", "noted"),
    [(2, True, True), (0, False, False), (1, False, True)],  # the tie: the grant is ours
)
def test_both_active(theirs, yields, noted):
    bench = active()
    bench.hear(role=Role.ACTIVE, epoch=theirs)
    assert (bench.role() is Role.STANDBY) is yields
    assert ("two_active" in bench.notes()) is noted
    if yields:
        kinds = [type(action) for action in bench.said]
        assert kinds.index(Gate) < kinds.index(Exclusive) < kinds.index(Changed)
        assert not bench.exclusive() and not bench.gate().open
        assert AskWitness("release", 1) in bench.said


def test_both_active_without_any_lease_the_higher_name_steps_back():
    for node, yields in (("a", False), ("c", True)):
        bench = Bench()
        bench.settings = replace(bench.settings, node=node)
        bench.state = replace(bench.state, settings=bench.settings)
        bench.feed(Pipeline(FIT))
        bench.run(1_050)
        assert bench.role() is Role.ACTIVE
        bench.hear(role=Role.ACTIVE, epoch=0)
        assert (bench.role() is Role.STANDBY) is yields
        bench.run(1_000)
        assert bench.notes().count("two_active") == (1 if yields else 2)  # at once, and that it goes on


def test_a_conflict_that_goes_on_at_an_epoch_of_neither_ends():
    bench = Bench()
    bench.feed(Pipeline(FIT))
    bench.hear(role=Role.ACTIVE, epoch=4)
    bench.run(400)
    bench.silence()
    bench.run(1_000)
    assert bench.role() is Role.ACTIVE and bench.gate().epoch == 4 and not bench.exclusive()
    bench.hear(role=Role.ACTIVE, epoch=4)
    bench.run(50)
    assert bench.role() is Role.ACTIVE
    bench.run(100)
    assert bench.role() is Role.STANDBY  # the twin goes on: it has the grant


def test_a_twin_that_restarts_changes_nothing_for_the_active_node():
    bench = active()
    bench.feed(TwinRestarted())
    bench.hear(number=1)
    bench.run(200)
    assert bench.exclusive() and bench.changes() == []


def test_the_witness_back_is_told_when_it_has_lasted():
    bench = active()
    bench.holder = None
    promised(bench, 500)
    bench.holder = "a"
    promised(bench, 900)
    assert bench.notes() == ["witness_lost"]
    promised(bench, 300)
    assert bench.notes() == ["witness_lost", "witness_back"]


def test_three_lost_answers_are_no_event():
    bench = active()
    bench.holder = None
    promised(bench, 100)
    assert not bench.describe()["witness"]["ok"]
    bench.holder = "a"
    promised(bench, 500)
    assert bench.notes() == []


def test_describe_says_everything_in_plain_values():
    bench = active()
    said = bench.describe()
    assert said["role"] == "active" and said["epoch"] == 1 and said["exclusive"] and said["records"]
    assert said["twin"]["role"] == "standby" and said["twin"]["fit"] and said["twin"]["health"]["cameras"] == 2
    assert said["twin"]["heard_ms_ago"] < 21 and said["twin"]["phi"] < 8 and not said["twin"]["suspected"]
    assert said["witness"]["holder"] == "a" and said["witness"]["answered_ms_ago"] < 21
    assert said["reason"] == "nobody was active"
    assert Trigger.START.value == "start"

    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(type(key) is str and plain(one) for key, one in value.items())
        return value is None or type(value) in (str, int, float, bool)

    assert plain(said)
    fresh = Bench().describe()
    assert fresh["twin"]["heard_ms_ago"] is None and fresh["witness"]["answered_ms_ago"] is None
    assert plain(fresh)


def test_no_promise_counts_for_longer_than_a_promise_can_be():
    """A twin that is out of its mind promises for a century; its next session waits for the longest at most."""
    bench = active()
    bench.holder = None
    bench.hear(promise_ns=2**63)
    assert bench.state.hold.until_ns <= bench.now_ns + LONGEST_PROMISE_NS
    bench.silence()
    bench.run(LONGEST_PROMISE_NS / MS + 1)
    assert not bench.exclusive()
