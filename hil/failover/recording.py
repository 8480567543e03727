"""What the recorders of both nodes left behind: joined, played through, and judged for continuity (FOV-3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from agent.record.check import play
from agent.record.join import join
from hil.failover.configs import CAMERA, RECORDINGS
from hil.failover.judge import MOST_TOLD, NS_PER_MS

SLACK_NS: Final = NS_PER_MS  # more than a period: what two triggers and two clocks may differ by

Window = tuple[int, int]  # PTP ns


@dataclass(frozen=True, slots=True)
class RecordingVerdict:
    """``step_max_ms``: the largest PTS step outside of times in which nobody could record."""

    pictures: int
    pieces: int
    step_max_ms: float
    violations: tuple[str, ...]


def judge_recording(
    times_ns: Sequence[int], period_ns: int, excused: Sequence[Window], decoded: int, complaints: Sequence[str]
) -> tuple[float, tuple[str, ...]]:
    """Largest step in ms, and what is wrong. ``times_ns``: of each picture, PTP. Pure."""
    if len(times_ns) < 2:
        return 0.0, ("there is no film to judge",)
    found, longest_ns = [], 0
    for before, after in pairwise(times_ns):
        if any(begin <= after and before <= end for begin, end in excused):
            continue
        longest_ns = max(longest_ns, after - before)
        if after <= before:
            found.append(f"time goes back by {(before - after) / NS_PER_MS:.3f} ms after PTP {before}")
        elif after - before > period_ns + SLACK_NS:
            found.append(f"a step of {(after - before) / NS_PER_MS:.1f} ms after PTP {before}")
    if len(found) > MOST_TOLD:
        found = [*found[:MOST_TOLD], f"and {len(found) - MOST_TOLD} more"]
    if decoded != len(times_ns):
        found.append(f"{decoded} of {len(times_ns)} pictures can be decoded")
    found += [f"the decoder complains: {line}" for line in complaints[:MOST_TOLD]]
    return longest_ns / NS_PER_MS, tuple(f"recording: {words}" for words in found)


def recording_of(site_folder: Path, period_ns: int, excused: Sequence[Window]) -> RecordingVerdict:
    """Join both nodes' recordings and play the film; the recorders may still be running."""
    out = site_folder / "joined.mp4"
    joined = join([site_folder / node / RECORDINGS for node in ("a", "b")], out, CAMERA)
    played = play(out)
    times_ns = [joined.first_ns + (pts - played.pts_us[0]) * 1000 for pts in played.pts_us]
    step_max_ms, violations = judge_recording(times_ns, period_ns, excused, played.decoded, played.complaints)
    return RecordingVerdict(len(times_ns), len(joined.pieces), step_max_ms, violations)
