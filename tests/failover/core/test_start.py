"""The first seconds of a life: who claims, when, and what is given up first."""

from dataclasses import replace

import pytest

from failover.core.state import LONGEST_PROMISE_NS
from failover.core.step import initial, next_wake_ns, step
from failover.core.types import (
    AskWitness,
    Changed,
    Exclusive,
    Gate,
    Health,
    Pipeline,
    Role,
    SendBeat,
    Tick,
    Trigger,
)
from tests.failover.core.bench import BEGIN_NS, FIT, Bench, starting
from tests.failover.core.parts import MS


def test_the_first_step_shuts_the_gate_gives_up_what_an_earlier_life_left_and_speaks():
    bench = Bench()
    said = bench.feed(Tick())
    kinds = [type(action) for action in said]
    assert sorted(kinds[:2], key=str) == sorted([Gate, Exclusive], key=str)  # before all else
    assert {AskWitness, SendBeat} == set(kinds[2:])
    assert not bench.gate().open and bench.gate().role is Role.STANDBY
    assert bench.look(Exclusive) == [Exclusive(False, 0, BEGIN_NS)]
    assert bench.asked() == ["look"]


def test_step_is_pure():
    state = initial(Bench().settings, BEGIN_NS)
    first = step(state, Pipeline(FIT), BEGIN_NS + MS)
    assert step(state, Pipeline(FIT), BEGIN_NS + MS) == first
    assert state == initial(Bench().settings, BEGIN_NS)


def test_time_that_goes_back_is_now():
    bench = starting()
    bench.run(50)
    state, _ = step(bench.state, Tick(), BEGIN_NS - 5_000 * MS)
    assert state.attention.stepped_ns == bench.now_ns
    assert next_wake_ns(state) >= bench.now_ns


@pytest.mark.parametrize(
    ("settings", "alone_ms"),
    [
        ({"start": "auto"}, 1_000),
        ({"start": "auto", "preferred": True}, 700),  # half the grace is less than the longest promise
        ({"start": "auto", "preferred": True, "grace_ns": 3_000 * MS}, 1_500),
        ({"start": "active"}, 700),
        ({"start": "standby"}, None),
    ],
)
def test_when_a_node_that_hears_no_twin_claims(settings, alone_ms):
    bench = starting(**settings)
    bench.run(5_000)
    changes = [(at_ns, said) for at_ns, said in bench.history if isinstance(said, Changed)]
    if alone_ms is None:
        assert changes == []
        return
    ((at_ns, change),) = changes
    assert (change.role, change.trigger, change.epoch) == (Role.ACTIVE, Trigger.START, 1)
    assert (at_ns - BEGIN_NS) / MS == pytest.approx(alone_ms, abs=11)
    assert bench.exclusive() and bench.gate().open and bench.gate().settled


def test_no_claim_leaves_before_the_longest_promise_of_an_earlier_life_is_over():
    bench = starting(start="active")
    bench.run(LONGEST_PROMISE_NS / MS - 1)
    assert set(bench.asked()) == {"look"}


def test_a_twin_that_answers_and_holds_nothing_ends_that_wait():
    bench = starting(start="active")
    bench.run(30)
    bench.hear()
    bench.run(10)
    assert bench.role() is Role.ACTIVE


def test_a_twins_beat_that_answers_an_earlier_life_does_not():
    bench = starting(start="active")
    bench.run(30)
    bench.hear(seen=bench.state.talk.first - 1)
    bench.silence()
    bench.run(300)
    assert set(bench.asked()) == {"look"}


def test_a_node_that_is_not_able_does_not_claim():
    bench = starting(start="active")
    for health in (Health(), replace(FIT, cameras=0), replace(FIT, clock_ok=False), replace(FIT, publishing=False)):
        bench.feed(Pipeline(health))
        bench.run(1_000)
        assert bench.role() is Role.STANDBY
        assert bench.describe()["reason"].startswith("not able: ")
    bench.feed(Pipeline(replace(FIT, hot=True)))  # better than nobody
    bench.run(30)
    assert bench.role() is Role.ACTIVE


def test_it_does_not_claim_against_an_active_twin():
    bench = starting(start="active")
    bench.holder, bench.epoch = "b", 3
    bench.hear(role=Role.ACTIVE, epoch=3)
    bench.run(3_000)
    assert set(bench.asked()) == {"look"}
    assert bench.describe()["reason"] == "the twin is active"
    assert bench.describe()["epoch"] == 3


def test_a_fitter_twin_is_waited_for_and_not_for_ever():
    bench = starting()
    bench.feed(Pipeline(replace(FIT, hot=True)))
    bench.hear()
    bench.run(900)
    assert bench.role() is Role.STANDBY
    bench.run(150)
    assert bench.role() is Role.ACTIVE


@pytest.mark.parametrize(
    ("twin", "steps_in"), [("well", False), ("useless", True), ("fell silent", True), ("never heard", False)]
)
def test_a_standby_by_choice_steps_in_only_when_the_twin_it_heard_is_of_no_use(twin, steps_in):
    bench = starting(start="standby")
    if twin != "never heard":
        bench.hear(health=Health() if twin == "useless" else FIT)
    if twin == "fell silent":
        bench.run(200)
        bench.silence()
    bench.run(4_000)
    assert (bench.role() is Role.ACTIVE) is steps_in


def test_without_a_witness_records_go_alone_after_the_grace():
    bench = starting()
    bench.holder = None
    bench.run(1_050)
    assert bench.role() is Role.ACTIVE
    assert bench.gate().open and not bench.exclusive() and not bench.gate().settled
    assert bench.gate().epoch == 0
    assert bench.changes()[0].trigger is Trigger.START
    bench.run(100)
    assert "witness_lost" in bench.notes()
    bench.holder = ""
    bench.run(60)
    assert bench.exclusive() and bench.gate().epoch == 1


def test_without_a_witness_nothing_goes_where_that_was_chosen():
    bench = starting(without_witness="nothing")
    bench.holder = None
    bench.run(3_000)
    assert bench.role() is Role.STANDBY
    assert not any(gate.open for gate in bench.look(Gate))


def test_an_epoch_that_an_earlier_life_knew_is_told_to_the_witness():
    state = initial(Bench().settings, BEGIN_NS, epoch=41)
    _, actions = step(state, Tick(), BEGIN_NS)
    assert [action.epoch for action in actions if isinstance(action, AskWitness)] == [41]
