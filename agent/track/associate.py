"""Which detection belongs to which track: costs in squared sigmas, then two stages of optimal assignment.

Only pairs within reach of each other are worked out: of the 625 pairs of 25 people on a pitch some forty are left, and
every array below has that length.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from lap import lapjv

from agent.track.filter import F64, Bools
from agent.track.observe import CLASS, DET, HEIGHT, PLACE, SPREAD, VAR_X, VAR_Y, WIDTH, X1, X2
from agent.track.store import I64, Row

BLOCKED = 1e3
"""Cost of a pair outside the gate: above any pair inside, so that as many pairs as possible are made inside."""
_REACH_CHI2 = 200.0
"""Pairs farther apart than this many squared sigmas are not looked at, not even for their overlap."""


class Pairs(NamedTuple):
    """Tracks and detections within reach of each other.

    Attributes:
        place: (k,) increasing, track index times number of detections plus detection index.
        track, detection: (k,) the two indices.
        distance: (k,) squared Mahalanobis distance on the ground, chi-square with two degrees of freedom.
        doubt: (k,) ln(det S): with it the distance becomes a likelihood, so a vague track does not win by vagueness.
        overlap: (k,) intersection over union of the predicted and the detected box.
        changed: (k,) whether the track was last seen as another class.
    """

    place: I64
    track: I64
    detection: I64
    distance: F64
    doubt: F64
    overlap: F64
    changed: Bools


def pair_up(tracks: F64, table: F64) -> Pairs:
    """Every pair within reach.

    Args:
        tracks: (25, n) as in :class:`agent.track.store.Row`. table: detections (18, m).
    """
    width = table.shape[1]
    delta = table[PLACE, None] - tracks[Row.PLACE, :, None]
    delta *= delta
    reach = (tracks[6] + tracks[7])[:, None] + (table[VAR_X] + table[VAR_Y])
    reach *= _REACH_CHI2
    reach -= delta[0]
    place = (delta[1] < reach).ravel().nonzero()[0]
    row = place // width
    column = place - row * width
    track = tracks[: Row.CLASS + 1].take(row, axis=1)
    seen = table[:DET].take(column, axis=1)
    dx, dy = seen[PLACE] - track[Row.PLACE]
    var_x, var_y, cov = seen[SPREAD] + track[Row.SPREAD]
    det = var_x * var_y - cov * cov
    cov *= dx
    distance = (var_y * dx * dx + (var_x * dy - 2.0 * cov) * dy) / det
    side = np.minimum(seen[X2:CLASS], track[11:13])
    side -= np.maximum(seen[:X2], track[9:11])
    np.maximum(side, 0.0, out=side)
    shared = side[0] * side[1]
    size = track[11:13] - track[9:11]
    overlap = shared / (size[0] * size[1] + seen[WIDTH] * seen[HEIGHT] - shared)
    return Pairs(place, row, column, distance, np.log(det), overlap, track[Row.CLASS] != seen[CLASS])


def overlaps(one: F64, table: F64) -> F64:
    """Intersection over union of one detection (column of the table) with each column of ``table``: (m,)."""
    shared = shared_area(one, table)
    return np.asarray(shared / (one[WIDTH] * one[HEIGHT] + table[WIDTH] * table[HEIGHT] - shared))


def shared_area(one: F64, table: F64) -> F64:
    """Intersection [px2] of one detection (column of the table) with each column of ``table``: (m,)."""
    side = np.minimum(one[X2:CLASS, None], table[X2:CLASS]) - np.maximum(one[X1:X2, None], table[X1:X2])
    return np.asarray(np.maximum(side, 0.0).prod(axis=0))


def assign(cost: F64, high: Bools) -> I64:
    """Two stages: high-score detections against all tracks, then the others against the tracks left over.

    Args:
        cost: (n, m), ``BLOCKED`` where a pair is not allowed. high: (m,) detections of the first stage.

    Returns:
        The detection of each track (n,), -1 for none.
    """
    column = np.full(len(cost), -1, dtype=np.int64)
    if np.count_nonzero(high) == len(high):
        rows, columns = _solve(cost)
        column[rows] = columns
        return column
    first = high.nonzero()[0]
    rows, columns = _solve(cost.take(first, axis=1))
    column[rows] = first.take(columns)
    left = (column < 0).nonzero()[0]
    if len(left):
        second = (~high).nonzero()[0]
        rows, columns = _solve(cost.take(left, axis=0).take(second, axis=1))
        column[left.take(rows)] = second.take(columns)
    return column


def _solve(cost: F64) -> tuple[I64, I64]:
    """The cheapest pairs: Jonker-Volgenant of lapx, which loads in 15 ms where SciPy's optimisers take 0.4 s."""
    column = lapjv(np.ascontiguousarray(cost), extend_cost=True, return_cost=False)[0]
    rows = (column >= 0).nonzero()[0]
    columns = column.take(rows)
    made = cost[rows, columns] < BLOCKED
    return rows[made], columns[made]
