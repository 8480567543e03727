"""The tracker: detections with ground positions in, followed people with metric motion out (INF-3, POS-2..POS-4).

Pure: time is an argument, nothing is logged, read or written here. One tracker follows one camera.
"""

from __future__ import annotations

import math

import numpy as np

from agent.track.associate import BLOCKED, Pairs, assign, pair_up
from agent.track.filter import F64, Bools, Motion, correct, correct_scalar, predict
from agent.track.lifecycle import Lifecycle
from agent.track.observe import (
    BOX,
    COV_XY,
    LAST,
    PLACE,
    SCORE,
    TALL,
    TALL_VAR,
    TIME_S,
    VAR_X,
    VAR_Y,
    Counters,
    Intake,
    Located,
)
from agent.track.store import I64, Row, Store
from agent.track.tracks import Tracks, no_tracks
from touchline.config import TrackSection

_DRIFT_MEMORY_S = 0.25
"""Twice the time constant of the smoothed pixel velocity of a box, which only serves the overlap of the next frames."""
_NOISE_ROWS = np.array([VAR_X, COV_XY, COV_XY, VAR_Y])
_SPREAD = np.array([0, 7, 1])
"""Places of var x, var y, cov xy in a flattened (6, 6)."""


class Tracker:
    """Two-stage association in metres with box overlap beside it, over the batched filter of POS-3."""

    def __init__(self, config: TrackSection | None = None) -> None:
        self.config = config = config or TrackSection()
        self._counters = Counters()
        self._intake = Intake(config, self._counters)
        self._motion = Motion(config.jerk_density)
        self._store = Store(config.max_tracks)
        self._lifecycle = Lifecycle(config, self._store, self._counters)
        self._time_s = -math.inf
        self._gate = config.gate_chi2
        disc_m2 = config.occlusion_gate_m**2 / config.gate_chi2
        self._disc = np.array([[disc_m2], [disc_m2], [0.0]])
        self._height_drift_m2 = config.height_drift_m**2

    @property
    def counters(self) -> Counters:
        """Totals since the tracker was made (live object, read only)."""
        return self._counters

    def reset(self) -> None:
        """Forget every track. Ids go on growing."""
        self._counters.tracks_ended += self._store.count
        self._counters.resets += 1
        self._store.clear()
        self._time_s = -math.inf

    def update(self, time_s: float, located: Located) -> Tracks:
        """Follow one frame.

        Args:
            time_s: exposure time of the frame, seconds on one steady clock; must grow. PTP seconds (1.8e9) resolve
                0.24 us in float64, which is enough.
            located: the frame's detections with ground positions, see :mod:`agent.track.ground`.

        Returns:
            The published tracks. Empty for a frame whose time is not after the last one: it is counted and ignored.
            A gap, or a step back, longer than ``lost_buffer_s`` ends all tracks and starts anew at this frame.
        """
        if not self._advance(time_s):
            return no_tracks()
        seen = self._intake.tabulate(located, time_s)
        column = self._match(seen)
        matched = column >= 0
        if np.count_nonzero(matched) < seen.shape[1]:
            self._lifecycle.start(seen, column[matched], time_s)
        self._lifecycle.retire(time_s)
        self._lifecycle.confirm(time_s)
        return self._publish(time_s)

    def _advance(self, time_s: float) -> bool:
        """Predict every track to ``time_s``; false if the frame's time cannot be used."""
        step_s = time_s - self._time_s
        if not (math.isfinite(time_s) and (step_s > 0.0 or step_s < -self.config.lost_buffer_s)):
            self._counters.frames_refused += 1
            return False
        if abs(step_s) > self.config.lost_buffer_s and self._time_s != -math.inf:
            self.reset()
        self._counters.frames += 1
        self._time_s = time_s
        store = self._store
        count = store.count
        if count:
            matrix, noise = self._motion.step(step_s)
            tracks = store.table[:, :count]
            tracks[Row.MOTION] = matrix @ tracks[Row.MOTION]
            tracks[Row.TALL_VAR] += self._height_drift_m2 * step_s
            box = tracks[Row.BOX].reshape(2, 2, count)
            box += tracks[Row.DRIFT] * step_s
            predict(store.cov[:count], matrix, noise)
        return True

    def _match(self, seen: F64) -> I64:
        """Associate and correct; the column of ``seen`` of every track, -1 for none."""
        store = self._store
        count = store.count
        if not count or not seen.shape[1]:
            return np.full(count, -1, dtype=np.int64)
        tracks = store.table[:, :count]
        tracks[Row.SPREAD] = store.cov.reshape(-1, 36)[:count].take(_SPREAD, axis=1).T
        straight = store.straight[:count]
        if np.count_nonzero(straight):
            tracks[Row.SPREAD, straight] = self._disc
        pairs = pair_up(tracks, seen)
        cost, stretched = self._costs(pairs, (count, seen.shape[1]))
        column = assign(cost, seen[SCORE] >= self.config.high_score)
        excess = self._excess(pairs, stretched, column) if np.count_nonzero(stretched) else None
        self._correct(column, seen, excess)
        return column

    def _costs(self, pairs: Pairs, shape: tuple[int, int]) -> tuple[F64, Bools]:
        """Cost of each pair (n, m): squared sigmas, less for overlapping boxes; blocked outside the gate.

        A pair of different classes counts as outside: only a box in the same place may change its class.

        Also which pairs (k,) are let in by their overlap alone.
        """
        config = self.config
        cost = np.minimum(pairs.distance, self._gate)
        cost += pairs.doubt
        cost -= config.overlap_weight * pairs.overlap
        outside = pairs.distance > self._gate
        outside |= pairs.changed
        overlapping = pairs.overlap >= config.overlap_gate
        cost[outside > overlapping] = BLOCKED
        costs = np.full(shape, BLOCKED)
        costs.ravel()[pairs.place] = cost
        return costs, outside & overlapping

    def _excess(self, pairs: Pairs, stretched: Bools, column: I64) -> F64:
        """How many times (n,) a matched pair is beyond the gate; 1 inside it. Such feet are bad: legs are hidden."""
        index = stretched.nonzero()[0]
        index = index[column.take(pairs.track.take(index)) == pairs.detection.take(index)]
        excess = np.ones(len(column))
        excess[pairs.track.take(index)] = np.maximum(pairs.distance.take(index) / self._gate, 1.0)
        return excess

    def _correct(self, column: I64, seen: F64, excess: F64 | None) -> None:
        """Take the detections in; tracks without one stay as they are. Bad feet weigh less: their noise is raised."""
        store = self._store
        tracks, cov = store.table[:, : store.count], store.cov[: store.count]
        picked = seen.take(column, axis=1)  # -1 takes the last column, which is then not used
        used = column >= 0
        noise = picked.take(_NOISE_ROWS, axis=0)
        if excess is not None:
            noise *= excess
        innovation = picked[PLACE] - tracks[Row.PLACE]
        correct(tracks[Row.MOTION], cov, innovation, noise.T.reshape(-1, 2, 2), used)
        correct_scalar(tracks[Row.TALL], tracks[Row.TALL_VAR], picked[TALL], picked[TALL_VAR], used)
        moved = picked[BOX] - tracks[Row.BOX]
        drift = moved[:2] + moved[2:]
        drift *= used / (picked[TIME_S] + _DRIFT_MEMORY_S - tracks[Row.SEEN_S])
        tracks[Row.DRIFT] += drift
        tracks[Row.HITS] += used
        np.copyto(tracks[Row.LAST], picked[LAST], where=used)
        straight = store.straight[: store.count]
        straight &= ~used

    def _publish(self, time_s: float) -> Tracks:
        store = self._store
        count = store.count
        shown = store.ids[:count] > 0
        shown &= store.table[Row.HIDE_S, :count] >= time_s - store.table[Row.SEEN_S, :count]
        index = shown.nonzero()[0]
        return Tracks(time_s, store.table.take(index, axis=1), store.cov.take(index, axis=0), store.ids.take(index))
