"""All that one node recorded, in the order of exposure, and what of it cannot be placed: counted, with its reason."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.record.plan import Track
from agent.record.read import Recording
from agent.record.retention import label_of

CLOCK_STEPPED: Final = "clock_stepped"
RUNS_OVERLAP: Final = "runs_overlap"
NO_KEY_FRAME: Final = "no_key_frame"
REASONS: Final = {
    CLOCK_STEPPED: "the clock was set meanwhile, and more pictures have the other times",
    RUNS_OVERLAP: "another run of the node's encoder has pictures of the same times",
    NO_KEY_FRAME: "no key frame before them is left, and nobody else has these exposures",
}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Pictures one behind the other that were recorded and cannot be joined; :data:`REASONS` says why."""

    reason: str
    frames: NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Lane:
    """All pictures of one node in the order of their exposures.

    ``follows``: a picture can be decoded right after the one before it in the lane; ``left_out``: pictures whose times
    do not rise among the others; ``copies``: how many were there again (a mirror and its original).
    """

    node: str
    frames: NDArray[np.void]
    follows: NDArray[np.bool_]
    left_out: tuple[LeftOut, ...]
    copies: int


def lanes_of(recordings: Sequence[Recording]) -> list[Lane]:
    """Put the files of each node together; what several of them hold (a mirror and its original) is taken once."""
    lanes = []
    for node in dict.fromkeys(recording.head.node for recording in recordings):
        own = [recording for recording in recordings if recording.head.node == node]
        lanes.append(_lane(node, own))
    return lanes


def period_ns_of(lanes: Sequence[Lane], rate_hz: float) -> int:
    """The usual step between two pictures; ``rate_hz`` (of the camera's configuration) where there are no two."""
    steps = np.concatenate([np.diff(lane.frames["ptp_ns"].astype(np.int64)) for lane in lanes])
    return int(np.median(steps)) if len(steps) else round(1e9 / rate_hz)


def track_of(lane: Lane) -> Track:
    """What the plan needs to know of a lane; the active one's pictures come first, the highest epoch's above all."""
    frames = lane.frames
    rank = np.where(frames["active"], frames["epoch"].astype(object) + 1, 0)
    return Track(frames["ptp_ns"].tolist(), frames["key"].tolist(), lane.follows.tolist(), rank.tolist())


def _lane(node: str, recordings: Sequence[Recording]) -> Lane:
    streams = list(dict.fromkeys(recording.head.stream for recording in recordings))
    parts, links = [], []
    for stream in streams:
        rows, follows = _stream([one.frames for one in recordings if one.head.stream == stream])
        parts.append(rows)
        links.append(follows)
    order = in_order([int(rows["ptp_ns"][0]) for rows in parts], _chains(streams, recordings))
    frames, follows = np.concatenate([parts[i] for i in order]), np.concatenate([links[i] for i in order])
    runs = np.concatenate([np.full(len(parts[i]), i) for i in order])
    kept = most_that_rise(frames["ptp_ns"].astype(np.int64))
    follows[1:] &= kept[:-1]
    copies = sum(len(one.frames) for one in recordings) - len(frames)
    return Lane(node, frames[kept], follows[kept], tuple(_left_out(frames, runs, kept)), copies)


def _chains(streams: Sequence[str], recordings: Sequence[Recording]) -> list[list[int]]:
    """Runs as the files of each folder count them, whatever the clock said. Each folder has numbers of its own."""
    folders: dict[Path, list[tuple[int, int]]] = defaultdict(list)
    for one in recordings:
        label = label_of(one.path)
        if label is not None and label.serial:
            folders[one.path.parent].append((label.serial, streams.index(one.head.stream)))
    return [
        list(dict.fromkeys(run for _, run in sorted(files)))
        for files in folders.values()
        if len({serial for serial, _ in files}) == len(files)  # else they are copies out of several folders
    ]


def in_order(first_ns: Sequence[int], chains: Sequence[Sequence[int]]) -> list[int]:
    """Runs by their first times, but none before one that a chain has before it, as long as the chains agree."""
    waiting = sorted(range(len(first_ns)), key=lambda run: first_ns[run])
    rest = [list(reversed(chain)) for chain in chains]
    order: list[int] = []
    while waiting:
        held = {run for chain in rest for run in chain[:-1]}
        run = next((one for one in waiting if one not in held), waiting[0])
        waiting.remove(run)
        order.append(run)
        rest = [[one for one in chain if one != run] for chain in rest]
    return order


def _stream(files: Sequence[NDArray[np.void]]) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
    """One run of the encoder: its pictures once each, in their order, and whether each follows the one before it."""
    rows = np.concatenate(files)
    rows = rows[np.lexsort((rows["file"], rows["place"], rows["number"]))]
    twice = np.zeros(len(rows), bool)
    twice[1:] = (np.diff(rows["number"]) == 0) & (np.diff(rows["place"]) == 0)
    rows = rows[~twice]
    step = np.diff(rows["number"].astype(np.int64))
    follows = np.zeros(len(rows), bool)
    follows[1:] = ((step == 0) & (np.diff(rows["place"].astype(np.int64)) == 1)) | (
        (step == 1) & (rows["place"][1:] == 0)
    )
    return rows, follows


def most_that_rise(times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which to keep so that times rise and as many as possible stay (longest increasing subsequence, patience sorting).

    A clock that was ten years ahead for a minute costs that minute, not what came after it.
    """
    if bool(np.all(np.diff(times) > 0)):
        return np.ones(len(times), bool)
    ends: list[int] = []  # the smallest time that a rising row of each length can end with, and its place
    places: list[int] = []
    before = np.full(len(times), -1, np.int64)
    for place, time in enumerate(times.tolist()):
        at = bisect_left(ends, time)
        before[place] = places[at - 1] if at else -1
        if at == len(ends):
            ends.append(time)
            places.append(place)
        else:
            ends[at], places[at] = time, place
    kept = np.zeros(len(times), bool)
    place = places[-1]
    while place >= 0:
        kept[place] = True
        place = int(before[place])
    return kept


def _left_out(frames: NDArray[np.void], runs: NDArray[np.int64], kept: NDArray[np.bool_]) -> Iterator[LeftOut]:
    places, times = np.flatnonzero(~kept), frames["ptp_ns"].astype(np.int64)
    for group in np.split(places, np.flatnonzero((np.diff(places) != 1) | (np.diff(runs[places]) != 0)) + 1):
        if len(group):
            own = times[runs == runs[group[0]]]
            others = times[kept & (runs != runs[group[0]])]
            stepped = np.any(np.diff(own) <= 0)  # within one run only a clock that was set does that
            shared = np.any((others >= own.min()) & (others <= own.max()))
            yield LeftOut(RUNS_OVERLAP if shared and not stepped else CLOCK_STEPPED, frames[group])
