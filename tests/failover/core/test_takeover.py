"""The standby: what it takes for silence, what it promises, when it claims, and what it does with a grant."""

from dataclasses import replace

import pytest

from failover.core.types import (
    AskWitness,
    BeatHeard,
    CameraCursor,
    Changed,
    Command,
    Exclusive,
    Gate,
    Granted,
    Health,
    Pipeline,
    Role,
    Tick,
    Trigger,
    TwinRestarted,
)
from tests.failover.core.bench import FIT, Bench, begin_drill, standing_by
from tests.failover.core.parts import MS


def first_claim_after_ms(bench: Bench, since_ns: int) -> float | None:
    for at_ns, said in bench.history:
        if at_ns > since_ns and isinstance(said, AskWitness) and said.what == "claim":
            return (at_ns - since_ns) / MS
    return None


def test_a_standby_looks_at_the_witness_and_promises():
    bench = standing_by()
    bench.run(200)
    assert set(bench.asked()) == {"look"}
    assert 9 <= len(bench.asked()) <= 11
    assert {beat.promise_ns for beat in bench.beats()} == {60 * MS}
    assert all(beat.health.rack_ok and beat.role is Role.STANDBY and beat.epoch == 5 for beat in bench.beats())
    assert all(beat.seen for beat in bench.beats())


def test_beats_go_out_every_20_ms_and_numbers_grow_by_one():
    bench = standing_by()
    bench.run(1_000)
    numbers = [beat.number for beat in bench.beats()]
    assert len(numbers) in (50, 51)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_what_changed_is_told_at_once():
    bench = standing_by()
    bench.run(5)
    bench.clear()
    bench.feed(Pipeline(replace(FIT, cameras=1), (CameraCursor(0, 5),)))
    assert [beat.health.cameras for beat in bench.beats()] == [1]
    bench.clear()
    bench.feed(Pipeline(replace(FIT, cameras=1), (CameraCursor(0, 6),)))
    assert bench.beats() == []  # a cursor that moved is not worth a beat of its own


def test_silence_is_believed_after_two_beats_and_the_promise_is_kept_before_claiming():
    bench = standing_by()
    bench.silence()
    heard_ns, bench.holder = bench.state.twin.heard_ns, ""
    bench.run(200)
    suspected_ms = [(at_ns - heard_ns) / MS for at_ns, said in bench.history if getattr(said, "code", 0) == "twin_lost"]
    assert suspected_ms[0] == pytest.approx(50, abs=0.2)
    assert first_claim_after_ms(bench, heard_ns) == pytest.approx(60, abs=0.2)
    change = bench.changes()[0]
    assert (change.role, change.trigger, change.epoch) == (Role.ACTIVE, Trigger.SILENCE, 6)
    assert change.heard_ns == heard_ns
    assert change.suspected_ns is not None and change.suspected_ns - heard_ns == pytest.approx(50 * MS, abs=MS)
    assert bench.notes().count("twin_lost") == 1


def test_opening_comes_before_telling():
    bench = standing_by()
    bench.silence()
    bench.holder = ""
    bench.run(59)
    bench.clear()
    bench.run(5)
    kinds = [type(action) for action in bench.said]
    changed = kinds.index(Changed)
    assert Gate in kinds[:changed] and Exclusive in kinds[:changed]
    assert next(one for one in bench.look(Exclusive)).hold
    assert next(gate for gate in bench.look(Gate) if gate.open).epoch == 6


def test_a_denied_claim_is_repeated_when_the_lease_may_be_over_and_at_least_every_10_ms():
    bench = standing_by()
    bench.silence()
    bench.run(65)
    bench.clear()
    bench.run(100)
    assert set(bench.asked()) == {"claim"}
    assert len(bench.asked()) == pytest.approx(10, abs=1)
    bench.clear()
    bench.holder = ""
    bench.run(11)
    assert bench.role() is Role.ACTIVE


def test_a_drill_is_called_a_drill():
    bench = standing_by()
    begin_drill(bench)
    bench.silence()
    bench.holder = ""
    bench.run(100)
    assert bench.changes()[0].trigger is Trigger.DRILL
    assert bench.describe()["drill"]
    bench.feed(Command("drill-end"))
    assert not bench.describe()["drill"]


def test_a_drill_that_nobody_ends_is_over_after_a_minute():
    bench = standing_by()
    begin_drill(bench)
    bench.run(60_100)
    assert not bench.describe()["drill"]


def test_a_twin_that_comes_back_before_the_grant_keeps_its_role_and_the_grant_is_given_back():
    bench = standing_by()
    bench.silence()
    bench.run(70)
    asked_ns = bench.now_ns - MS
    assert bench.state.me.want is Trigger.SILENCE
    bench.hear(role=Role.ACTIVE, epoch=5)
    assert bench.beats()[-1].promise_ns == 60 * MS
    bench.clear()
    bench.feed(Granted(6, asked_ns, 100 * MS))
    assert bench.role() is Role.STANDBY and not bench.exclusive()
    assert bench.look(AskWitness)[0] == AskWitness("release", 6)


def test_a_claim_does_not_leave_while_a_new_promise_binds():
    bench = standing_by()
    bench.holder = ""
    for _ in range(20):  # the twin is heard now and then, every time before the promise is over
        bench.silence()
        bench.run(55)
        bench.hear(role=Role.ACTIVE, epoch=5)
    assert "claim" not in bench.asked()


def test_a_grant_too_old_to_use_is_not_used():
    bench = standing_by()
    bench.silence()
    bench.run(70)
    bench.feed(Granted(6, bench.now_ns - 96 * MS, 100 * MS))
    assert bench.role() is Role.STANDBY


def test_a_lease_counts_from_the_question_and_ends_a_margin_early():
    bench = standing_by()
    bench.silence()
    bench.run(70)
    bench.clear()
    asked_ns = bench.now_ns
    bench.now_ns += 8 * MS
    bench.feed(Granted(6, asked_ns, 100 * MS))
    assert bench.look(Exclusive)[-1].until_ns == asked_ns + 95 * MS


def test_a_grant_below_what_is_known_is_not_believed():
    bench = standing_by()
    bench.silence()
    bench.run(70)
    bench.feed(Granted(4, bench.now_ns, 100 * MS))
    assert bench.role() is Role.STANDBY


def test_an_unfit_standby_does_not_take_over():
    bench = standing_by()
    bench.feed(Pipeline(Health()))
    bench.silence()
    bench.holder = ""
    bench.run(500)
    assert bench.role() is Role.STANDBY
    bench.feed(Pipeline(FIT))
    bench.run(20)
    assert bench.role() is Role.ACTIVE


def test_a_twin_that_is_blind_is_as_good_as_dead():
    bench = standing_by()
    bench.hear(health=replace(FIT, cameras=0))
    bench.run(100)
    assert bench.beats()[-1].promise_ns == 0
    assert bench.asked()[-1] == "claim"
    bench.holder = ""
    bench.run(20)
    assert bench.changes()[0].trigger is Trigger.UNFIT


@pytest.mark.parametrize("health", [replace(FIT, hot=True), replace(FIT, cameras=1)])
def test_a_twin_that_is_only_worse_is_left_alone(health):
    bench = standing_by()
    bench.hear(health=health)
    bench.run(20_000)
    assert "claim" not in bench.asked()


def test_both_unfit_nobody_switches():
    bench = standing_by()
    bench.feed(Pipeline(replace(FIT, clock_ok=False)))
    bench.hear(health=replace(FIT, cameras=0))
    bench.run(2_000)
    assert "claim" not in bench.asked()
    assert bench.beats()[-1].promise_ns > 0


def test_a_hot_standby_is_better_than_a_blind_active_node():
    bench = standing_by()
    bench.feed(Pipeline(replace(FIT, hot=True)))
    bench.hear(health=replace(FIT, cameras=0))
    bench.run(200)
    assert "claim" in bench.asked()


def test_a_twin_without_the_witness_is_unfit_while_we_have_it():
    bench = standing_by()
    bench.hear(health=replace(FIT, rack_ok=False))
    assert bench.beats()[-1].promise_ns == 0  # undecided: no new promise, no claim
    bench.run(45)
    assert "claim" not in bench.asked()
    bench.run(20)
    assert "claim" in bench.asked()


def test_a_witness_that_died_is_no_reason_to_take_over():
    bench = standing_by()
    bench.holder = None
    bench.run(60)
    bench.hear(health=replace(FIT, rack_ok=False))  # the twin notices first
    bench.run(2_000)
    assert "claim" not in bench.asked()
    assert bench.role() is Role.STANDBY
    assert bench.beats()[-1].promise_ns == 500 * MS
    bench.clear()
    bench.holder = "b"  # and we are answered first
    bench.run(80)
    bench.hear(health=FIT)
    bench.run(500)
    assert "claim" not in bench.asked()


def test_a_long_promise_is_kept_when_the_twin_dies_just_after():
    bench = standing_by()
    bench.holder = None
    bench.run(200)
    bench.silence()
    heard_ns, bench.holder = bench.state.twin.heard_ns, ""
    bench.run(1_000)
    assert first_claim_after_ms(bench, heard_ns) == pytest.approx(500, abs=11)


def test_a_silent_twin_and_no_witness_opens_the_gate_for_records_alone():
    bench = standing_by()
    bench.holder = None
    bench.run(200)
    bench.silence()
    bench.run(100)
    assert bench.role() is Role.ACTIVE and bench.gate().open and not bench.exclusive()
    assert bench.gate().epoch == 5
    assert "records alone" in bench.describe()["reason"]
    bench.holder, bench.epoch = "", 5
    bench.clear()
    bench.run(300)
    assert "claim" not in bench.asked()[:10]  # the promise of 500 ms binds this node also now
    bench.run(200)
    assert bench.exclusive() and bench.gate().epoch == 6


def test_a_stopped_node_does_not_take_its_own_sleep_for_the_twins_silence():
    bench = standing_by()
    bench.run(15)
    bench.feed(Tick(), late_ns=900 * MS)
    assert bench.state.twin.suspected_ns is None
    bench.run(10)
    bench.hear(role=Role.ACTIVE, epoch=5)
    bench.run(500)
    assert "twin_lost" not in bench.notes()
    assert "claim" not in bench.asked()
    assert bench.state.twin.suspicion.limit_ns == 50 * MS  # nor for a gap between beats


def test_after_its_sleep_it_listens_for_a_beat_before_it_judges():
    bench = standing_by()
    bench.silence()
    bench.run(45)
    woken = bench.feed(Tick(), late_ns=900 * MS)
    assert bench.state.twin.suspected_ns is None
    assert not [one for one in woken if isinstance(one, AskWitness) and one.what == "claim"]
    bench.run(19.5)
    assert bench.state.twin.suspected_ns is None
    bench.run(1)
    assert bench.state.twin.suspected_ns is not None


def test_a_node_that_is_always_a_little_late_still_hears_that_the_twin_is_dead():
    bench = standing_by()
    bench.silence()
    bench.holder = ""
    for _ in range(8):
        bench.feed(Tick(), late_ns=25 * MS)
    assert bench.role() is Role.ACTIVE


def test_a_twin_that_starts_anew_as_standby_is_succeeded_at_once():
    bench = standing_by()
    bench.holder = ""
    bench.feed(TwinRestarted())
    bench.silence()
    bench.hear(role=Role.STANDBY, number=1)
    bench.run(15)
    assert bench.role() is Role.ACTIVE
    assert bench.changes()[0].trigger is Trigger.START


def test_cursors_of_the_active_twin_are_covered_and_never_go_back():
    bench = standing_by()
    bench.hear(cursors=(CameraCursor(1, 500), CameraCursor(0, 300)))
    bench.hear(cursors=(CameraCursor(1, 400), CameraCursor(2, 10)))
    bench.run(25)
    expected = (CameraCursor(0, 300), CameraCursor(1, 500), CameraCursor(2, 10))
    assert bench.gate().covered == expected
    bench.hear(role=Role.STANDBY, cursors=(CameraCursor(0, 9_999),))  # a standby's cursor is ours, heard back
    bench.feed(TwinRestarted())
    bench.run(25)
    assert bench.gate().covered == expected


def test_old_beats_tell_nothing_new():
    bench = standing_by()
    old = replace(bench.twin, number=bench.twin.number - 1, role=Role.STANDBY, health=Health(), seen=1)
    heard_ns = bench.state.twin.heard_ns
    bench.run(3)
    bench.feed(BeatHeard(old))
    assert bench.state.twin.beat is not None
    assert bench.state.twin.beat.role is Role.ACTIVE
    assert bench.state.twin.heard_ns == heard_ns


def test_the_role_is_settled_only_when_somebody_else_is_known_to_be_active():
    bench = standing_by()
    assert bench.gate().settled
    bench.silence()
    bench.run(300)  # but the witness says that the twin holds it
    assert bench.gate().settled
    bench.holder = None
    bench.settings = replace(bench.settings, without_witness="nothing")
    bench.state = replace(bench.state, settings=bench.settings)
    bench.run(300)
    assert not bench.gate().settled


def test_a_twin_lost_and_back_is_told_once_each():
    bench = standing_by()
    for _ in range(5):
        bench.silence()
        bench.run(100)
        bench.hear(role=Role.ACTIVE, epoch=5)
        bench.run(200)
    assert [code for code in bench.notes() if code.startswith("twin")] == ["twin_lost"]
    bench.run(1_000)
    assert [code for code in bench.notes() if code.startswith("twin")] == ["twin_lost", "twin_back"]
