"""Several cameras on one PTP timeline, waiting no longer than a bound (CLK-3).

Camera frames whose exposures lie within half a frame period form one moment. A moment is complete when every camera
that is alive has delivered, and is given out when complete or when its wait is over, in time order. What comes after
that is late: counted, stored by others, never shown as live. Within a moment, dots of different cameras closer than a
gate are one person.

A node that is not aligned (:mod:`aggregator.core.align`) has a timeline of its own. Its frames are grouped by their
stamps like all others, for the picture must not lose half a pitch over a clock; but its dots are never merged with
those of another timeline: a person seen twice is plain to see, two people made one over a wrong time are not. And while
aligned frames flow, frames of such a node that lie too far from them to be shown in time are left out and counted: a
clock that is seconds ahead would else make every true frame late.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

_ALIVE_NS: Final = 1_000_000_000  # a camera that sent nothing for so long is not waited for
_STEP_BACK_NS: Final = 2_000_000_000
_MAX_MOMENTS: Final = 256


@dataclass(frozen=True, slots=True)
class Dots:
    """People (or the ball) at one moment, as arrays of n rows.

    ``xy_m`` (n, 2), ``v_mps`` (n, 2), ``predicted`` (n,) bool, ``kind`` (n,) class number, ``player`` (n, 16) UUID
    bytes, ``cameras``: per row the cameras that saw it. ``timelines``: per row "" for the site's timeline, or the name
    of the node that is not aligned and whose own it is.
    """

    ptp_ns: int
    xy_m: NDArray[np.float64]
    v_mps: NDArray[np.float64]
    predicted: NDArray[np.bool_]
    kind: NDArray[np.uint8]
    player: NDArray[np.uint8]
    cameras: list[tuple[int, ...]]
    timelines: list[str]

    def __len__(self) -> int:
        return len(self.xy_m)


@dataclass(slots=True)
class _Moment:
    ptp_ns: int
    opened_ns: int
    by_camera: dict[int, list[Dots]] = field(default_factory=dict)

    @property
    def timelines(self) -> set[str]:
        """The timelines of its frames."""
        return {part.timelines[0] for parts in self.by_camera.values() for part in parts}


@dataclass(slots=True)
class _OwnTime:
    """A node with a timeline of its own: when a frame of it was last shown and last left out, monotonic ns."""

    shown_ns: int = -(1 << 62)
    left_out_ns: int = -(1 << 62)


def dots_of(records: NDArray[np.void], timeline: str = "") -> Dots:
    """Return the dots of one camera frame's records, of a node with this timeline."""
    camera = int(records["camera"][0])
    flags = records["flags"]
    return Dots(
        ptp_ns=int(records["ptp_ns"][0]),
        xy_m=np.stack([records["x_m"], records["y_m"]], axis=1),
        v_mps=np.stack([records["vx_mps"], records["vy_mps"]], axis=1),
        predicted=(flags & 1).astype(np.bool_),
        kind=np.asarray(flags >> 4, np.uint8),
        player=np.array(records["player"]),
        cameras=[(camera,)] * len(records),
        timelines=[timeline] * len(records),
    )


def join(parts: list[Dots], ptp_ns: int) -> Dots:
    """Put several cameras' dots at one time: each is moved along its velocity to ``ptp_ns``."""
    moved = [p.xy_m + p.v_mps * ((ptp_ns - p.ptp_ns) / 1e9) for p in parts]
    return Dots(
        ptp_ns,
        np.concatenate(moved),
        np.concatenate([p.v_mps for p in parts]),
        np.concatenate([p.predicted for p in parts]),
        np.concatenate([p.kind for p in parts]),
        np.concatenate([p.player for p in parts]),
        [cameras for p in parts for cameras in p.cameras],
        [timeline for p in parts for timeline in p.timelines],
    )


def merge_close(dots: Dots, gate_m: float) -> Dots:
    """Merge dots of different cameras, one kind and one timeline within ``gate_m``, nearest pairs first.

    A measured dot goes before a predicted one; two of the same standing meet in the middle.
    """
    groups = _pair_up(dots, gate_m)
    if all(len(g) == 1 for g in groups):
        return dots
    xy, v, predicted, kind, player, cameras, timelines = [], [], [], [], [], [], []
    for group in groups:
        rows = np.asarray(group)
        measured = rows[~dots.predicted[rows]]
        use = measured if len(measured) else rows
        xy.append(dots.xy_m[use].mean(axis=0))
        v.append(dots.v_mps[use].mean(axis=0))
        predicted.append(not len(measured))
        kind.append(dots.kind[rows[0]])
        named = [r for r in group if dots.player[r].any()]
        player.append(dots.player[named[0] if named else rows[0]])
        cameras.append(tuple(sorted({c for r in group for c in dots.cameras[r]})))
        timelines.append(dots.timelines[rows[0]])
    return Dots(
        dots.ptp_ns,
        np.array(xy),
        np.array(v),
        np.array(predicted, np.bool_),
        np.array(kind, np.uint8),
        np.array(player, np.uint8),
        cameras,
        timelines,
    )


def _pair_up(dots: Dots, gate_m: float) -> list[list[int]]:
    """Greedy groups of row numbers: at most one row per camera in a group, nearest pairs first."""
    group_of = list(range(len(dots)))
    groups: dict[int, list[int]] = {i: [i] for i in range(len(dots))}
    delta = dots.xy_m[:, None, :] - dots.xy_m[None, :, :]
    distance = np.hypot(delta[..., 0], delta[..., 1])
    near_a, near_b = np.nonzero(np.triu(distance <= gate_m, 1))
    for k in np.argsort(distance[near_a, near_b], kind="stable"):
        a, b = int(near_a[k]), int(near_b[k])
        one, other = group_of[a], group_of[b]
        if one == other or dots.kind[a] != dots.kind[b] or dots.timelines[a] != dots.timelines[b]:
            continue
        seen = {c for r in groups[one] for c in dots.cameras[r]}
        if any(c in seen for r in groups[other] for c in dots.cameras[r]):
            continue
        for r in groups[other]:
            group_of[r] = one
        groups[one] += groups.pop(other)
    return [sorted(g) for g in groups.values()]


class Fuser:
    """Collects camera frames into moments. Exposures are PTP ns; ``now_ns`` is monotonic ns given by the caller.

    Counted: ``late_frames``; ``incomplete`` moments; ``mixed_moments`` that hold frames of more than one timeline;
    ``left_out_frames`` of nodes that are not aligned.
    """

    def __init__(self, wait_ns: int = 80_000_000, gate_m: float = 1.0) -> None:
        self._wait_ns = wait_ns
        self._gate_m = gate_m
        self._moments: list[_Moment] = []  # ascending in ptp_ns
        self._heard_ns: dict[int, int] = {}
        self._given_ptp_ns = -1
        self._given_at_ns = 0
        self._given_aligned = True  # whether the last moment given out held an aligned frame
        self._aligned: tuple[int, int] | None = None  # the last aligned frame taken: exposure, and when it came
        self._own: dict[str, _OwnTime] = {}  # by node
        self.late_frames = 0
        self.incomplete = 0
        self.mixed_moments = 0
        self.left_out_frames = 0

    def push(self, dots: Dots, half_period_ns: int, now_ns: int) -> None:
        """Take one camera frame (all its dots from one camera, at least one)."""
        camera, node = dots.cameras[0][0], dots.timelines[0]
        near = [m for m in self._moments if abs(m.ptp_ns - dots.ptp_ns) <= half_period_ns]
        if node and not near and self._strays(dots.ptp_ns, half_period_ns, now_ns):
            self._own.setdefault(node, _OwnTime()).left_out_ns = now_ns
            self.left_out_frames += 1
            return
        self._heard_ns[camera] = now_ns
        if not near and self._given_ptp_ns >= 0 and dots.ptp_ns <= self._given_ptp_ns + half_period_ns:
            if not self._begins_again(node, now_ns):
                self.late_frames += 1
                return
            self._given_ptp_ns = -1
        if node:
            self._own.setdefault(node, _OwnTime()).shown_ns = now_ns
        else:
            self._aligned = (dots.ptp_ns, now_ns)
        if near:
            near[0].by_camera.setdefault(camera, []).append(dots)
        else:
            self._moments.append(_Moment(dots.ptp_ns, now_ns, {camera: [dots]}))
            self._moments.sort(key=lambda m: m.ptp_ns)

    def _strays(self, ptp_ns: int, half_period_ns: int, now_ns: int) -> bool:
        """Whether a frame that is not aligned lies out of reach of the aligned ones that flow."""
        if self._aligned is None or now_ns - self._aligned[1] > _ALIVE_NS:
            return False
        ahead_ns = ptp_ns - self._aligned[0]
        behind_most_ns = max(half_period_ns, self._wait_ns)
        return not -behind_most_ns <= ahead_ns <= max(half_period_ns, self._wait_ns // 2)

    def _begins_again(self, node: str, now_ns: int) -> bool:
        """Whether a frame before what was given out begins the timeline anew: after a step back, or because aligned
        frames come again where only others were."""
        if now_ns - self._given_at_ns >= _STEP_BACK_NS:
            return True
        flowing = self._aligned is not None and now_ns - self._aligned[1] <= _ALIVE_NS
        return not node and not self._given_aligned and not flowing

    def left_out(self, now_ns: int) -> list[str]:
        """The nodes that are heard and not shown because of their clock."""
        return sorted(
            node for node, own in self._own.items() if now_ns - own.left_out_ns <= _ALIVE_NS < now_ns - own.shown_ns
        )

    def poll(self, now_ns: int) -> list[Dots]:
        """Give out, in time order, every moment that is complete or has waited long enough, and what lies before it."""
        alive = {c for c, heard in self._heard_ns.items() if now_ns - heard <= _ALIVE_NS}
        last = -1
        for i, moment in enumerate(self._moments):
            waited = now_ns - moment.opened_ns >= self._wait_ns
            if waited or alive <= moment.by_camera.keys():
                last = i
        last = max(last, len(self._moments) - _MAX_MOMENTS - 1)
        ready, self._moments = self._moments[: last + 1], self._moments[last + 1 :]
        self.incomplete += sum(not alive <= m.by_camera.keys() for m in ready)
        self.mixed_moments += sum(len(m.timelines) > 1 for m in ready)
        if ready:
            self._given_ptp_ns = ready[-1].ptp_ns
            self._given_at_ns = now_ns
            self._given_aligned = "" in ready[-1].timelines
        return [self._close(moment) for moment in ready]

    def _close(self, moment: _Moment) -> Dots:
        parts = [part for parts in moment.by_camera.values() for part in parts]
        if len(moment.by_camera) == 1 and len(parts) == 1:
            return parts[0]
        joined = join(parts, moment.ptp_ns)
        return merge_close(joined, self._gate_m) if len(moment.by_camera) > 1 else joined
