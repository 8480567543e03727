"""Which node's pictures make the match: the fewest missing, the active node's before the standby's. Pure.

Time is cut into slots, one an exposure, whoever has a picture of it. For each slot one lane (a node's recording) is
taken, or none. From one lane to another it goes only at the other's key frame, as nothing is encoded again. Dynamic
programming finds the cheapest way: a slot without a picture costs more than anything, a picture that the preferred
lane has too costs 1, a change of lane 3. Preferred is, in each slot, the active node with the highest epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MISSING: Final = 10**9
NOT_PREFERRED: Final = 1
SWITCH: Final = 3


@dataclass(frozen=True, slots=True)
class Track:
    """A lane as the plan needs it; all of one length, times rising.

    ``follows``: can be decoded right after the picture before it; ``rank``: the epoch + 1 of the active node, else 0.
    """

    ptp_ns: Sequence[int]
    key: Sequence[bool]
    follows: Sequence[bool]
    rank: Sequence[int]


@dataclass(frozen=True, slots=True)
class Piece:
    """Pictures ``first`` .. ``last`` (both in) of one track."""

    track: int
    first: int
    last: int


def slots_of(tracks: Sequence[Track], period_ns: int) -> list[list[int]]:
    """For each slot the number of each track's picture in it, -1 where it has none."""
    half_ns = period_ns // 2
    every = sorted((time, track, index) for track, one in enumerate(tracks) for index, time in enumerate(one.ptp_ns))
    slots: list[list[int]] = []
    begin_ns = 0
    for time, track, index in every:
        if not slots or time - begin_ns > half_ns or slots[-1][track] >= 0:
            slots.append([-1] * len(tracks))
            begin_ns = time
        slots[-1][track] = index
    return slots


def plan(tracks: Sequence[Track], slots: Sequence[Sequence[int]]) -> list[Piece]:
    """The pieces of the match in their order; every one begins with a key frame or goes on from the one before it."""
    way = _cheapest(tracks, slots)
    pieces: list[Piece] = []
    for slot, track in zip(slots, way, strict=True):
        index = slot[track] if track < len(tracks) else -1
        if index < 0:
            continue
        last = pieces[-1] if pieces else None
        if last is not None and last.track == track and last.last == index - 1 and tracks[track].follows[index]:
            pieces[-1] = Piece(track, last.first, index)
        else:
            pieces.append(Piece(track, index, index))
    return pieces


def stranded(tracks: Sequence[Track], slots: Sequence[Sequence[int]], pieces: Sequence[Piece]) -> list[list[int]]:
    """For each track its pictures of exposures that no piece holds: nobody can decode one of them."""
    taken = [bytearray(len(track.ptp_ns)) for track in tracks]
    for piece in pieces:
        taken[piece.track][piece.first : piece.last + 1] = b"\1" * (piece.last + 1 - piece.first)
    found: list[list[int]] = [[] for _ in tracks]
    for slot in slots:
        there = [(track, index) for track, index in enumerate(slot) if index >= 0]
        if not any(taken[track][index] for track, index in there):
            for track, index in there:
                found[track].append(index)
    return found


def _cheapest(tracks: Sequence[Track], slots: Sequence[Sequence[int]]) -> list[int]:
    """For each slot the track that is decoded there; ``len(tracks)``: none."""
    count = len(tracks)
    nothing = count
    costs = [MISSING * (len(slots) + 1)] * count + [0]
    came_from: list[bytes] = []
    for slot in slots:
        best = min(costs)
        cheapest = costs.index(best)
        wanted = max((tracks[t].rank[i] for t, i in enumerate(slot) if i >= 0), default=0)
        after, back = [0] * (count + 1), bytearray(count + 1)
        for track, index in enumerate(slot):
            cost, origin = costs[track], track
            if index < 0:  # it has no picture here; its decoder waits for the next
                after[track], back[track] = cost + MISSING, origin
                continue
            one = tracks[track]
            if not one.follows[index]:
                cost = MISSING * (len(slots) + 1)
            if one.key[index]:
                for other, price in ((cheapest, best + SWITCH), (nothing, costs[nothing]), (track, costs[track])):
                    if price < cost:
                        cost, origin = price, other
            after[track] = cost + (NOT_PREFERRED if one.rank[index] < wanted else 0)
            back[track] = origin
        after[nothing], back[nothing] = best + MISSING, cheapest
        costs = after
        came_from.append(bytes(back))
    state = costs.index(min(costs))
    way = []
    for origins in reversed(came_from):
        way.append(state)
        state = origins[state]
    return way[::-1]
