"""An active node that loses the witness while its twin has it: it hands over, and for nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failover.core.types import AskWitness, Command, Granted, Pipeline, Role, Trigger
from tests.failover.core.bench import FIT, Bench, active, standing_by
from tests.failover.core.parts import MS

UNHEARD = replace(FIT, broker_ok=False)


def settled() -> Bench:
    """Active for more than the pause between two such handovers."""
    bench = active()
    bench.run(2_100)
    bench.clear()
    return bench


def lose(bench: Bench, ms: float = 35.0) -> None:
    """The witness answers no more; the twin hears of it."""
    bench.holder = None
    bench.run(ms)
    assert bench.beats()[-1].late


def vouch(bench: Bench) -> None:
    """The twin goes on saying that the witness has answered it, as it does after each of its questions."""
    for _ in range(8):
        bench.hear(vouched=bench.state.talk.number)
        bench.run(10)


def hands_over(bench: Bench) -> bool:
    return bench.state.me.handing is not None


def test_it_hands_over_once_the_twin_vouches_for_the_witness():
    bench = settled()
    began_ns = bench.now_ns
    lose(bench)
    vouch(bench)
    assert hands_over(bench) and not bench.exclusive() and bench.gate().open
    assert bench.describe()["reason"] == "handing over: the witness answers the twin and not this node"
    released = [at for at, said in bench.history if isinstance(said, AskWitness) and said.what == "release"]
    assert (released[0] - began_ns) / MS == pytest.approx(50, abs=12)  # renewals are 20 ms apart


def test_questions_without_an_answer_are_asked_again_soon_and_no_faster_when_all_is_well():
    bench = settled()
    bench.run(200)
    assert len(bench.asked()) == 10
    bench.clear()
    bench.holder = None
    bench.run(60)
    assert 8 <= len(bench.asked()) <= 11
    bench.clear()
    bench.run(1_000)
    assert len(bench.asked()) <= 53  # of a dead witness as often as of a living one


def test_a_twin_that_only_says_that_its_witness_answers_is_no_proof():
    bench = settled()
    lose(bench)
    bench.run(40)
    assert bench.state.twin.beat is not None and bench.state.twin.beat.health.rack_ok
    assert not hands_over(bench) and "release" not in bench.asked()


def test_a_witness_that_came_back_and_answered_the_twin_first_is_none_that_is_lost():
    bench = settled()
    lose(bench, 80)
    bench.hear(vouched=bench.state.talk.number)
    assert bench.asked()[-1] == "claim"  # at once: does it answer here too?
    bench.holder = "a"
    bench.run(100)
    assert not hands_over(bench) and bench.exclusive()


def test_a_word_for_the_witness_does_not_keep():
    bench = settled()
    lose(bench)
    bench.hear(vouched=bench.state.talk.number, health=replace(FIT, hot=True))
    bench.run(80)
    bench.hear(health=FIT)
    bench.run(100)
    assert not hands_over(bench)


@pytest.mark.parametrize("worse", [{"hot": True}, {"cameras": 0}, {"rack_ok": False}, {"broker_ok": False}])
def test_not_to_a_twin_that_is_not_well(worse):
    bench = settled()
    lose(bench)
    bench.hear(health=replace(FIT, **worse))
    vouch(bench)
    assert not hands_over(bench)


def test_not_again_within_two_seconds_of_a_switch():
    bench = active()
    lose(bench)
    vouch(bench)
    assert not hands_over(bench)


def test_a_standby_vouches_at_once_for_a_witness_that_answers_it():
    bench = standing_by()
    bench.hear(role=Role.ACTIVE, late=True)
    late = bench.twin.number
    assert bench.asked()[-1] == "look" and bench.beats()[-1].vouched == late
    bench.run(45)
    assert bench.beats()[-1].vouched > late  # and goes on doing so


def test_a_standby_does_not_vouch_for_an_answer_to_an_older_question():
    bench = standing_by()
    bench.holder = None
    asked_ns = bench.now_ns - 2 * MS
    bench.hear(role=Role.ACTIVE, late=True)
    bench.feed(Granted(5, asked_ns, 0))
    bench.run(25)
    assert bench.beats()[-1].vouched == 0


def test_the_standby_takes_it_as_from_a_node_that_is_not_fit():
    bench = standing_by()
    bench.holder = ""
    bench.hear(role=Role.ACTIVE, late=True, handover=True)
    assert bench.changes()[0].trigger is Trigger.UNFIT and bench.exclusive()


def test_an_old_answer_under_the_epoch_of_what_is_held_since_gives_nothing_back():
    """It was asked for before the lease was over, under an epoch that the witness had just made higher."""
    bench = settled()
    bench.hear()  # no promise
    bench.holder = None
    bench.run(110)
    assert not bench.exclusive()
    lapsed_ns = bench.state.hold.void_ns
    bench.holder = ""
    bench.run(45)
    assert bench.exclusive()
    bench.clear()
    bench.feed(Granted(bench.state.hold.granted, lapsed_ns - 5 * MS, 100 * MS))
    assert bench.exclusive() and "release" not in bench.asked()


def test_a_broker_that_does_not_acknowledge_is_a_reason_that_can_wait():
    bench = active()
    bench.run(10_000)
    bench.clear()
    bench.feed(Pipeline(UNHEARD))
    bench.run(900)
    assert not hands_over(bench)
    bench.run(300)
    assert "handing over: the broker does not acknowledge" in bench.describe()["reason"]


def test_a_broker_that_acknowledges_neither_is_none():
    bench = active()
    bench.run(10_000)
    bench.feed(Pipeline(UNHEARD))
    bench.hear(health=UNHEARD)
    bench.clear()
    bench.run(3_000)
    assert "release" not in bench.asked()


def test_nobody_hands_over_by_hand_to_a_twin_that_the_broker_does_not_acknowledge():
    bench = active()
    bench.hear(health=UNHEARD)
    bench.feed(Command("handover"))
    assert bench.notes() == ["handover_refused"]


def test_a_blind_node_hands_over_also_to_such_a_twin():
    bench = active()
    bench.hear(health=UNHEARD)
    bench.feed(Pipeline(replace(FIT, cameras=0)))
    bench.run(60)
    assert hands_over(bench)
