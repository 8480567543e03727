"""Birth, confirmation, rejoining and end of tracks: where ghosts are kept out (POS-4). None of it is the hot path."""

from __future__ import annotations

import numpy as np

from agent.track.associate import overlaps, shared_area
from agent.track.filter import F64, Bools
from agent.track.observe import COV_XY, HEIGHT, LAST, PLACE, SCORE, TALL, TALL_VAR, VAR_X, VAR_Y, WIDTH, Counters
from agent.track.store import I64, Row, Store
from touchline.config import TrackSection

_CROUCHED_M = 1.2
"""A box inside a followed person's box and lower than this is taken for a part of that person."""
_PART_OVERLAP = 0.9
_ROUNDING_S = 1e-6
"""Allowance for times that are sums of frame periods: a limit met exactly is not passed."""


class Lifecycle:
    """Adds, confirms, joins and drops tracks of a store."""

    def __init__(self, config: TrackSection, store: Store, counters: Counters) -> None:
        self._config = config
        self._store = store
        self._counters = counters
        self._next_id = 1
        self._new_patience = np.array([[config.tentative_buffer_s], [config.occlusion_s], [0.0]]) + _ROUNDING_S
        self._patience = np.array([config.lost_buffer_s, config.occlusion_s, config.publish_coast_s]) + _ROUNDING_S

    def start(self, seen: F64, matched: I64, time_s: float) -> None:
        """Start unconfirmed tracks from good detections that no track took, unless they repeat one that was taken."""
        free = seen[SCORE] >= self._config.spawn_score
        free[matched] = False
        candidates = free.nonzero()[0]
        if not len(candidates):
            return
        candidates = candidates[np.argsort(-seen[SCORE, candidates], kind="stable")]
        chosen: list[int] = []
        for candidate in candidates.tolist():
            if self._repeats(seen, candidate, np.append(matched, np.array(chosen, dtype=np.int64))):
                self._counters.duplicates_suppressed += 1
            else:
                chosen.append(candidate)
        room = self._store.capacity - self._store.count
        if len(chosen) > room:
            self._counters.dropped_surplus += len(chosen) - room
            chosen = chosen[:room]
        if chosen:
            self._add(seen, np.array(chosen, dtype=np.int64), time_s)

    def _repeats(self, seen: F64, candidate: int, others: I64) -> bool:
        """Whether a detection is a second box, or a part, of a person that another detection already stands for."""
        if not len(others):
            return False
        one = seen[:, candidate]
        rest = seen.take(others, axis=1)
        if np.count_nonzero(overlaps(one, rest) >= self._config.duplicate_overlap):
            return True
        if not seen[TALL, candidate] < _CROUCHED_M:
            return False
        inside = shared_area(one, rest) >= _PART_OVERLAP * one[WIDTH] * one[HEIGHT]
        return bool(np.count_nonzero(inside))

    def _add(self, seen: F64, columns: I64, time_s: float) -> None:
        config, store = self._config, self._store
        place = store.add(len(columns))
        picked = seen.take(columns, axis=1)
        table, cov = store.table[:, place], store.cov[place]
        table[Row.PLACE] = picked[PLACE]
        table[Row.LAST] = picked[LAST]
        cov[:, 0, 0], cov[:, 1, 1] = picked[VAR_X], picked[VAR_Y]
        cov[:, 0, 1] = cov[:, 1, 0] = picked[COV_XY]
        cov[:, (2, 3), (2, 3)] = config.initial_speed_mps**2
        cov[:, (4, 5), (4, 5)] = config.initial_acceleration_mps2**2
        table[Row.TALL] = picked[TALL]
        table[Row.TALL_VAR] = np.minimum(picked[TALL_VAR], config.height_prior_sigma_m**2)
        table[Row.BORN_S] = time_s
        table[Row.HITS] = 1.0
        table[Row.PATIENCE] = self._new_patience
        self._counters.tracks_started += len(columns)

    def retire(self, time_s: float) -> None:
        """End tracks unseen for too long; let those unseen for a while move in a straight line (POS-4)."""
        store = self._store
        tracks = store.table[:, : store.count]
        due = tracks[Row.END_S : Row.HIDE_S] < time_s - tracks[Row.SEEN_S]
        if not np.count_nonzero(due):
            return
        ended, bend = due
        bend &= ~store.straight[: store.count]
        bend &= ~ended
        if np.count_nonzero(bend):
            self._straighten(bend.nonzero()[0])
        number = int(np.count_nonzero(ended))
        if number:
            self._counters.tracks_ended += number
            store.keep(~ended)

    def _straighten(self, index: I64) -> None:
        """Constant velocity from here on: acceleration is zero, and unknown again for when the person reappears."""
        store = self._store
        store.table[Row.PUSH, index] = 0.0
        store.cov[index, 4:, :] = 0.0
        store.cov[index, :, 4:] = 0.0
        for state in (4, 5):
            store.cov[index, state, state] = self._config.initial_acceleration_mps2**2
        store.straight[index] = True

    def confirm(self, time_s: float) -> None:
        """Give ids to tracks with enough detections: a lost track's own if one was near enough, else a new one."""
        store = self._store
        if not store.tentative:
            return
        ready = store.table[Row.HITS, : store.count] >= self._config.confirm_hits
        ready &= store.ids[: store.count] == 0
        if not np.count_nonzero(ready):
            return
        gone = np.zeros(store.count, dtype=np.bool_)
        for track in ready.nonzero()[0].tolist():
            lost = self._lost_self(track, gone, time_s)
            if lost is None:
                store.ids[track] = self._next_id
                self._next_id += 1
                self._counters.tracks_confirmed += 1
            else:
                self._join(track, lost)
                gone[lost] = True
                self._counters.tracks_rejoined += 1
            store.table[Row.PATIENCE, track] = self._patience
        store.keep(~gone)

    def _lost_self(self, track: int, gone: Bools, time_s: float) -> int | None:
        """The nearest lost track, inside its full chi-square gate, last seen before ``track`` was first seen."""
        store = self._store
        count = store.count
        open_ = (store.ids[:count] > 0) & (store.table[Row.SEEN_S, :count] < time_s) & ~gone
        open_ &= store.table[Row.SEEN_S, :count] < store.table[Row.BORN_S, track]
        lost = open_.nonzero()[0]
        if not len(lost):
            return None
        apart = store.table[Row.PLACE, lost].T - store.table[Row.PLACE, track]
        total = store.cov[lost, :2, :2] + store.cov[track, :2, :2]
        distance = np.einsum("ij,ij->i", apart, np.linalg.solve(total, apart[:, :, None])[:, :, 0])
        best = int(np.argmin(distance))
        return int(lost[best]) if distance[best] <= self._config.gate_chi2 else None

    def _join(self, track: int, lost: int) -> None:
        """``track`` goes on as ``lost``: its id, its age and its better-known height."""
        store = self._store
        store.ids[track] = store.ids[lost]
        old, new = store.table[:, lost], store.table[:, track]
        new[Row.BORN_S] = old[Row.BORN_S]
        new[Row.HITS] += old[Row.HITS]
        share = new[Row.TALL_VAR] / (new[Row.TALL_VAR] + old[Row.TALL_VAR])
        new[Row.TALL] += share * (old[Row.TALL] - new[Row.TALL])
        new[Row.TALL_VAR] *= 1.0 - share
