"""One frame's detections as one float64 table, with what cannot be used taken out and counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.track.filter import F64, Bools
from touchline.config import TrackSection

X1, Y1, X2, Y2, CLASS, INDEX, TIME_S, X, Y, VAR_X, VAR_Y, COV_XY, WIDTH, HEIGHT, DET, SCORE, TALL, TALL_VAR = range(18)
"""Rows of the table: box edges [px], class, place in the caller's arrays, time of the frame [s], ground position [m],
its covariance [m2], box size [px], determinant of the covariance, score, height above the grass [m] and its variance
[m2], which is ``UNKNOWN_VAR`` where the height was not measured."""
BOX = slice(X1, CLASS)
LAST = slice(X1, X)
"""What a track keeps of its last detection."""
PLACE = slice(X, VAR_X)
SPREAD = slice(VAR_X, WIDTH)
UNKNOWN_VAR = 1e12
ROWS = 18
_COV_PLACES = np.array([0, 3, 1])
"""Places of var x, var y, cov xy in a flattened (2, 2)."""
_LEAST_ROUND = 1.0 - 1e-6
"""A covariance whose correlation squared exceeds this is no covariance, or too near none to be inverted safely."""
_PIXEL_LIMIT = 1e6
_SIZES_PX = (1e-3, 1e5)
_PITCH_LIMIT_M = 1e4
_HEIGHT_LIMIT_M = 10.0


@dataclass(slots=True)
class Counters:
    """What the tracker did since it was made; plain totals for ``/metrics``."""

    frames: int = 0
    frames_refused: int = 0
    """Frames whose time was not finite or not after the frame before."""
    resets: int = 0
    """New starts after a gap, or a step back of the clock, longer than ``lost_buffer_s``."""
    dropped_not_finite: int = 0
    dropped_bad_box: int = 0
    """Boxes of no or negative size, or far outside any picture."""
    dropped_off_pitch: int = 0
    """Ground position beyond the limit or more uncertain than ``position_limit_m`` (at or above the horizon)."""
    dropped_low_score: int = 0
    dropped_surplus: int = 0
    """Detections beyond ``max_detections`` or tracks beyond ``max_tracks``."""
    tracks_started: int = 0
    tracks_confirmed: int = 0
    tracks_rejoined: int = 0
    """New tracks that were recognised as a lost one and took its id back."""
    tracks_ended: int = 0
    duplicates_suppressed: int = 0


@dataclass(frozen=True, slots=True)
class Located:
    """Detections of one frame with their ground positions: the tracker's input.

    Attributes:
        boxes: (n, 4) x1, y1, x2, y2 source pixels. scores: (n,) 0..1. classes: (n,).
        xy_m: (n, 2) ground positions on the pitch. cov_m2: (n, 2, 2) their covariances.
        height_m: (n,) measured heights above the grass, NaN where unknown.
    """

    boxes: npt.NDArray[np.floating]
    scores: npt.NDArray[np.floating]
    classes: npt.NDArray[np.integer]
    xy_m: npt.NDArray[np.floating]
    cov_m2: npt.NDArray[np.floating]
    height_m: npt.NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.boxes)


class Intake:
    """Checks and tabulates detections. Never raises on values, whatever they are; shapes must agree."""

    def __init__(self, config: TrackSection, counters: Counters) -> None:
        self._counters = counters
        self._most = config.max_detections
        self._height_var = config.height_sigma_m**2
        self._height_prior_m = config.height_prior_m
        self._floor_m2 = config.position_floor_m**2
        self._order = np.arange(config.max_detections, dtype=np.float64)
        variance = config.position_limit_m**2 + self._floor_m2
        low, high = np.full((ROWS, 1), -np.inf), np.full((ROWS, 1), np.inf)
        low[BOX], high[BOX] = -_PIXEL_LIMIT, _PIXEL_LIMIT
        low[PLACE], high[PLACE] = -_PITCH_LIMIT_M, _PITCH_LIMIT_M
        low[[VAR_X, VAR_Y]], high[[VAR_X, VAR_Y]] = 0.0, variance
        low[COV_XY], high[COV_XY] = -variance, variance
        low[[WIDTH, HEIGHT]], high[[WIDTH, HEIGHT]] = _SIZES_PX
        low[DET] = 0.0
        low[SCORE], high[SCORE] = np.nextafter(config.low_score, -1.0), 1.0 + 1e-6
        low[TALL], high[TALL] = 0.0, _HEIGHT_LIMIT_M
        self._low, self._high = low, high

    def tabulate(self, located: Located, time_s: float) -> F64:
        """Table (18, m) float64 of the usable detections; each column one detection."""
        count = len(located)
        table = np.empty((ROWS, count))
        table[BOX] = located.boxes.T
        table[CLASS] = located.classes
        table[TIME_S] = time_s
        table[PLACE] = located.xy_m.T
        table[SPREAD] = located.cov_m2.reshape(count, 4).T.take(_COV_PLACES, axis=0)
        table[SCORE] = located.scores
        table[TALL] = located.height_m
        table[TALL_VAR] = self._height_var
        table[VAR_X:COV_XY] += self._floor_m2
        with np.errstate(all="ignore"):
            np.subtract(table[X2:CLASS], table[X1:X2], out=table[WIDTH:DET])
            np.multiply(table[VAR_X], table[VAR_Y], out=table[DET])
            table[DET] *= _LEAST_ROUND
            table[DET] -= table[COV_XY] * table[COV_XY]
        few = count <= self._most
        table[INDEX] = self._order[:count] if few else np.arange(count)
        good = (table > self._low) & (table < self._high)  # NaN compares false
        if few and np.count_nonzero(good) == good.size:
            return table
        known = good[TALL]
        table[TALL, ~known] = self._height_prior_m
        table[TALL_VAR, ~known] = UNKNOWN_VAR
        good[TALL] = True
        usable = np.logical_and.reduce(good)
        return table if usable.all() and few else self._reduce(table, good, usable)

    def _reduce(self, table: F64, good: Bools, usable: Bools) -> F64:
        """Take the unusable columns out and count them by their first reason."""
        counters = self._counters
        bad = ~usable
        finite = np.isfinite(table[:, bad]).all(axis=0)
        boxed = good[BOX][:, bad].all(axis=0) & good[WIDTH:DET][:, bad].all(axis=0)
        placed = good[X:WIDTH][:, bad].all(axis=0) & good[DET, bad]
        counters.dropped_not_finite += int(np.count_nonzero(~finite))
        counters.dropped_bad_box += int(np.count_nonzero(finite & ~boxed))
        counters.dropped_off_pitch += int(np.count_nonzero(finite & boxed & ~placed))
        counters.dropped_low_score += int(np.count_nonzero(finite & boxed & placed))
        index = usable.nonzero()[0]
        if len(index) > self._most:
            counters.dropped_surplus += len(index) - self._most
            best = np.argsort(-table[SCORE, index], kind="stable")[: self._most]
            index = np.sort(index[best])
        return table.take(index, axis=1)
