"""Switches that are wanted: asked for, for health, back to the preferred node, and when a service stops."""

from dataclasses import replace

import pytest

from failover.core.step import finished
from failover.core.types import AskWitness, Changed, Command, Exclusive, Gate, Health, Pipeline, Role, Trigger
from tests.failover.core.bench import FIT, Bench, active, standing_by
from tests.failover.core.parts import MS


def test_exclusive_things_and_lease_go_at_once_and_the_gate_stays_open():
    bench = active()
    said = bench.feed(Command("handover"))
    assert said[0] == Exclusive(False, 1, bench.now_ns)
    assert AskWitness("release", 1) in said and bench.holder == ""
    assert bench.gate().open and bench.gate().epoch == 1 and not bench.exclusive()
    assert bench.beats()[-1].handover and bench.beats()[-1].role is Role.ACTIVE
    bench.run(100)
    assert set(bench.asked()) == {"release"}  # again and again: it may be lost
    assert bench.gate().open and bench.describe()["handing_over"]


def test_the_gate_shuts_when_the_twin_is_heard_to_be_active():
    bench = active()
    bench.feed(Command("handover"))
    bench.holder, bench.epoch = "b", 2
    bench.hear(role=Role.ACTIVE, epoch=2)
    assert not bench.gate().open and bench.gate().settled
    change = bench.changes()[0]
    assert (change.role, change.trigger, change.reason) == (Role.STANDBY, Trigger.HANDOVER, "handed over: asked for")
    assert "two_active" not in bench.notes()
    bench.run(3_000)
    assert bench.role() is Role.STANDBY


def test_a_twin_that_does_not_take_it_is_told_of_and_the_lease_claimed_back():
    bench = active()
    bench.feed(Command("handover"))
    bench.run(299)
    assert bench.gate().open and not bench.exclusive()
    bench.run(5)
    assert bench.role() is Role.ACTIVE and bench.exclusive() and bench.gate().epoch == 2
    assert "handover_failed" in bench.notes()
    assert bench.changes() == []


def test_a_twin_that_took_it_unheard_is_found_out_from_the_witness():
    bench = active()
    bench.feed(Command("handover"))
    bench.holder, bench.epoch = "b", 2
    bench.silence()
    bench.run(350)
    assert bench.role() is Role.STANDBY and not bench.exclusive()


def test_where_records_need_a_lease_a_failed_handover_ends_in_a_new_claim():
    bench = active(without_witness="nothing")
    bench.feed(Command("handover"))
    bench.run(330)
    assert bench.role() is Role.ACTIVE and bench.exclusive()
    assert [change.role for change in bench.changes()] == [Role.STANDBY, Role.ACTIVE]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda bench: bench.silence(), "not heard"),
        (lambda bench: bench.hear(health=Health()), "not fit"),
        (lambda bench: bench.hear(health=replace(FIT, rack_ok=False)), "not fit"),
        (lambda bench: setattr(bench, "holder", None), "witness"),
        (lambda bench: bench.feed(Command("handover")), "going on"),
    ],
)
def test_when_a_handover_is_refused(make, why):
    bench = active()
    make(bench)
    bench.hear(promise_ns=500 * MS) if why == "witness" else None
    bench.run(100)
    bench.clear()
    bench.feed(Command("handover"))
    assert bench.notes() == ["handover_refused"]
    assert why in str(bench.said)


def test_a_standby_cannot_hand_over():
    bench = standing_by()
    bench.feed(Command("handover"))
    assert bench.notes() == ["handover_refused"]
    assert "ask the active one" in str(bench.said)


def test_a_standby_takes_what_is_handed_to_it_at_once_whatever_it_promised():
    bench = standing_by()
    bench.holder = ""
    bench.hear(handover=True)
    assert bench.role() is Role.ACTIVE and bench.exclusive()
    change = bench.changes()[0]
    assert (change.trigger, change.epoch) == (Trigger.HANDOVER, 6)


def test_a_standby_that_is_not_able_leaves_it():
    bench = standing_by()
    bench.feed(Pipeline(Health()))
    bench.holder = ""
    bench.hear(handover=True)
    bench.run(200)
    assert bench.role() is Role.STANDBY


def test_without_a_witness_a_handover_is_of_records():
    bench = standing_by()
    bench.holder = None
    bench.run(200)
    bench.hear(handover=True)
    assert bench.role() is Role.ACTIVE and bench.gate().open and not bench.exclusive()


def settled_switch(bench: Bench) -> Bench:
    """More than ten seconds after the last switch."""
    bench.run(10_000)
    bench.clear()
    return bench


@pytest.mark.parametrize(
    ("health", "after_ms"),
    [
        (replace(FIT, publishing=False), 1),
        (replace(FIT, cameras=0), 41),
        (replace(FIT, clock_ok=False), 41),
        (replace(FIT, hot=True), 1_001),
        (replace(FIT, cameras=1), 1_001),
    ],
)
def test_a_node_that_is_worse_than_its_twin_hands_over_by_itself(health, after_ms):
    bench = settled_switch(active())
    began_ns = bench.now_ns
    bench.feed(Pipeline(health))
    bench.run(after_ms + 10)
    released = [at for at, said in bench.history if isinstance(said, AskWitness) and said.what == "release"]
    assert (released[0] - began_ns) / MS == pytest.approx(after_ms - 1, abs=10)


def test_what_blinds_both_is_no_reason():
    bench = settled_switch(active())
    bench.feed(Pipeline(replace(FIT, cameras=0)))
    bench.run(15)
    bench.hear(health=replace(FIT, cameras=0))
    bench.run(5_000)
    assert set(bench.asked()) == {"claim"}


def test_switches_that_can_wait_are_ten_seconds_apart_and_the_others_are_not():
    bench = active()
    bench.feed(Pipeline(replace(FIT, cameras=1)))
    bench.run(5_000)
    assert "release" not in bench.asked()
    bench.run(5_000)
    assert "release" in bench.asked()
    urgent = active()
    urgent.feed(Pipeline(replace(FIT, cameras=0)))
    urgent.run(60)
    assert "release" in urgent.asked()


def test_a_handover_that_failed_is_not_tried_again_at_once():
    bench = active()
    bench.feed(Pipeline(Health()))
    bench.run(2_200)
    assert bench.notes().count("handover_failed") == 1
    bench.run(500)
    assert bench.notes().count("handover_failed") == 2


@pytest.mark.parametrize(
    ("settings", "back"),
    [
        ({"fail_back": True, "fail_back_after_ns": 20_000 * MS}, True),
        ({"fail_back": False, "fail_back_after_ns": 20_000 * MS}, False),
        ({"fail_back": True, "fail_back_after_ns": 20_000 * MS, "preferred": True}, False),
    ],
)
def test_fail_back(settings, back):
    bench = active(**settings)
    bench.run(17_000)
    assert "release" not in bench.asked()
    bench.hear(health=Health())
    bench.hear(health=FIT)  # fit again: it counts anew
    bench.run(19_000)
    assert "release" not in bench.asked()
    bench.run(2_000)
    assert ("release" in bench.asked()) is back
    if back:
        assert "fail-back" in bench.describe()["reason"] or "handover_failed" in bench.notes()


def test_stop_hands_over_and_never_claims_again():
    bench = active()
    bench.feed(Command("stop"))
    assert not finished(bench.state) and bench.gate().open and not bench.exclusive()
    assert bench.beats()[-1].handover and bench.beats()[-1].health.fit
    bench.hear(role=Role.ACTIVE, epoch=2)
    assert finished(bench.state) and not bench.gate().open
    assert not bench.beats()[-1].health.publishing  # nobody hands over to a node that has stopped
    bench.clear()
    bench.silence()
    bench.run(2_000)
    assert "claim" not in bench.asked() and bench.changes() == []


def test_stop_waits_a_short_while_only():
    bench = active()
    bench.feed(Command("stop"))
    bench.run(149)
    assert not finished(bench.state)
    bench.run(2)
    assert finished(bench.state) and not bench.gate().open


def test_stop_without_an_able_twin_shuts_at_once():
    bench = active()
    bench.silence()
    bench.run(200)
    bench.clear()
    said = bench.feed(Command("stop"))
    assert finished(bench.state)
    assert isinstance(said[0], Gate) and not said[0].open
    assert AskWitness("release", 1) in said
    assert isinstance(bench.look(Changed)[0], Changed)


def test_stop_during_a_handover():
    bench = active()
    bench.feed(Command("handover"))
    bench.feed(Command("stop"))
    bench.run(310)
    assert finished(bench.state)


def test_stop_of_a_standby():
    bench = standing_by()
    bench.feed(Command("stop"))
    assert finished(bench.state)
    assert bench.describe()["reason"] == "stopped"
    assert bench.beats()[-1].promise_ns == 0
