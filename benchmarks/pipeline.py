"""From the engine's raw output to a spooled batch, 25 people, one core: what a frame costs besides the engine.

Ours: decode, suppression, ground position, tracking, records, batch, spool. Peer: the same decoder and suppression,
then `trackers` ByteTrack (image plane only) and one JSON line per frame: no metres, no velocity, no checksum.

    python -m benchmarks.pipeline --json pipeline.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import supervision as sv
from numpy.typing import NDArray
from trackers import ByteTrackTracker

from agent.detect.letterbox import Letterbox
from agent.publish.spool import Spool, SpoolSettings
from agent.records import FrameContext, records_of
from agent.track.ground import locate
from agent.track.tracker import Tracker
from benchmarks.common import Row, report
from calibration.detector.boxes import decode_yolov8, suppress
from hil.venue.optics import site_camera
from hil.venue.players import Venue
from touchline.record import BatchHeader, pack_batch
from touchline.timeline import ClockState, Stamp, monotonic_ns

PEOPLE, CANDIDATES, ANCHORS = 25, 5, 18_400
BAR_MS = 1.0
RATE_HZ = 25
SCORE, OVERLAP = 0.1, 0.41


def raw_outputs(frames: int, seed: int = 3) -> list[NDArray[np.float32]]:
    """Engine outputs (1, 5, A) of 25 walking people, each seen by several neighbouring anchors, over a quiet floor."""
    rng = np.random.default_rng(seed)
    venue, camera = Venue(seed, PEOPLE), site_camera("left")
    scale = np.array([0.5, 1.0])  # everybody into the left half, so that all 25 are in the picture
    outputs = []
    for frame in range(frames):
        state = venue.state_at(frame * 10**9 // RATE_HZ)
        xy_m = state.xy_m * scale
        feet = camera.pixels_from_pitch(np.column_stack([xy_m, np.zeros(PEOPLE)]))
        heads = camera.pixels_from_pitch(np.column_stack([xy_m, state.height_m]))
        height = feet[:, 1] - heads[:, 1]
        boxes = np.stack([feet[:, 0], feet[:, 1] - height / 2 + 8, height * 0.4, height])  # 8 rows of letterbox
        raw = np.zeros((1, 5, ANCHORS), np.float32)
        raw[0, 4] = rng.uniform(0, 0.02, ANCHORS)
        places = rng.choice(ANCHORS, PEOPLE * CANDIDATES, replace=False)
        jitter = rng.normal(0, 0.6, (4, PEOPLE * CANDIDATES))
        raw[0, :4, places] = (np.repeat(boxes, CANDIDATES, axis=1) + jitter).T
        raw[0, 4, places] = rng.uniform(0.5, 0.95, PEOPLE * CANDIDATES)
        outputs.append(raw)
    return outputs


@dataclass
class Found:
    """Detections of one frame, in source pixels."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]


def found_in(raw: NDArray[np.float32], box: Letterbox) -> Found:
    """Decode and suppress, as the agent's detector does."""
    decoded = decode_yolov8(raw, SCORE)
    kept, voted = suppress(decoded.boxes, decoded.scores, decoded.classes, OVERLAP)
    return Found(box.to_source(voted), decoded.scores[kept], decoded.classes[kept])


def ours(folder: Path) -> Callable[[int, NDArray[np.float32]], int]:
    """One frame through our pipeline; returns the records spooled."""
    box, camera, tracker = Letterbox((1280, 720), (1280, 736)), site_camera("left"), Tracker()
    spool = Spool(folder / "spool", SpoolSettings(), monotonic_ns())
    first = 0

    def step(frame: int, raw: NDArray[np.float32]) -> int:
        nonlocal first
        exposure_ns = 10**18 + frame * 10**9 // RATE_HZ
        tracks = tracker.update(exposure_ns / 1e9, locate(found_in(raw, box), camera))
        context = FrameContext(1, frame, Stamp(exposure_ns, 100, 0, ClockState.LOCKED), 1000)
        records, _ = records_of(tracks, context)
        batch = pack_batch(BatchHeader("bench", bytes(16), 1, frame, first, len(records)), records)
        now_ns = monotonic_ns()
        spool.append(batch, len(records), now_ns)
        spool.tick(now_ns)
        first += len(records)
        return len(records)

    return step


def peer(folder: Path) -> Callable[[int, NDArray[np.float32]], int]:
    """One frame through the peer's pipeline."""
    box, tracker = Letterbox((1280, 720), (1280, 736)), ByteTrackTracker(frame_rate=RATE_HZ)
    out = (folder / "records.jsonl").open("w")

    def step(frame: int, raw: NDArray[np.float32]) -> int:
        found = found_in(raw, box)
        detections = sv.Detections(xyxy=found.boxes, confidence=found.scores, class_id=found.classes)
        tracked = tracker.update(detections)
        assert tracked.tracker_id is not None
        rows = [
            {"id": int(i), "box": b.tolist()} for i, b in zip(tracked.tracker_id, tracked.xyxy, strict=True) if i >= 0
        ]
        out.write(json.dumps({"frame": frame, "people": rows}) + "\n")
        out.flush()
        return len(rows)

    return step


def main(argv: Sequence[str] | None = None) -> int:
    """Run both, interleaved, and print the table; 8 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=None, help="also write the rows to this file")
    parser.add_argument("--frames", type=int, default=600, help="frames to measure (default 600)")
    arguments = parser.parse_args(argv)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    outputs = raw_outputs(arguments.frames)
    with tempfile.TemporaryDirectory() as name:
        steps = {"ours": ours(Path(name)), "peer": peer(Path(name))}
        took: dict[str, list[float]] = {"ours": [], "peer": []}
        for frame, raw in enumerate(outputs):
            for who, step in steps.items():
                begin_ns = monotonic_ns()
                count = step(frame, raw)
                if frame > 50:
                    assert count > 15, f"{who} lost the people: {count} in frame {frame}"
                    took[who].append((monotonic_ns() - begin_ns) / 1e6)
    (p50, p99), (peer_p50, peer_p99) = (np.percentile(took[who], [50, 99]).tolist() for who in ("ours", "peer"))
    what, name, bar = "engine output to spooled batch, 25 people", "trackers ByteTrack + JSON lines", f"<= {BAR_MS} ms"
    rows = [
        Row(f"{what}, p50", p50, peer_p50, name, "ms/frame", p50 / peer_p50, bar, p50 <= BAR_MS),
        Row(f"{what}, p99", p99, peer_p99, name, "ms/frame", p99 / peer_p99, "shown", None),
    ]
    return 0 if report(rows, arguments.json) else 8


if __name__ == "__main__":
    sys.exit(main())
