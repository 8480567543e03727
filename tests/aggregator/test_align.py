"""Which nodes are on one timeline (CLK-3), and the words that say why one is not."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.core.align import AlignmentWatch, Claim, align
from aggregator.core.clocks import ClockWord, clock_word

GM, OTHER = "001122.fffe.334455", "aabbcc.fffe.000001"
MS = 1_000_000
S = 1_000_000_000
HALF_NS = 10 * MS


def claim(
    node: str = "left-a", bound_ns: Any = 60, age_s: float | None = 0.5, half_ns: int = HALF_NS, **say: Any
) -> Claim:
    said = {"state": "locked", "grandmaster": GM, "timescale": "PTP", "source": "ptp", **say}
    return Claim(node, clock_word({"bound_ns": bound_ns, **said}), age_s, half_ns)


def unlocked(node: str = "right-a", **say: Any) -> Claim:
    return claim(node, 10**9, state="unlocked", grandmaster="", source="system", **say)


def why(*claims: Claim, node: str | None = None) -> str:
    standing = align(claims).nodes[node or claims[0].node]
    assert bool(standing.reason) is not standing.aligned
    return standing.reason


def test_two_locked_nodes_of_one_grandmaster_are_aligned_within_the_sum_of_their_bounds():
    found = align([claim("left-a", 60), claim("right-a", 75, state="holdover")])
    assert found.spread_ns == 135 and found.grandmaster == GM
    assert [found.nodes[n].aligned for n in ("left-a", "right-a")] == [True, True]
    assert found.timeline("left-a") == "" and found.timeline("nobody") == "nobody"


def test_one_node_is_on_its_own_timeline_and_has_no_spread():
    found = align([claim()])
    assert found.nodes["left-a"].aligned and found.spread_ns is None
    assert align([]).nodes == {} and align([]).spread_ns is None


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (unlocked("left-a"), "left-a's clock is the system clock"),
        (claim(state="unlocked", source=None, grandmaster=None), "left-a's clock is the system clock"),
        (claim(state="unlocked"), "left-a's clock is unlocked (± 60 ns)"),
        (claim(state="dreaming"), "left-a's clock is dreaming (± 60 ns)"),
        (claim(grandmaster=7), "left-a names no grandmaster"),
        (claim(bound_ns="small"), "left-a states no bound"),
        (claim(bound_ns=1500, limit_ns=1000), "left-a's ± 1.5 µs is beyond its own limit of ± 1 µs"),
        (claim(age_s=None), "left-a has said nothing of its clock"),
        (claim(age_s=5.1), "left-a's clock was last heard 5 s ago"),
        (claim(age_s=7000.0), "left-a's clock was last heard 7000 s ago"),
    ],
)
def test_the_reason_names_the_node_and_its_figure(one, text):
    assert why(one) == text
    assert align([one, claim("right-a")]).nodes["right-a"].aligned


def test_who_follows_another_grandmaster_than_most_is_not_aligned():
    three = [claim("left-a"), claim("left-b"), claim("right-a", grandmaster=OTHER)]
    assert why(*three, node="right-a") == f"right-a follows grandmaster {OTHER}, left-a and 1 more follow {GM}"
    assert align(three).nodes["left-b"].aligned and align(three).spread_ns == 120


def test_of_two_grandmasters_with_as_many_nodes_none_is_right():
    found = align([claim("left-a"), claim("right-a", grandmaster=OTHER)])
    assert found.nodes["left-a"].reason == (
        f"left-a follows grandmaster {GM}, right-a follows {OTHER}: neither has more nodes"
    )
    assert not found.nodes["right-a"].aligned and found.spread_ns is None and found.grandmaster == ""


def test_one_grandmaster_on_two_timescales_is_two():
    three = [claim("a"), claim("b"), claim("c", timescale="ARB")]
    assert why(*three, node="c") == f"c follows grandmaster {GM} (timescale ARB), a and 1 more follow {GM}"
    assert align([claim("a"), claim("b", timescale=None)]).nodes["b"].aligned  # unsaid: PTP, the standard's default


def test_two_bounds_must_make_less_than_half_a_frame_period():
    pair = [claim("left-a", 2 * MS), claim("right-a", 9 * MS)]
    assert why(*pair, node="right-a") == (
        "right-a's ± 9 ms and left-a's ± 2 ms make 11 ms, fusing needs less than 10 ms (half a frame period)"
    )
    assert align(pair).nodes["left-a"].aligned and align(pair).spread_ns is None
    exactly = [claim("left-a", 2 * MS), claim("right-a", 8 * MS)]
    assert not align(exactly).nodes["right-a"].aligned
    just = [claim("left-a", 2 * MS), claim("right-a", 8 * MS - 1)]
    assert align(just).nodes["right-a"].aligned and align(just).spread_ns == 10 * MS - 1


def test_the_faster_cameras_period_counts_and_an_absurd_one_does_not():
    assert not align([claim("a", 3 * MS), claim("b", 3 * MS, half_ns=4 * MS)]).nodes["b"].aligned
    assert align([claim("a", 3 * MS), claim("b", 3 * MS, half_ns=20 * MS)]).nodes["b"].aligned
    found = align([claim("a", 60), claim("b", 60), claim("liar", 1, half_ns=0)])
    assert all(s.aligned for s in found.nodes.values())


def test_of_two_equally_bad_clocks_one_is_the_measure_of_the_other():
    found = align([claim("c", 6 * MS), claim("a", 60), claim("b", 6 * MS)])
    assert {n: s.aligned for n, s in found.nodes.items()} == {"a": True, "b": True, "c": False}


bounds = st.one_of(st.none(), st.integers(0, 30 * MS), st.sampled_from([60, 5 * MS, 10 * MS]))
claims = st.lists(
    st.builds(
        claim,
        node=st.sampled_from([f"n{i}" for i in range(8)]),
        bound_ns=bounds,
        age_s=st.sampled_from([None, 0.1, 5.0, 5.01]),
        half_ns=st.sampled_from([0, 4 * MS, 10 * MS, 20 * MS]),
        state=st.sampled_from(["locked", "holdover", "locked", "unlocked"]),
        grandmaster=st.sampled_from([GM, GM, OTHER, ""]),
        timescale=st.sampled_from(["PTP", "PTP", "ARB", None]),
    ),
    max_size=8,
    unique_by=lambda c: c.node,
)


@given(claims, st.randoms(use_true_random=False))
def test_the_order_of_nodes_does_not_matter(some, random):
    mixed = list(some)
    random.shuffle(mixed)
    assert align(mixed) == align(some)


@given(claims, st.sampled_from([unlocked, lambda n: claim(n, age_s=9.0), lambda n: claim(n, bound_ns=None)]))
def test_a_node_without_a_good_clock_changes_nobody_elses_standing(some, make):
    before, after = align(some), align([*some, make("new")])
    assert not after.nodes["new"].aligned
    others = {node: standing for node, standing in after.nodes.items() if node != "new"}
    assert replace(after, nodes=others) == before


@given(claims)
def test_any_two_aligned_nodes_fuse(some):
    found = align(some)
    good = [c for c in some if found.nodes[c.node].aligned]
    assert all(c.clock.state in ("locked", "holdover") and c.age_s is not None and c.age_s <= 5 for c in good)
    assert len({c.clock.grandmaster for c in good}) <= 1
    sums = [a.clock.bound_ns + b.clock.bound_ns for a in good for b in good if a.node < b.node]
    assert found.spread_ns == (max(sums) if sums else None)
    for a in good:
        for b in good:
            if a.node != b.node:
                assert a.clock.bound_ns + b.clock.bound_ns < max(min(a.half_period_ns, b.half_period_ns), 500_000)
    for standing in found.nodes.values():
        assert bool(standing.reason) is not standing.aligned and len(standing.reason) < 240


@given(claims)
def test_a_narrower_bound_never_costs_a_node_its_place(some):
    found = align(some)
    for one in some:
        if found.nodes[one.node].aligned and one.clock.bound_ns:
            better = replace(one, clock=replace(one.clock, bound_ns=one.clock.bound_ns // 2))
            assert align([better if c is one else c for c in some]).nodes[one.node].aligned


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from([*ClockWord.__dataclass_fields__, "steps"]), values))
def test_whatever_a_node_says_of_its_clock_is_typed_and_bounded(document):
    word = clock_word(document)
    for name in ("bound_ns", "limit_ns", "offset_ns", "path_delay_ns", "residual_ns", "epoch"):
        value = getattr(word, name)
        assert value is None or (isinstance(value, int | float) and abs(value) < 2**63 and not isinstance(value, bool))
    assert word.bound_ns is None or word.bound_ns >= 0
    for name in ("state", "source", "grandmaster", "port_state", "timescale"):
        assert isinstance(getattr(word, name), str) and len(getattr(word, name)) <= 24
    assert len(word.last_step) <= 120
    align([Claim("n", word, 0.0, HALF_NS)])


def test_a_grandmaster_is_an_identity_or_nothing():
    assert clock_word({"grandmaster": "001122.FFFE.334455"}).grandmaster == GM
    for bad in ("<script>", "00 11", "g" * 6, 5, None, "0" * 99):
        assert clock_word({"grandmaster": bad}).grandmaster == ""


def test_the_log_hears_of_a_node_that_falls_out_and_comes_back():
    watch = AlignmentWatch()
    both = [claim("left-a", 60), claim("right-a", 60)]
    assert watch.review(both, 1 * S) == [("left-a", ""), ("right-a", "")]
    assert watch.review(both, 2 * S) == []
    gone = [both[0], claim("right-a", state="unlocked")]
    assert watch.review(gone, 10 * S) == [("right-a", "right-a's clock is unlocked (± 60 ns)")]
    assert watch.review(both, 11 * S) == []  # so soon after: told when it lasts
    assert watch.verdict.nodes["right-a"].aligned
    assert watch.review(gone, 12 * S) == []  # back where it was told to be
    assert watch.review(both, 13 * S) == []
    assert watch.review(both, 16 * S) == [("right-a", "")]


def test_a_node_that_has_said_nothing_yet_is_not_told_of():
    watch = AlignmentWatch()
    assert watch.review([claim(age_s=None)], S) == []
    assert watch.review([unlocked("left-a")], 2 * S) == [("left-a", "left-a's clock is the system clock")]
