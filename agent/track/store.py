"""The tracks as a structure of arrays: fixed capacity, the first ``count`` columns are alive, in order of birth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agent.track.filter import F64, KINEMATIC, Bools

I64 = npt.NDArray[np.int64]


class Row:
    """Rows of a store's table."""

    PLACE = slice(0, 2)
    """x, y [m]"""
    SPEED = slice(2, 4)
    """vx, vy [m/s]"""
    PUSH = slice(4, 6)
    """ax, ay [m/s2]"""
    MOTION = slice(0, 6)
    SPREAD = slice(6, 9)
    """var x, var y, cov xy [m2] of the position that the gate uses, set at association"""
    LAST = slice(9, 16)
    """what is known of the last detection, rows as in :data:`agent.track.observe.LAST`:"""
    BOX = slice(9, 13)
    """x1, y1, x2, y2 [px], moved on by its drift since"""
    CLASS, INDEX, SEEN_S = 13, 14, 15
    """class, index in its frame, time"""
    DRIFT = slice(16, 18)
    """velocity of the box [px/s]"""
    TALL, TALL_VAR = 18, 19
    """height above the grass [m] and its variance [m2]"""
    BORN_S = 20
    """time of the first detection"""
    HITS = 21
    """detections so far"""
    PATIENCE = slice(22, 25)
    END_S, BEND_S, HIDE_S = 22, 23, 24
    """how long unseen until the track ends, moves in a straight line, is no longer given out [s]"""
    NUMBER = 25


class Store:
    """State of every track; column i of the table and entry i of the arrays belong to the same track.

    Attributes:
        count: tracks alive. tentative: those of them without an id yet.
        table: (25, capacity) float64, rows as named in :class:`Row`.
        cov: (capacity, 6, 6) covariance of x, y, vx, vy, ax, ay.
        ids: (capacity,) int64, 0 while unconfirmed.
        straight: (capacity,) in straight-line motion after an occlusion (POS-4).
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.count = 0
        self.tentative = 0
        self.table: F64 = np.zeros((Row.NUMBER, capacity))
        self.cov: F64 = np.zeros((capacity, KINEMATIC, KINEMATIC))
        self.ids: I64 = np.zeros(capacity, dtype=np.int64)
        self.straight: Bools = np.zeros(capacity, dtype=np.bool_)

    def clear(self) -> None:
        """Drop every track."""
        self.count = self.tentative = 0

    def keep(self, alive: Bools) -> None:
        """Drop the tracks i < count whose ``alive[i]`` is false, the order of the others stays; recount the rest."""
        index = alive.nonzero()[0]
        kept = len(index)
        if kept < self.count:
            self.table[:, :kept] = self.table[:, index]
            for array in (self.cov, self.ids, self.straight):
                array[:kept] = array[index]
            self.count = kept
        self.tentative = kept - int(np.count_nonzero(self.ids[:kept]))

    def add(self, number: int) -> slice:
        """Make room for ``number`` new tracks, which must fit, and return their cleared places."""
        place = slice(self.count, self.count + number)
        self.count += number
        self.tentative += number
        self.table[:, place] = 0.0
        for array in (self.cov, self.ids, self.straight):
            array[place] = 0
        return place
