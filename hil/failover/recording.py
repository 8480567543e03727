"""What the recorders of both nodes left behind: joined, played through, and judged for continuity (FOV-3).

Each trial answers for its own stretch of the film: from its begin to that of whatever comes next.
"""

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
BEHIND_NS: Final = 3_000 * NS_PER_MS  # the open fragment (0.6 s at 25 frames/s), its way to the disk, a slow machine

Window = tuple[int, int]  # PTP ns


@dataclass(frozen=True, slots=True)
class Stretch:
    """From ``begin_ns`` (PTP) to the begin of the next one; in ``spared`` nobody could record."""

    begin_ns: int
    spared: Window | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """How the film goes on over a stretch: its largest PTS step outside and (``spared_ms``) inside the spared time."""

    step_max_ms: float
    violations: tuple[str, ...]
    spared_ms: float | None = None


@dataclass(frozen=True, slots=True)
class RecordingVerdict:
    """``stretches``: in the order in which they were given; ``violations``: what is wrong beside them."""

    pictures: int
    pieces: int
    stretches: tuple[Steps, ...]
    violations: tuple[str, ...]

    @property
    def step_max_ms(self) -> float:
        """The largest PTS step outside of times in which nobody could record."""
        return max((steps.step_max_ms for steps in self.stretches), default=0.0)


def judge_steps(times_ns: Sequence[int], period_ns: int, spared: Window | None = None) -> Steps:
    """``times_ns``: of each picture of a stretch and of the first one behind it, PTP. Pure."""
    if len(times_ns) < 2:
        return Steps(0.0, ("recording: there is no film to judge",))
    found, longest_ns, spared_ns = [], 0, 0
    for before, after in pairwise(times_ns):
        if spared is not None and spared[0] <= after and before <= spared[1]:
            spared_ns = max(spared_ns, after - before)
            continue
        longest_ns = max(longest_ns, after - before)
        if after <= before:
            found.append(f"time goes back by {(before - after) / NS_PER_MS:.3f} ms after PTP {before}")
        elif after - before > period_ns + SLACK_NS:
            found.append(f"a step of {(after - before) / NS_PER_MS:.1f} ms after PTP {before}")
    if len(found) > MOST_TOLD:
        found = [*found[:MOST_TOLD], f"and {len(found) - MOST_TOLD} more"]
    violations = tuple(f"recording: {words}" for words in found)
    return Steps(longest_ns / NS_PER_MS, violations, None if spared is None else spared_ns / NS_PER_MS)


def judge_stretches(times_ns: Sequence[int], period_ns: int, stretches: Sequence[Stretch]) -> tuple[Steps, ...]:
    """Each stretch (in order of time) with its own pictures; a step counts to the one in which it begins. Pure."""
    own: list[list[int]] = [[] for _ in stretches]
    at = -1
    for time_ns in times_ns:
        while at + 1 < len(stretches) and stretches[at + 1].begin_ns <= time_ns:
            if at >= 0:
                own[at].append(time_ns)  # the step over its end; of a stretch without a picture all that it has
            at += 1
        if at >= 0:
            own[at].append(time_ns)
    return tuple(judge_steps(times, period_ns, one.spared) for times, one in zip(own, stretches, strict=True))


def judge_film(times_ns: Sequence[int], decoded: int, complaints: Sequence[str], until_ns: int) -> tuple[str, ...]:
    """What is wrong with the film as a whole. ``until_ns``: the recorders were at work until then, PTP. Pure."""
    if not times_ns:
        return ("recording: there is no film to judge",)
    found = []
    if decoded != len(times_ns):
        found.append(f"{decoded} of {len(times_ns)} pictures can be decoded")
    if until_ns - times_ns[-1] > BEHIND_NS:
        found.append(f"it ends {(until_ns - times_ns[-1]) / NS_PER_MS:.0f} ms before the last moment")
    found += [f"the decoder complains: {line}" for line in complaints[:MOST_TOLD]]
    return tuple(f"recording: {words}" for words in found)


def recording_of(site_folder: Path, period_ns: int, stretches: Sequence[Stretch], until_ns: int) -> RecordingVerdict:
    """Join both nodes' recordings and play the film; the recorders may still be running."""
    out = site_folder / "joined.mp4"
    joined = join([site_folder / node / RECORDINGS for node in ("a", "b")], out, CAMERA)
    played = play(out)
    times_ns = [joined.first_ns + (pts - played.pts_us[0]) * 1000 for pts in played.pts_us]
    return RecordingVerdict(
        len(times_ns),
        len(joined.pieces),
        judge_stretches(times_ns, period_ns, stretches),
        judge_film(times_ns, played.decoded, played.complaints, until_ns),
    )
