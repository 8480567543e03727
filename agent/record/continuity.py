"""How the joined match goes on over a stretch of time: its steps and what is missing. Writes nothing.

The same choice as a join's (:mod:`agent.record.plan`), made of the pictures around that time alone: what a drill asks
after it has cut a node off (FOV-3, FOV-4).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.record.check import STEP_LIMIT_MS
from agent.record.join import GAP
from agent.record.lanes import lanes_of, period_ns_of, track_of
from agent.record.plan import plan, slots_of
from agent.record.read import Recording, read_recording, recordings_in
from agent.record.retention import label_of, order_key
from touchline.errors import InputError

AROUND_NS: Final = 30_000_000_000  # read before and behind it: a piece of the match begins at a key frame
SLACK_MS: Final = 1.0  # more than a period: what two triggers and two clocks may differ by


@dataclass(frozen=True, slots=True)
class Stretch:
    """From when to when, PTP ns, both in."""

    from_ns: int
    to_ns: int


def step_limit_ms(period_ms: float) -> float:
    """The largest step allowed: FOV-3's, and for a slower camera a frame's period and a little."""
    return STEP_LIMIT_MS if period_ms <= STEP_LIMIT_MS else period_ms + SLACK_MS


def continuity(paths: Iterable[Path], stretch: Stretch, camera: int | None = None) -> dict[str, Any]:
    """What the match of these recordings (files, folders, mirrored ones among them) is over a stretch of time.

    Raises InputError when they hold no two pictures of it, or several cameras and none is named.
    """
    recordings = _around(recordings_in(paths), stretch, camera)
    lanes = lanes_of(recordings)
    period_ns = period_ns_of(lanes, recordings[0].head.rate_hz)
    tracks = [track_of(lane) for lane in lanes]
    pieces = plan(tracks, slots_of(tracks, period_ns))
    if not pieces:
        raise InputError("no picture of that time can be decoded: no key frame", hint="give those of both nodes")
    parts = [lanes[piece.track].frames["ptp_ns"][piece.first : piece.last + 1].astype(np.int64) for piece in pieces]
    whose = np.concatenate([np.full(len(part), piece.track) for part, piece in zip(parts, pieces, strict=True)])
    times = np.concatenate(parts)
    within = (times >= stretch.from_ns) & (times <= stretch.to_ns)
    times, whose = times[within], whose[within]
    if len(times) < 2:
        raise InputError("the recordings hold no two pictures of that time", hint="give those of both nodes")
    return {
        "camera": recordings[0].head.camera,
        "nodes": [lanes[track].node for track in dict.fromkeys(whose.tolist())],
        "switches": int((np.diff(whose) != 0).sum()),
        "pictures": len(times),
        "first_ptp_ns": int(times[0]),
        "last_ptp_ns": int(times[-1]),
        **_figures(np.diff([stretch.from_ns, *times.tolist(), stretch.to_ns]), period_ns),
    }


def _figures(steps: NDArray[np.int64], period_ns: int) -> dict[str, Any]:
    """``steps``: between pictures; the first and the last one from the stretch's ends, where less than one is none."""
    period_ms, step_max_ms = period_ns / 1e6, float(steps.max()) / 1e6
    limit_ms = step_limit_ms(period_ms)
    edges = sum(int(step // period_ns) for step in steps[[0, -1]] if step > GAP * period_ns)
    between = steps[1:-1]
    missing = edges + sum(round(float(step) / period_ns) - 1 for step in between[between > GAP * period_ns])
    return {
        "period_ms": round(period_ms, 6),
        "step_max_ms": round(step_max_ms, 6),
        "step_limit_ms": round(limit_ms, 6),
        "missing": missing,
        "good": step_max_ms <= limit_ms and not missing,
    }


def _around(paths: Sequence[Path], stretch: Stretch, camera: int | None) -> list[Recording]:
    """The recordings with the pictures around the stretch."""
    found: list[Recording] = []
    for path in _likely(paths, stretch):
        recording = read_recording(path, len(found))
        if recording is None or camera not in (None, recording.head.camera):
            continue
        times = recording.frames["ptp_ns"].astype(np.int64)
        near = (times >= stretch.from_ns - AROUND_NS) & (times <= stretch.to_ns + AROUND_NS)
        if near.any():
            found.append(replace(recording, frames=recording.frames[near]))
    cameras = sorted({recording.head.camera for recording in found})
    if len(cameras) > 1:
        raise InputError(f"these are recordings of cameras {cameras}", hint="name one of them with --camera")
    if not found:
        raise InputError("the recordings hold no picture of that time", hint="give those of both nodes")
    return found


def _likely(paths: Sequence[Path], stretch: Stretch) -> list[Path]:
    """Without the files that by their names, and by their followers', are of another time; in doubt a file is read."""
    found: list[Path] = []
    for folder in dict.fromkeys(path.parent for path in paths):
        own = sorted((path for path in paths if path.parent == folder), key=order_key)
        labels = [label_of(path) for path in own]
        for at, (path, label) in enumerate(zip(own, labels, strict=True)):
            after = labels[at + 1] if at + 1 < len(labels) else None
            over = label and after and label.ptp_ns <= after.ptp_ns < stretch.from_ns - AROUND_NS
            ahead = label and label.trusted and label.ptp_ns > stretch.to_ns + AROUND_NS
            if not (over or ahead):
                found.append(path)
    return found
