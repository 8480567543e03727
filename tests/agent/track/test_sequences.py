"""The comparison's own tools: offline identities, and the bar on one short sequence when the peer is installed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.tracker_scores import follow, follow_peer, score
from benchmarks.tracker_sequences import RATE_HZ, play, simulated
from benchmarks.tracker_truth import link
from touchline.config import TrackSection


def test_simulated_people_keep_to_their_limits() -> None:
    path = play(np.random.default_rng(1), 25, 400)
    speed = np.diff(path, axis=0) * RATE_HZ
    push = np.diff(speed, axis=0) * RATE_HZ
    assert np.linalg.norm(speed, axis=2).max() < 11.0
    assert np.linalg.norm(push, axis=2).max() < 5.1


def test_offline_linking_finds_the_identities_of_clean_boxes() -> None:
    sequence = simulated(3, people=8, frames=120, miss=0.0, harsh=False)
    rng = np.random.default_rng(0)
    frames = [boxes[rng.random(len(boxes)) > 0.05] for boxes in sequence.true_boxes]
    linked = link(frames)
    pure = total = 0
    owners: dict[int, list[int]] = {}
    for (ids, boxes), true_ids, true_boxes in zip(linked, sequence.true_ids, sequence.true_boxes, strict=True):
        for identity, box in zip(ids.tolist(), boxes, strict=True):
            nearest = int(true_ids[np.abs(true_boxes - box).sum(axis=1).argmin()])
            owners.setdefault(identity, []).append(nearest)
    for owner in owners.values():
        pure += max(np.bincount(owner))
        total += len(owner)
    assert pure / total > 0.97
    assert total > 0.9 * sum(map(len, sequence.true_ids))


@pytest.mark.campaign
def test_not_below_bytetrack_on_simulated_people() -> None:
    pytest.importorskip("trackers")
    pytest.importorskip("trackeval")
    sequences = [simulated(seed, frames=300) for seed in (1, 2, 3)]
    ours = [score(s, follow(s, TrackSection(), coasted=False)) for s in sequences]
    peer = [score(s, follow_peer(s)) for s in sequences]
    assert np.mean([s.hota for s in ours]) >= np.mean([s.hota for s in peer])
    assert np.mean([s.idf1 for s in ours]) >= np.mean([s.idf1 for s in peer])
