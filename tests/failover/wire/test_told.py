"""A switch told in a few bytes: what goes in comes out, other bytes are none, the names are those of the report."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from failover.actions.report import Status
from failover.actions.sequence import takeover_steps
from failover.core.types import Settings, Trigger
from failover.drill_report import marks_of
from failover.wire.told import (
    STARTS,
    STATUSES,
    STEPS,
    TRIGGERS,
    StepTold,
    SwitchTold,
    decode_told,
    encode_told,
    told_of,
)

times_us = st.none() | st.integers(0, 2**32 - 2)
steps = st.builds(StepTold, st.sampled_from(STEPS), st.sampled_from(STATUSES), times_us, times_us)
numbers = st.integers(0, 2**63 - 1)
told = st.builds(
    SwitchTold,
    numbers,
    numbers,
    numbers,
    st.sampled_from(TRIGGERS),
    st.sampled_from(STARTS),
    st.lists(steps, max_size=len(STEPS)).map(tuple),
)


@given(told)
def test_there_and_back(one):
    assert decode_told(encode_told(one)) == one
    assert told_of(one.document("node-b")) == one


@given(st.binary(max_size=200))
def test_any_bytes_are_one_or_none(data):
    one = decode_told(data)
    assert one is None or encode_told(one) == data


def test_a_clock_that_has_not_come_as_far_as_the_silence_is_unknown():
    one = SwitchTold(7, 5, 850, "silence", "last beat", ())
    told = told_of({**one.document("node-b"), "ptp_ns": -60_000_000})
    assert told.ptp_ns == 0 and decode_told(encode_told(told)) == told


def test_golden():
    one = SwitchTold(
        7, 1_795_256_797_603_970_702, 850, "silence", "last beat", (StepTold("lease", "ok", 40_000, None),)
    )
    data = bytes.fromhex("07000000000000008e3ecab58b08ea1852030000000000000101010100409c0000ffffffff")
    assert encode_told(one) == data
    assert decode_told(data) == one


def test_the_names_are_those_of_the_report():
    assert tuple(step.name for step in takeover_steps(Settings("a", "b"))) == STEPS
    assert tuple(status.value for status in Status) == STATUSES
    assert {trigger.value for trigger in Trigger} == set(TRIGGERS)


def test_a_drill_reads_its_marks_from_it():
    one = SwitchTold(7, 1_000_000_000, 5, "drill", "last beat", (StepTold("lease", "ok", 40_000, 50_000),))
    marks = {(mark.lane, mark.kind): mark.at_ms for mark in marks_of(one.document("node-b"), 900_000_000)}
    assert marks == {("twin", "last beat"): 100.0, ("witness", "lease"): 190.0}
