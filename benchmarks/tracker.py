"""The tracker beside ByteTrack of the ``trackers`` package: time of an update, and HOTA and IDF1 on known identities.

* Time: 25 people at 25 Hz, both trackers in the same loop. Without their own preparation: ours gets ground positions,
  the peer its detection object.
* Simulated people: bounded accelerations, crossings, 10 % misses, low scores, hidden legs, false boxes.
* Real boxes (``left_boxes.csv``): linked offline into identities, then dropped, jittered, given low scores and false
  boxes with fixed seeds. Left out, with a note, where the data is not beside the project.

Like is compared with like: only boxes that a detection of the frame stands for, which is all the peer gives out. The
peer runs at its defaults and at the best of a sweep, chosen on these very sequences. Ours runs at its defaults.

    python -m benchmarks.tracker [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Row, report
from benchmarks.tracker_scores import PEER_NAME, Scores, follow, follow_peer, score, time_both
from benchmarks.tracker_sequences import Sequence, degraded, left_camera, simulated
from benchmarks.tracker_truth import link, read_boxes
from touchline.config import TrackSection

RATIO_BAR = 0.3


def stadium_folder() -> Path:
    """Where the real match data lies, if it does (TOUCHLINE_DATA, else beside the project)."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    return Path(os.environ.get("TOUCHLINE_DATA", beside)) / "stadium"


def sweep() -> Iterator[dict[str, Any]]:
    """Settings of the peer around its defaults; its buffer is in thirtieths of a second."""
    for activation, frames, overlap, high in itertools.product((0.6, 0.7), (1, 2), (0.05, 0.1, 0.2), (0.4, 0.6)):
        yield {
            "track_activation_threshold": activation,
            "minimum_consecutive_frames": frames,
            "minimum_iou_threshold": overlap,
            "high_conf_det_threshold": high,
        }
    yield {"lost_track_buffer": 45}
    yield {"lost_track_buffer": 60}


def mean(scores: list[Scores]) -> Scores:
    """Average over sequences."""
    return Scores(
        float(np.mean([s.hota for s in scores])),
        float(np.mean([s.idf1 for s in scores])),
        float(np.mean([s.mota for s in scores])),
        round(float(np.mean([s.switches for s in scores]))),
    )


def time_rows(what: str, sequence: Sequence, rounds: int) -> list[Row]:
    """Median with its bar; mean and 99th percentile shown."""
    ours, peer = time_both(sequence, rounds)
    ratio = float(np.median(ours) / np.median(peer))
    rows = [
        Row(f"update, {what}, median", float(np.median(ours)), float(np.median(peer)), PEER_NAME, "ms", ratio,
            f"<= {RATIO_BAR} x", ratio <= RATIO_BAR)
    ]  # fmt: skip
    for name, a, b in (
        ("mean", float(ours.mean()), float(peer.mean())),
        ("p99", float(np.percentile(ours, 99)), float(np.percentile(peer, 99))),
    ):
        rows.append(Row(f"update, {what}, {name}", a, b, PEER_NAME, "ms", a / b, "shown", None))
    return rows


def quality_rows(what: str, sequences: list[Sequence]) -> list[Row]:
    """HOTA and IDF1 beside the peer at its defaults and at its best; switches and coasting shown."""
    ours = mean([score(s, follow(s, TrackSection(), coasted=False)) for s in sequences])
    coasting = mean([score(s, follow(s, TrackSection(), coasted=True)) for s in sequences])
    default = mean([score(s, follow_peer(s)) for s in sequences])
    tried = [(mean([score(s, follow_peer(s, **settings)) for s in sequences]), settings) for settings in sweep()]
    best, settings = max(tried, key=lambda one: one[0].hota + one[0].idf1)
    print(f"{what}: best of the peer's sweep is {settings}", file=sys.stderr)
    rows = []
    for name, peer in ((PEER_NAME, default), (f"{PEER_NAME}, best of sweep", best)):
        for metric in ("hota", "idf1"):
            a, b = float(getattr(ours, metric)), float(getattr(peer, metric))
            rows.append(Row(f"{metric.upper()}, {what}", a, b, name, "%", a / b, ">= 1 x", a >= b))
        rows.append(Row(f"identity switches, {what}", ours.switches, peer.switches, name, "each", None, "shown", None))
    for metric in ("hota", "idf1"):
        a, b = float(getattr(coasting, metric)), float(getattr(default, metric))
        rows.append(Row(f"{metric.upper()} with predicted boxes, {what}", a, b, PEER_NAME, "%", a / b, "shown", None))
    return rows


def measure(quick: bool) -> list[Row]:
    """Every row; ``quick`` takes two short sequences of each kind."""
    frames, seeds, rounds = (300, (1, 2), 1) if quick else (500, (1, 2, 3, 4), 5)
    rows = time_rows("25 people", simulated(1, frames=frames, miss=0.0, harsh=False), rounds)
    rows += time_rows("25 people, misses and false boxes", simulated(1, frames=frames), rounds)
    rows += quality_rows("simulated", [simulated(seed, frames=frames) for seed in seeds])
    folder = stadium_folder()
    if not (folder / "left_boxes.csv").exists():
        print(f"left_boxes.csv left out: {folder} is not there; set TOUCHLINE_DATA to its parent", file=sys.stderr)
        return rows
    linked = link(read_boxes(folder / "left_boxes.csv"))
    camera = left_camera(folder)
    return rows + quality_rows(
        "left_boxes.csv", [degraded(f"left_boxes.csv, seed {seed}", camera, linked, seed) for seed in seeds]
    )


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write machine and rows there")
    parser.add_argument("--quick", action="store_true", help="two short sequences of each kind")
    options = parser.parse_args()
    return 0 if report(measure(options.quick), options.json) else 8


if __name__ == "__main__":
    sys.exit(main())
