"""Identities for real boxes that carry none: offline linking with full look-ahead.

Made without either tracker's means: image only (sizes in box heights, no metres, no filter, no overlap measure), both
directions of time, one global assignment of track ends to track starts over the whole recording.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
STEP_LIMIT = 0.22
"""Most a box may move from one frame to the next, in box heights, after its own motion is taken off."""
SIZE_LIMIT = 0.35
"""Most that ln(height) may differ between neighbours."""
GAP_FRAMES = 50
FIT_FRAMES = 12
LINK_LIMIT = 1.0
FILL_FRAMES = 15
LEAST_FRAMES = 25
NEVER = 1e6


def read_boxes(path: Path) -> list[F64]:
    """Boxes (k, 4) of each frame of ``frame,x1,y1,x2,y2,score``."""
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    frames = table[:, 0].astype(int)
    return [table[frames == frame, 1:5] for frame in range(int(frames.max()) + 1)]


def _features(boxes: F64) -> F64:
    """(k, 3) middle x, bottom y, height."""
    return np.column_stack((0.5 * (boxes[:, 0] + boxes[:, 2]), boxes[:, 3], boxes[:, 3] - boxes[:, 1]))


def _chains(frames: list[F64]) -> list[list[tuple[int, int]]]:
    """Chains of (frame, index): neighbours in time that are each other's clear choice."""
    chains: list[list[tuple[int, int]]] = []
    open_: dict[int, list[tuple[int, int]]] = {}
    for frame, boxes in enumerate(frames):
        here = _features(boxes)
        nxt: dict[int, list[tuple[int, int]]] = {}
        keys = list(open_)
        if keys and len(here):
            ends = np.array([_ahead(frames, open_[key]) for key in keys])
            cost = _step_cost(ends, here)
            for row, column in zip(*linear_sum_assignment(cost), strict=True):
                best = cost[row, column]
                if best >= 1.0:
                    continue
                rivals = np.append(np.delete(cost[row], column), np.delete(cost[:, column], row))
                if len(rivals) and rivals.min() < 1.0 and rivals.min() < 2.0 * best:
                    continue  # not clear: the global stage decides with more context
                open_[keys[row]].append((frame, int(column)))
                nxt[int(column)] = open_[keys[row]]
        for index in range(len(here)):
            if index not in nxt:
                nxt[index] = [(frame, index)]
                chains.append(nxt[index])
        open_ = nxt
    return chains


def _ahead(frames: list[F64], chain: list[tuple[int, int]]) -> F64:
    """Where a chain should be one frame on."""
    feature = _features(np.array([frames[f][i] for f, i in chain[-5:]]))
    if len(feature) < 3:
        return np.asarray(feature[-1])
    drift = (feature[-1] - feature[0]) / (len(feature) - 1)
    return np.asarray(feature[-1] + drift * np.array([1.0, 1.0, 0.0]))


def _step_cost(ends: F64, here: F64) -> F64:
    scale = ends[:, None, 2]
    apart = np.hypot(*(np.moveaxis(here[None, :, :2] - ends[:, None, :2], 2, 0) / scale)) / STEP_LIMIT
    size = np.abs(np.log(here[None, :, 2] / scale)) / SIZE_LIMIT
    return np.asarray(np.where((apart < 1.0) & (size < 1.0), np.maximum(apart, 0.5 * size), NEVER))


def _line(frames: list[F64], chain: list[tuple[int, int]]) -> tuple[F64, F64, F64]:
    """Times, and straight-line fit (value at its mean time, slope) of a piece of chain."""
    times = np.array([f for f, _ in chain], dtype=float)
    feature = _features(np.array([frames[f][i] for f, i in chain]))
    middle = times.mean()
    spread = ((times - middle) ** 2).sum()
    slope = ((times - middle)[:, None] * feature).sum(0) / spread if spread > 0 and len(chain) >= 4 else np.zeros(3)
    return np.array([middle]), feature.mean(0), slope


def _join_cost(frames: list[F64], first: list[tuple[int, int]], second: list[tuple[int, int]]) -> float:
    gap = second[0][0] - first[-1][0]
    if not 0 < gap <= GAP_FRAMES:
        return NEVER
    (t1,), v1, s1 = _line(frames, first[-FIT_FRAMES:])
    (t2,), v2, s2 = _line(frames, second[:FIT_FRAMES])
    height = 0.5 * (v1[2] + v2[2])
    start, end = second[0][0], first[-1][0]
    forward = v1 + s1 * (start - t1) - (v2 + s2 * (start - t2))
    backward = v2 + s2 * (end - t2) - (v1 + s1 * (end - t1))
    miss = 0.5 * (np.hypot(*forward[:2]) + np.hypot(*backward[:2])) / height
    size = abs(np.log(max(v2[2], 1.0) / max(v1[2], 1.0)))
    cost = float(miss / (0.25 + 0.04 * gap) + size / 0.4)
    return cost if cost < 2.0 * LINK_LIMIT else NEVER


def link(frames: list[F64]) -> list[tuple[I64, F64]]:
    """Identity and box of each frame: linked, short gaps filled in by straight lines, passing noise taken out."""
    chains = _chains(frames)
    for _ in range(3):
        count = len(chains)
        cost = np.full((count, 2 * count), NEVER)
        cost[np.arange(count), count + np.arange(count)] = LINK_LIMIT  # price of not being continued
        for a, first in enumerate(chains):
            for b, second in enumerate(chains):
                cost[a, b] = _join_cost(frames, first, second)
        rows, columns = linear_sum_assignment(cost)
        follows = {int(a): int(b) for a, b in zip(rows, columns, strict=True) if b < count and cost[a, b] < NEVER}
        if not follows:
            break
        merged = []
        for start in sorted(set(range(count)) - set(follows.values())):
            chain, at = list(chains[start]), start
            while at in follows:
                at = follows[at]
                chain += chains[at]
            merged.append(chain)
        chains = merged
    return _frames(frames, [chain for chain in chains if len(chain) >= LEAST_FRAMES])


def _frames(frames: list[F64], chains: list[list[tuple[int, int]]]) -> list[tuple[I64, F64]]:
    ids: list[list[int]] = [[] for _ in frames]
    boxes: list[list[F64]] = [[] for _ in frames]
    for identity, chain in enumerate(chains):
        for (f1, i1), (f2, i2) in zip(chain, [*chain[1:], chain[-1]], strict=True):
            ids[f1].append(identity)
            boxes[f1].append(frames[f1][i1])
            if 1 < f2 - f1 <= FILL_FRAMES:
                for between in range(f1 + 1, f2):
                    share = (between - f1) / (f2 - f1)
                    ids[between].append(identity)
                    boxes[between].append((1 - share) * frames[f1][i1] + share * frames[f2][i2])
    return [(np.array(i, dtype=np.int64), np.array(b).reshape(-1, 4)) for i, b in zip(ids, boxes, strict=True)]
