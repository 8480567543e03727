"""The judge: clean evidence passes, and every way of doctoring it is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.camera.grid import Trigger
from hil.failover.judge import NS_PER_MS, Cost, Evidence, Expected, Frame, Interval, Lease, Spared, Takeover, judge

PERIOD_NS = 40 * NS_PER_MS
GRID = Trigger(25.0)
START = 1_000 * PERIOD_NS
PEOPLE = 8
MUST, NOT, MAY = Expected("yes"), Expected("no"), Expected("may")


def clean(count: int = 100, switch: int = 50, offset_ns: int = 150_000, lag_ms: int = 80) -> Evidence:
    """A active until its death at exposure ``switch``; b takes over ``lag_ms`` later and sends from there on."""
    fault_ns = (1_000 + switch) * PERIOD_NS
    taken_ns = fault_ns + lag_ms * NS_PER_MS
    frames = []
    for number in range(count):
        exposed_ns = (1_000 + number) * PERIOD_NS
        if number < switch:
            frames.append(Frame(exposed_ns, "a", 5, exposed_ns + 9 * NS_PER_MS, PEOPLE))
        else:
            arrived_ns = max(exposed_ns + 9 * NS_PER_MS, taken_ns + 2 * NS_PER_MS)
            frames.append(Frame(exposed_ns + offset_ns, "b", 6, arrived_ns, PEOPLE))
    return Evidence(
        active="a",
        fault_ns=fault_ns,
        end_ns=(1_000 + count) * PERIOD_NS,
        grid=GRID,
        first_ptp_ns=START - 1,
        last_ptp_ns=START + (count - 1) * PERIOD_NS + 1,
        people=PEOPLE,
        frames=frames,
        leases=[
            *(Lease("a", 5, fault_ns - ms * NS_PER_MS, fault_ns + (100 - ms) * NS_PER_MS) for ms in (60, 40, 30)),
            *(Lease("b", 6, taken_ns + ms * NS_PER_MS, taken_ns + (100 + ms) * NS_PER_MS) for ms in (0, 20, 40)),
        ],
        carried=[Interval("a", 0, fault_ns), Interval("b", taken_ns + NS_PER_MS)],
        answered=[Interval("a", 0, fault_ns), Interval("b", taken_ns + 3 * NS_PER_MS)],
        takeovers=[
            Takeover("b", 6, taken_ns, "silence", fault_ns + 60 * NS_PER_MS, taken_ns, taken_ns + NS_PER_MS // 2)
        ],
    )


frames = st.integers(0, 99)


def test_clean_evidence_passes_with_its_phases():
    verdict = judge(clean(), MUST)
    assert verdict.violations == () and verdict.took_over
    assert verdict.phases == {
        "suspected": 60.0,
        "lease": 80.0,
        "gate": 80.5,
        "first frame at the rack": 82.0,
        "address": 83.0,
        "total": 83.0,
    }


@given(st.integers(2, 200), st.data())
def test_clean_evidence_of_any_size_passes(count: int, data: st.DataObject):
    switch = data.draw(st.integers(1, count - 1))
    offset_ns = data.draw(st.integers(-5_000_000, 5_000_000))
    evidence = clean(count, switch, offset_ns)
    evidence = replace(evidence, first_ptp_ns=START - 10**7, last_ptp_ns=evidence.last_ptp_ns + 10**7)
    assert judge(evidence, MUST).violations == ()
    assert judge(evidence, MAY).violations == ()


@given(frames)
def test_a_missing_frame_fails(number: int):
    evidence = clean()
    held = [frame for index, frame in enumerate(evidence.frames) if index != number]
    found = judge(replace(evidence, frames=held), MUST).violations
    assert found and "1 of 100 exposures missing at the rack" in found[0]


@given(frames, st.sampled_from(["other", "same"]), st.integers(-15_000_000, 15_000_000))
def test_a_frame_that_is_there_twice_fails(number: int, who: str, moved_ns: int):
    evidence = clean()
    twice = evidence.frames[number]
    twin = {"a": "b", "b": "a"}[twice.node] if who == "other" else twice.node
    copy = replace(twice, node=twin, ptp_ns=twice.ptp_ns + moved_ns)
    found = judge(replace(evidence, frames=[*evidence.frames, copy]), MUST).violations
    assert len(found) == 1
    assert ("there from both nodes" if who == "other" else "there with more than their records") in found[0]


@given(frames, st.integers(0, PEOPLE - 1))
def test_a_frame_that_lacks_a_record_fails(number: int, records: int):
    evidence = clean()
    held = list(evidence.frames)
    held[number] = replace(held[number], records=records)
    words = "there without all their records" if records else "missing at the rack"
    assert f"1 of 100 exposures {words}" in judge(replace(evidence, frames=held), MUST).violations[0]


@given(st.integers(1, 99_999_999))
def test_two_leases_at_once_fail(early_ns: int):
    evidence = clean()
    last = max(lease.until_ns for lease in evidence.leases if lease.node == "a")
    moved = [lease if lease.node == "a" else replace(lease, at_ns=last - early_ns) for lease in evidence.leases]
    assert any("before that of a ended" in text for text in judge(replace(evidence, leases=moved), MUST).violations)


def test_a_lease_that_is_renewed_after_the_twin_got_one_fails():
    evidence = clean()
    late = Lease("a", 5, evidence.leases[-1].at_ns + NS_PER_MS, evidence.leases[-1].until_ns)
    found = judge(replace(evidence, leases=[*evidence.leases, late]), MUST).violations
    assert any("epoch 5 was granted after 6" in text for text in found)
    assert any("a was granted the lease" in text for text in found)


def test_an_epoch_of_two_holders_fails():
    evidence = clean()
    same = [replace(lease, epoch=5) for lease in evidence.leases]
    assert "epoch 5 was granted to a and to b" in judge(replace(evidence, leases=same), MUST).violations


@given(st.integers(1, 500 * NS_PER_MS))
def test_an_address_that_two_living_nodes_carry_fails(shared_ns: int):
    evidence = clean()
    begin_ns = evidence.carried[1].begin_ns
    carried = [Interval("a", 0, begin_ns + shared_ns), evidence.carried[1]]
    found = judge(replace(evidence, carried=carried), MUST).violations
    assert found and "both nodes carried the address" in found[0]
    frozen = Interval("a", evidence.fault_ns, begin_ns + shared_ns)
    assert judge(replace(evidence, carried=carried, down=[frozen]), MUST).violations == ()
    awake = replace(frozen, end_ns=begin_ns + shared_ns - 1)
    assert judge(replace(evidence, carried=carried, down=[awake]), MUST).violations


def test_an_address_that_both_still_carry_fails():
    evidence = clean()
    carried = [Interval("a", 0), evidence.carried[1]]
    assert "and still do" in judge(replace(evidence, carried=carried), MUST).violations[0]
    assert judge(replace(evidence, carried=carried, down=[Interval("a", evidence.fault_ns)]), MUST).violations == ()


def test_an_address_that_goes_back_fails():
    evidence = clean()
    later = evidence.answered[-1].begin_ns
    answered = [
        evidence.answered[0],
        Interval("b", later, later + 10),
        Interval("a", later + 20, later + 30),
        Interval("b", later + 40),
    ]
    found = judge(replace(evidence, answered=answered), MUST).violations
    assert found == ("the address went a -> b -> a -> b with 1 takeover",)


def test_a_wrong_outcome_fails():
    evidence = clean()
    assert "it was not to" in judge(evidence, NOT).violations[0]
    quiet = replace(evidence, takeovers=[], answered=evidence.answered[:1])
    assert judge(quiet, MUST).violations == ("the twin of a did not take over",)
    assert judge(quiet, NOT).violations == ()
    assert judge(quiet, NOT).phases == {}


@pytest.mark.parametrize(("lacking", "words"), [("frames", "no frame of b"), ("answered", "never heard b")])
def test_a_takeover_without_its_effect_fails(lacking: str, words: str):
    evidence = clean()
    if lacking == "frames":
        evidence = replace(evidence, frames=[one for one in evidence.frames if one.node == "a"])
    else:
        evidence = replace(evidence, answered=[one for one in evidence.answered if one.node == "a"])
    verdict = judge(evidence, MUST)
    assert any(words in text for text in verdict.violations)
    assert verdict.total_ms is None


def test_a_first_frame_that_had_to_wait_for_the_light_counts_from_the_gate():
    """The old node delivered everything until its twin was ready: nothing was late, whenever the next exposure was."""
    evidence = clean(lag_ms=85)
    late = [  # the old node's own two frames came in time; the new one begins with the third, 35 ms after its gate
        replace(frame, node="a", epoch=5, arrived_ns=frame.ptp_ns) if 50 <= number < 53 else frame
        for number, frame in enumerate(evidence.frames)
    ]
    verdict = judge(replace(evidence, frames=late), MUST)
    assert verdict.violations == ()
    assert verdict.phases["first frame at the rack"] == 129.0
    assert verdict.phases["total"] == pytest.approx(85.5 + 9.0 - 0.15)
    own = Spared("nobody ran", evidence.fault_ns + 1, evidence.fault_ns + 3 * PERIOD_NS)
    lacking = [one for at, one in enumerate(late) if not 51 <= at < 53]
    assert judge(replace(evidence, frames=lacking, spared=own), MUST).phases["total"] == 129.0


def test_nothing_to_judge_is_no_success():
    evidence = replace(clean(), last_ptp_ns=START - 2)
    assert "nothing was judged" in judge(evidence, MUST).violations[0]


def spared(first: int = 40, last: int | None = 69, missing: tuple[int, ...] = ()) -> Evidence:
    """Clean evidence whose fault has exposures ``first`` to ``last`` for its own, without those that are missing."""
    evidence = clean()
    ends_ns = [(1_000 + at) * PERIOD_NS + 1 for at in (first - 1, 99 if last is None else last)]
    own = Spared("nobody ran", ends_ns[0], None if last is None else ends_ns[1])
    return replace(evidence, spared=own, frames=[one for at, one in enumerate(evidence.frames) if at not in missing])


@given(st.sets(frames.filter(lambda at: 40 <= at <= 69 and at != 50)))
def test_what_a_fault_takes_in_its_own_time_is_a_number(missing: set[int]):
    verdict = judge(spared(missing=tuple(missing)), MUST)
    assert verdict.violations == ()
    assert verdict.cost == Cost("nobody ran", 30, len(missing))
    assert judge(clean(), MUST).cost is None


def test_a_torn_exposure_in_the_own_time_of_a_fault_is_counted():
    evidence = spared()
    torn = [replace(one, records=3) if at == 45 else one for at, one in enumerate(evidence.frames)]
    assert judge(replace(evidence, frames=torn), MUST).cost == Cost("nobody ran", 30, 1)


def test_who_takes_over_and_stops_within_it_need_not_have_sent():
    """Seen in ``both-active``: b has the lease while a's agent stops, and its own is stopped before a frame came."""
    evidence = spared(missing=tuple(range(50, 70)))
    back = [replace(one, node="a", epoch=7) if at >= 50 else one for at, one in enumerate(evidence.frames)]
    assert judge(replace(evidence, frames=back), MUST).violations == ()
    found = judge(replace(evidence, frames=back, spared=None), MUST).violations
    assert any("no frame of b" in words for words in found)


@given(frames.filter(lambda at: not 40 <= at <= 69))
def test_what_is_missing_before_or_behind_it_fails(number: int):
    found = judge(spared(missing=(number,)), MUST).violations
    assert len(found) == 1 and "1 of 100 exposures missing at the rack" in found[0]


@given(frames, st.sampled_from(["other", "same"]))
def test_nothing_may_be_there_twice_at_any_time(number: int, who: str):
    evidence = spared()
    twice = evidence.frames[number]
    twin = {"a": "b", "b": "a"}[twice.node] if who == "other" else twice.node
    found = judge(replace(evidence, frames=[*evidence.frames, replace(twice, node=twin)]), MUST).violations
    assert len(found) == 1
    assert ("there from both nodes" if who == "other" else "there with more than their records") in found[0]


@pytest.mark.parametrize(("first", "last"), [(0, 69), (40, 99), (40, None), (0, 99)])
def test_a_fault_that_has_the_begin_or_the_end_for_its_own_is_not_judged(first: int, last: int | None):
    assert any("nothing was judged" in text for text in judge(spared(first, last), MUST).violations)
