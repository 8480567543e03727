"""Both trackers over a sequence, and HOTA, IDF1 and switches by trackeval."""

from __future__ import annotations

import contextlib
import gc
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.track.ground import locate
from agent.track.tracker import Tracker
from benchmarks.tracker_sequences import F64, I64, RATE_HZ, Sequence
from touchline.config import TrackSection

TURN_FRAMES = 50
PEER_NAME = "trackers 2.6.1 ByteTrack"


@dataclass(frozen=True, slots=True)
class Followed:
    """What a tracker gave out: ids and boxes of each frame; ``error_m`` of its positions where the truth has any."""

    ids: list[I64]
    boxes: list[F64]
    error_m: F64


@dataclass(frozen=True, slots=True)
class Scores:
    """Percent, except ``switches`` (a count over the sequence)."""

    hota: float
    idf1: float
    mota: float
    switches: int


def follow(sequence: Sequence, config: TrackSection, *, coasted: bool) -> Followed:
    """Ours; ``coasted`` keeps the predicted boxes of unseen people, which the peer does not give out."""
    tracker = Tracker(config)
    ids, boxes, errors = [], [], []
    for frame, found in enumerate(sequence.found):
        tracks = tracker.update(frame / RATE_HZ, locate(found, sequence.ground))
        kept = np.ones(len(tracks), dtype=bool) if coasted else ~tracks.predicted
        ids.append(tracks.ids[kept])
        boxes.append(tracks.boxes[kept].astype(np.float64))
        if sequence.true_xy_m is not None and len(sequence.true_xy_m[frame]) and kept.any():
            apart = np.linalg.norm(tracks.xy_m[kept][:, None] - sequence.true_xy_m[frame][None], axis=2)
            close = apart.min(axis=1)
            errors.append(close[close < 2.0])
    return Followed(ids, boxes, np.concatenate(errors) if errors else np.empty(0))


def follow_peer(sequence: Sequence, **settings: Any) -> Followed:
    """ByteTrack of the ``trackers`` package at the sequence's rate."""
    import supervision
    from trackers import ByteTrackTracker

    tracker = ByteTrackTracker(frame_rate=RATE_HZ, **settings)
    ids, boxes = [], []
    for found in sequence.found:
        result = tracker.update(
            supervision.Detections(xyxy=found.boxes, confidence=found.scores, class_id=found.classes)
        )
        given = np.asarray(result.tracker_id, dtype=np.int64)
        ids.append(given[given >= 0])
        boxes.append(np.asarray(result.xyxy, dtype=np.float64)[given >= 0])
    return Followed(ids, boxes, np.empty(0))


def box_overlaps(a: F64, b: F64) -> F64:
    """Intersection over union (n, m)."""
    side = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.clip(side, 0.0, None).prod(axis=2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(axis=1), (b[:, 2:] - b[:, :2]).prod(axis=1)
    return np.asarray(shared / (area_a[:, None] + area_b[None] - shared))


def score(sequence: Sequence, followed: Followed) -> Scores:
    """Box-overlap scores of trackeval's own metric classes."""
    from trackeval.metrics import CLEAR, HOTA, Identity

    known = np.unique(np.concatenate(followed.ids)) if followed.ids else np.empty(0, dtype=np.int64)
    ids = [np.searchsorted(known, frame) for frame in followed.ids]
    data = {
        "num_timesteps": len(sequence.true_ids),
        "num_gt_ids": int(max((int(i.max()) for i in sequence.true_ids if len(i)), default=-1)) + 1,
        "num_tracker_ids": len(known),
        "num_gt_dets": sum(map(len, sequence.true_ids)),
        "num_tracker_dets": sum(map(len, ids)),
        "gt_ids": sequence.true_ids,
        "tracker_ids": ids,
        "similarity_scores": [box_overlaps(t, b) for t, b in zip(sequence.true_boxes, followed.boxes, strict=True)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        hota = HOTA().eval_sequence(data)
        identity = Identity({"PRINT_CONFIG": False}).eval_sequence(data)
        clear = CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
    return Scores(
        100.0 * float(np.mean(hota["HOTA"])), 100.0 * float(identity["IDF1"]), 100.0 * float(clear["MOTA"]),
        int(clear["IDSW"]),
    )  # fmt: skip


def time_both(sequence: Sequence, rounds: int) -> tuple[F64, F64]:
    """Milliseconds of each update, ours and the peer's, in turns of two seconds of play.

    Both get what they need ready-made: ours ground positions (the calibration's work), the peer its detection object.
    Frame times carry a camera's jitter of 20 us, so that hardly a step repeats. The first second of each round is left
    out. The garbage collector is told to leave what exists alone, as the agent does.
    """
    import supervision
    from trackers import ByteTrackTracker

    jitter = np.random.default_rng(7).normal(0.0, 20e-6, len(sequence.found))
    times = [frame / RATE_HZ + float(jitter[frame]) for frame in range(len(sequence.found))]
    located = [locate(found, sequence.ground) for found in sequence.found]
    detections = [
        supervision.Detections(xyxy=found.boxes, confidence=found.scores, class_id=found.classes)
        for found in sequence.found
    ]
    our_ms: list[float] = []
    peer_ms: list[float] = []
    gc.freeze()
    for _ in range(rounds):
        ours, peer = Tracker(), ByteTrackTracker(frame_rate=RATE_HZ)
        for turn in range(0, len(times), TURN_FRAMES):
            frames = range(turn, min(turn + TURN_FRAMES, len(times)))
            our_ms += [_spent_ms(ours.update, times[f], located[f]) for f in frames]
            peer_ms += [_spent_ms(peer.update, detections[f]) for f in frames]
    gc.unfreeze()
    late = np.arange(len(our_ms)) % len(times) >= RATE_HZ
    return np.array(our_ms)[late], np.array(peer_ms)[late]


def _spent_ms(step: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    step(*arguments)
    return 1e3 * (time.perf_counter() - start)
