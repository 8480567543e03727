"""The join planner beside brute force, and what a pair's deaths and handovers must give."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.record.plan import MISSING, NOT_PREFERRED, SWITCH, Piece, Track, slots_of, stranded
from agent.record.plan import plan as plan_slots

PERIOD = 1000


def track(numbers: Iterable[int], *, ranks: Callable[[int], int] | None = None, **more: Any) -> Track:
    """Frames by number, key where ``(number - phase) % gop == 0``; the first of a run and breaks do not follow."""
    phase, gop, rank, offset, breaks = (
        more.get(name, default)
        for name, default in (("phase", 0), ("gop", 5), ("rank", 0), ("offset", 0), ("breaks", ()))
    )
    numbers = list(numbers)
    follows = [i > 0 and n not in breaks for i, n in enumerate(numbers)]
    return Track(
        [n * PERIOD + offset for n in numbers],
        [(n - phase) % gop == 0 for n in numbers],
        follows,
        [ranks(n) if ranks else rank for n in numbers],
    )


def plan(tracks: Sequence[Track], period_ns: int) -> list[Piece]:
    """The plan of what these tracks hold."""
    return plan_slots(tracks, slots_of(tracks, period_ns))


def frames(tracks: Sequence[Track], pieces: Sequence[Piece]) -> list[tuple[int, int]]:
    """(track, exposure number) of every picture of the plan."""
    return [
        (piece.track, round(tracks[piece.track].ptp_ns[i] / PERIOD))
        for piece in pieces
        for i in range(piece.first, piece.last + 1)
    ]


def test_the_dead_ones_pictures_then_the_others_without_a_gap():
    a = track(range(43), ranks=lambda n: 6)
    b = track(range(100), phase=3, offset=40, ranks=lambda n: 7 if n >= 46 else 0)
    pieces = plan([a, b], PERIOD)
    assert [n for _, n in frames([a, b], pieces)] == list(range(100))
    assert pieces == [Piece(0, 0, 42), Piece(1, 43, 99)]  # 43 is b's key frame


def test_where_the_key_frame_comes_before_the_death_a_few_of_the_actives_pictures_are_given_up():
    a = track(range(42), rank=6)
    b = track(range(100), phase=3)
    assert plan([a, b], PERIOD) == [Piece(0, 0, 37), Piece(1, 38, 99)]


def test_a_handover_is_followed_at_the_nearest_key_frame():
    a = track(range(100), ranks=lambda n: 6 if n < 50 else 0)
    b = track(range(100), phase=1, ranks=lambda n: 7 if n >= 50 else 0)
    pieces = plan([a, b], PERIOD)
    assert pieces == [Piece(0, 0, 50), Piece(1, 51, 99)]


def test_of_two_actives_the_higher_epoch_is_taken():
    a, b = track(range(50), rank=6), track(range(50), rank=7)
    assert {number for number, _ in frames([a, b], plan([a, b], PERIOD))} == {1}


def test_what_the_active_dropped_the_standby_fills():
    kept = [n for n in range(100) if n != 52]
    a, b = track(kept, rank=6), track(range(100), phase=2)
    assert [n for _, n in frames([a, b], plan([a, b], PERIOD))] == list(range(100))


def test_a_stopped_standby_that_goes_on_behind_the_tail_is_gap_free():
    a = track(range(43), rank=6)
    b = track(range(43, 90), phase=43, gop=5, rank=7)
    assert plan([a, b], PERIOD) == [Piece(0, 0, 42), Piece(1, 0, 46)]


def test_what_cannot_be_decoded_is_left_out():
    a = track(range(20), breaks={7})  # the fragment before 7 is lost: nothing until the key frame 10
    assert [n for _, n in frames([a], plan([a], PERIOD))] == [*range(7), *range(10, 20)]
    assert plan([track(range(1, 4), phase=0)], PERIOD) == []


def test_pictures_that_nobody_can_decode_are_told_and_those_of_another_are_not():
    a, b = track(range(20), breaks={7}), track([8, 30], phase=8, gop=1)
    slots = slots_of([a, b], PERIOD)
    assert stranded([a, b], slots, plan_slots([a, b], slots)) == [[7, 9], []]


def test_slots_hold_what_was_exposed_together():
    a, b = track([0, 1, 2]), track([1, 2, 3], offset=-300)
    assert slots_of([a, b], PERIOD) == [[0, -1], [1, 0], [2, 1], [-1, 2]]


def cost(tracks: Sequence[Track], slots: Sequence[Sequence[int]], way: Sequence[int]) -> int | None:
    """The price of a way through the slots, by the words of the module; None: it cannot be decoded."""
    total = 0
    before: int | None = None
    for slot, lane in zip(slots, way, strict=True):
        wanted = max((tracks[t].rank[i] for t, i in enumerate(slot) if i >= 0), default=0)
        if lane == len(tracks):
            total, before = total + MISSING, None
            continue
        index, one = slot[lane], tracks[lane]
        if before != lane:
            if index < 0 or not one.key[index]:
                return None
            total += SWITCH if before is not None else 0
        elif index >= 0 and not one.follows[index] and not one.key[index]:
            return None
        total += MISSING if index < 0 else NOT_PREFERRED if one.rank[index] < wanted else 0
        before = lane
    return total


lanes = st.builds(
    lambda present, phase, gop, ranks, breaks: track(
        [n for n, there in enumerate(present) if there],
        phase=phase,
        gop=gop,
        ranks=lambda n: ranks[n],
        breaks=breaks,
    ),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.integers(0, 3),
    st.integers(1, 4),
    st.lists(st.integers(0, 2), min_size=6, max_size=6),
    st.sets(st.integers(0, 5), max_size=2),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(lanes, min_size=1, max_size=2))
def test_no_way_is_cheaper(tracks):
    slots = slots_of(tracks, PERIOD)
    ways = itertools.product(range(len(tracks) + 1), repeat=len(slots))
    best = min((c for c in (cost(tracks, slots, way) for way in ways) if c is not None), default=0)
    pieces = plan(tracks, PERIOD)
    taken = frames(tracks, pieces)
    assert len(taken) == len(slots) - best // MISSING
    for before, piece in zip([None, *pieces], pieces, strict=False):
        one = tracks[piece.track]
        goes_on = before is not None and before.track == piece.track and before.last + 1 == piece.first
        assert one.key[piece.first] or (goes_on and one.follows[piece.first])
        assert all(one.follows[i] or one.key[i] for i in range(piece.first + 1, piece.last + 1))
    wanted = {i: max((tracks[t].rank[f] for t, f in enumerate(s) if f >= 0), default=0) for i, s in enumerate(slots)}
    where = {(t, f): i for i, s in enumerate(slots) for t, f in enumerate(s) if f >= 0}
    price = sum(
        NOT_PREFERRED
        for piece in pieces
        for f in range(piece.first, piece.last + 1)
        if tracks[piece.track].rank[f] < wanted[where[piece.track, f]]
    )
    assert price <= best % MISSING


@given(st.lists(lanes, min_size=1, max_size=3))
def test_every_exposure_is_shown_or_stranded(tracks):
    slots = slots_of(tracks, PERIOD)
    pieces = plan_slots(tracks, slots)
    alone = stranded(tracks, slots, pieces)
    shown = sum(piece.last + 1 - piece.first for piece in pieces)
    empty = sum(all(index < 0 or index in alone[t] for t, index in enumerate(slot)) for slot in slots)
    assert shown + empty == len(slots)


@given(st.lists(lanes, min_size=1, max_size=3))
def test_times_rise(tracks):
    pieces = plan(tracks, PERIOD)
    times = [tracks[p.track].ptp_ns[i] for p in pieces for i in range(p.first, p.last + 1)]
    assert all(a < b for a, b in itertools.pairwise(times))
