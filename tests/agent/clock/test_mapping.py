"""A mapping: readings to stamps, a bound that only grows, states by rule, and documents that are one or are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock.mapping import MAX_BOUND_NS, Growth, Mapping, mapping_of
from touchline.errors import InputError
from touchline.timeline import ClockState, Timebase

S = 1_000_000_000
RULE = {ClockState.LOCKED: 0, ClockState.HOLDOVER: 1, ClockState.UNLOCKED: 2}

sizes = st.floats(0, 1e6)
bases = st.integers(0, 2**62)


@st.composite
def mappings(draw: st.DrawFn) -> Mapping:
    base_ns = draw(bases)
    return Mapping(
        timebase=draw(st.sampled_from(Timebase)),
        base_ns=base_ns,
        ptp_ns=draw(st.integers(0, 2**62)),
        rate_ppb=draw(st.floats(-500_000, 500_000)),
        newest_ns=draw(st.integers(max(0, base_ns - 10 * S), base_ns + 10 * S)),
        bound_ns=draw(sizes),
        growth=Growth(draw(sizes), draw(sizes)),
        locked=draw(st.booleans()),
        fresh_ns=draw(st.integers(0, 60 * S)),
        limit_ns=draw(st.integers(1, 10 * S)),
        epoch=draw(st.integers(0, 2**32 - 1)),
    )


def mapping(**changes: Any) -> Mapping:
    usual: dict[str, Any] = {
        "timebase": Timebase.TSC, "base_ns": 5 * S, "ptp_ns": 10**18, "rate_ppb": 10_000.0, "newest_ns": 5 * S,
        "bound_ns": 100.0, "growth": Growth(4.0, 10.0), "locked": True, "fresh_ns": 3 * S, "limit_ns": 1000, "epoch": 3,
    }  # fmt: skip
    return Mapping(**{**usual, **changes})


def test_time_is_on_the_line():
    one = mapping()
    assert one.ptp_at(5 * S) == 10**18
    assert one.ptp_at(6 * S) == 10**18 + S + 10_000
    assert one.ptp_at(4 * S) == 10**18 - S - 10_000


def test_the_bound_is_that_of_the_pair_and_grows_with_rate_and_wander():
    one = mapping()
    assert one.bound_at(5 * S) == 101
    assert one.bound_at(15 * S) == 100 + 4 * 10 + 500 + 1
    assert one.bound_at(4 * S) == 100 + 4 + 5 + 1, "a reading from before the pair is no better known"


def test_a_stamp_is_locked_then_held_over_then_unlocked():
    one = mapping()
    stamps = [one.at(5 * S + age_s * S) for age_s in (0, 3, 4, 14)]
    assert [stamp.state.value for stamp in stamps] == ["locked", "locked", "holdover", "unlocked"]
    assert {stamp.epoch for stamp in stamps} == {3}
    assert stamps[-1].bound_ns > one.limit_ns


@given(mappings(), bases)
def test_states_follow_the_rules(one: Mapping, base_ns: int):
    stamp = one.at(base_ns)
    assert (stamp.state is ClockState.UNLOCKED) == (stamp.bound_ns > one.limit_ns)
    if stamp.state is ClockState.LOCKED:
        assert one.locked
        assert base_ns - one.newest_ns <= one.fresh_ns
    assert 1 <= stamp.bound_ns <= MAX_BOUND_NS


@given(mappings(), st.integers(0, 2**50), st.integers(0, 2**50))
def test_neither_bound_nor_state_gets_better_with_age(one: Mapping, age_ns: int, more_ns: int):
    sooner, later = one.at(one.newest_ns + age_ns), one.at(one.newest_ns + age_ns + more_ns)
    assert later.bound_ns >= sooner.bound_ns
    assert RULE[later.state] >= RULE[sooner.state]


@given(mappings())
def test_a_mapping_that_nobody_renews_ends_unlocked_whatever_was_configured(one: Mapping):
    """A dead clock process: even with no growth at all and the largest limit, within a month."""
    still = replace(one, growth=Growth(0.0, 0.0), limit_ns=10 * S)
    assert still.at(still.newest_ns + 30 * 86_400 * S).state is ClockState.UNLOCKED


@given(mappings(), st.integers(0, 10**6), st.integers(1, 10**15))
def test_time_goes_on_and_comes_back(one: Mapping, after_ns: int, step_ns: int):
    base_ns = one.base_ns + after_ns
    assert one.ptp_at(base_ns + step_ns) >= one.ptp_at(base_ns)
    assert abs(one.base_at(one.ptp_at(base_ns + step_ns)) - (base_ns + step_ns)) <= 2 + step_ns * 1e-12


@given(mappings())
def test_a_document_says_all_of_it(one: Mapping):
    assert mapping_of(json.loads(json.dumps(one.document()))) == one


@pytest.mark.parametrize(
    "changes",
    [
        {"timebase": "sundial"}, {"timebase": ["tsc"]}, {"base_ns": -1}, {"base_ns": 1.5}, {"base_ns": True},
        {"ptp_ns": 2**63}, {"ptp_ns": None}, {"newest_ns": "5"}, {"rate_ppb": float("nan")}, {"rate_ppb": -1e9},
        {"bound_ns": float("inf")}, {"bound_ns": -1.0}, {"bound_ns": False}, {"growth": None}, {"growth": 5},
        {"growth": {"rate_ppb": 1.0}}, {"growth": {"rate_ppb": -1.0, "wander_ppb_per_s": 1.0}},
        {"growth": {"rate_ppb": 1.0, "wander_ppb_per_s": 1.0, "more": 1}}, {"locked": "false"}, {"locked": 1},
        {"epoch": 2**32}, {"epoch": "1"}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_mapping_is_refused(changes):
    with pytest.raises(InputError, match="no clock mapping"):
        mapping_of({**mapping().document(), **changes})


@pytest.mark.parametrize("missing", list(mapping().document()))
def test_a_mapping_with_a_field_less_is_refused(missing):
    document = mapping().document()
    del document[missing]
    with pytest.raises(InputError, match="no clock mapping"):
        mapping_of(document)


@pytest.mark.parametrize("thing", [None, 5, "text", [], [1, 2], {}])
def test_other_things_are_no_mapping(thing):
    with pytest.raises(InputError, match="no clock mapping"):
        mapping_of(thing)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(mapping().document())), json_values))
def test_any_change_is_refused_or_still_tells_a_time(changes):
    try:
        one = mapping_of({**mapping().document(), **changes})
    except InputError:
        return
    stamp = one.at(6 * S)
    assert 1 <= stamp.bound_ns <= MAX_BOUND_NS
    assert isinstance(stamp.ptp_ns, int)
