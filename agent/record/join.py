"""Two nodes' recordings to one playable file, cut at key frames, nothing encoded again, every PTS from PTP time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from agent.record.boxes import box_at
from agent.record.fragment import Fragment, Head, Mark
from agent.record.inits import merge, random_access, with_duration
from agent.record.lanes import NO_KEY_FRAME, Lane, LeftOut, lanes_of, period_ns_of, track_of
from agent.record.moof import Moof, Sample, durations
from agent.record.plan import Piece, plan, slots_of, stranded
from agent.record.read import STATES, Recording, Source, read_recording, recordings_in
from agent.record.run import STREAM_BYTES
from touchline.errors import InputError

GAP: Final = 1.5  # periods: a longer step is a gap
_FRAMES_A_FRAGMENT: Final = 240


@dataclass(frozen=True, slots=True)
class Joined:
    """What came of a join; all times PTP ns.

    ``read_frames`` = ``frames`` + ``overlap_frames`` (another node's of the same exposure) + ``copied_frames`` (the
    same once more, as in a mirror) + ``lost_frames``; ``lost`` says which these are and why. ``empty``: files torn
    before their first whole fragment.
    """

    out: Path
    head: Head
    frames: int
    first_ns: int
    last_ns: int
    period_ns: int
    pieces: tuple[dict[str, Any], ...]
    gaps: tuple[dict[str, Any], ...]
    step_max_ns: int
    switch_steps_ms: tuple[float, ...]
    read_frames: int
    overlap_frames: int
    copied_frames: int
    lost: tuple[dict[str, Any], ...]
    sources: tuple[dict[str, Any], ...]
    empty: tuple[Path, ...]

    @property
    def lost_frames(self) -> int:
        """Pictures that were recorded and that neither the file nor another picture in it shows."""
        return sum(one["frames"] for one in self.lost)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "out": str(self.out),
            "camera": self.head.camera,
            "codec": self.head.codec,
            "frames": self.frames,
            "seconds": round((self.last_ns - self.first_ns + self.period_ns) / 1e9, 6),
            "first_ptp_ns": self.first_ns,
            "last_ptp_ns": self.last_ns,
            "period_ms": round(self.period_ns / 1e6, 6),
            "step_max_ms": round(self.step_max_ns / 1e6, 6),
            "switch_steps_ms": list(self.switch_steps_ms),
            "pieces": list(self.pieces),
            "gaps": list(self.gaps),
            "read_frames": self.read_frames,
            "overlap_frames": self.overlap_frames,
            "copied_frames": self.copied_frames,
            "lost_frames": self.lost_frames,
            "lost": list(self.lost),
            "sources": list(self.sources),
            "empty_files": [str(path) for path in self.empty],
        }


def join(paths: Iterable[Path], out: Path, camera: int | None = None) -> Joined:
    """Join recordings (files, folders, mirrored tails, torn or not) into ``out``.

    Raises InputError when there is nothing to join, several cameras and none named, or pictures that do not fit.
    """
    everything, empty = _read_all(paths)
    recordings = _of_one_camera(everything, camera)
    lanes = lanes_of(recordings)
    period_ns = period_ns_of(lanes, recordings[0].head.rate_hz)
    tracks = [track_of(lane) for lane in lanes]
    slots = slots_of(tracks, period_ns)
    pieces = plan(tracks, slots)
    if not pieces:
        raise InputError("none of the recordings holds a key frame", hint="give more of them")
    init, before = merge([recording.init for recording in recordings])
    chosen = np.concatenate([lanes[piece.track].frames[piece.first : piece.last + 1] for piece in pieces])
    told = [_tell(piece, lanes, recordings) for piece in pieces]
    head = _head_of(recordings[int(chosen["file"][0])].head, lanes, told)
    times = chosen["ptp_ns"].astype(np.int64)
    total_us = int(times[-1] - times[0] + period_ns) // 1000
    starts = np.cumsum([0, *(piece.last - piece.first + 1 for piece in pieces)])[:-1]
    _write(out, with_duration(init, total_us) + head.to_bytes(), recordings, _Cuts(chosen, starts, before, period_ns))
    steps = np.diff(times)
    lost = [*_lost_of(lanes, recordings, stranded(tracks, slots, pieces))]
    read = sum(len(recording.frames) for recording in recordings)
    copied = sum(lane.copies for lane in lanes)
    switches = [int(at) for at, piece, before in _changes(starts, pieces) if piece.track != before.track]
    return Joined(
        out=out,
        head=head,
        frames=len(chosen),
        first_ns=int(times[0]),
        last_ns=int(times[-1]),
        period_ns=period_ns,
        pieces=tuple(told),
        gaps=tuple(_gaps(times, steps, period_ns)),
        step_max_ns=int(steps.max(initial=0)),
        switch_steps_ms=tuple(round(float(steps[at - 1]) / 1e6, 6) for at in switches),
        read_frames=read,
        overlap_frames=read - copied - len(chosen) - sum(one["frames"] for one in lost),
        copied_frames=copied,
        lost=tuple(lost),
        sources=tuple(_source(recording) for recording in recordings),
        empty=tuple(empty),
    )


def _head_of(first: Head, lanes: Sequence[Lane], told: Sequence[dict[str, Any]]) -> Head:
    return replace(
        first,
        node="+".join(lane.node for lane in lanes),
        stream=os.urandom(STREAM_BYTES).hex(),
        first_number=0,
        pieces=tuple(told),
    )


def _read_all(paths: Iterable[Path]) -> tuple[list[Recording], list[Path]]:
    found: list[Recording] = []
    empty: list[Path] = []
    for path in recordings_in(paths):
        recording = read_recording(path, len(found))
        if recording is None:
            empty.append(path)
        else:
            found.append(recording)
    if not found:
        raise InputError("no recording holds a whole fragment", hint="give files that touchline recorded")
    return found, empty


def _of_one_camera(recordings: list[Recording], camera: int | None) -> list[Recording]:
    cameras = sorted({recording.head.camera for recording in recordings})
    if camera is None and len(cameras) > 1:
        raise InputError(f"these are recordings of cameras {cameras}", hint="name one of them with --camera")
    wanted = cameras[0] if camera is None else camera
    own = [recording for recording in recordings if recording.head.camera == wanted]
    if not own:
        raise InputError(f"there is no recording of camera {wanted}", hint=f"there are cameras {cameras}")
    first = own[0].head
    for recording in own:
        head = recording.head
        if (head.codec, head.width_px, head.height_px) != (first.codec, first.width_px, first.height_px):
            raise InputError(
                f"{recording.path} is {head.codec} {head.width_px}x{head.height_px}, {own[0].path} is {first.codec} "
                f"{first.width_px}x{first.height_px}",
                hint="only recordings of one codec and size can be joined without encoding again",
            )
    for number, recording in enumerate(own):
        recording.frames["file"] = number
    return own


def _tell(piece: Piece, lanes: Sequence[Lane], recordings: Sequence[Recording]) -> dict[str, Any]:
    lane = lanes[piece.track]
    frames = lane.frames[piece.first : piece.last + 1]
    files = [recordings[int(number)].path for number in dict.fromkeys(frames["file"].tolist())]
    return {
        "node": lane.node,
        "frames": len(frames),
        "from_ptp_ns": int(frames["ptp_ns"][0]),
        "to_ptp_ns": int(frames["ptp_ns"][-1]),
        "active_frames": int(frames["active"].sum()),
        "epochs": sorted({int(epoch) for epoch in frames["epoch"][frames["active"]]}),
        "files": [path.name for path in files],
        "mirrored": any("mirror" in path.parts[-3:-1] for path in files),
    }


def _lost_of(
    lanes: Sequence[Lane], recordings: Sequence[Recording], undecodable: Sequence[Sequence[int]]
) -> Iterator[dict[str, Any]]:
    """What was recorded and is not shown, each stretch with its reason."""
    for lane, indexes in zip(lanes, undecodable, strict=True):
        places = np.array(indexes, np.int64)
        groups = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
        left_out = [*lane.left_out, *(LeftOut(NO_KEY_FRAME, lane.frames[group]) for group in groups if len(group))]
        for one in left_out:
            files = dict.fromkeys(one.frames["file"].tolist())
            yield {
                "node": lane.node,
                "reason": one.reason,
                "frames": len(one.frames),
                "from_ptp_ns": int(one.frames["ptp_ns"][0]),
                "to_ptp_ns": int(one.frames["ptp_ns"][-1]),
                "files": [str(recordings[int(number)].path) for number in files],
            }


def _changes(starts: NDArray[np.int64], pieces: Sequence[Piece]) -> Iterator[tuple[int, Piece, Piece]]:
    yield from zip(starts[1:], pieces[1:], pieces[:-1], strict=True)


def _gaps(times: NDArray[np.int64], steps: NDArray[np.int64], period_ns: int) -> list[dict[str, Any]]:
    return [
        {
            "after_ptp_ns": int(times[at]),
            "step_ms": round(float(steps[at]) / 1e6, 6),
            "frames_missing": round(float(steps[at]) / period_ns) - 1,
        }
        for at in np.flatnonzero(steps > GAP * period_ns)
    ]


def _source(recording: Recording) -> dict[str, Any]:
    return {
        "file": str(recording.path),
        "node": recording.head.node,
        "frames": len(recording.frames),
        "torn_bytes": recording.torn_bytes,
        "damaged_bytes": recording.damaged_bytes,
    }


# --- the file --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cuts:
    """The chosen pictures, where pieces begin, what goes before each file's key frames, how long the last is shown."""

    frames: NDArray[np.void]
    starts: NDArray[np.int64]
    before: Sequence[bytes]
    period_ns: int

    def groups(self) -> Iterator[tuple[int, int]]:
        """From where to where one fragment goes: a group of pictures of one node in one role."""
        frames = self.frames
        begins = frames["key"].copy()
        begins[self.starts] = True
        for field in ("active", "epoch", "file"):
            begins[1:] |= frames[field][1:] != frames[field][:-1]
        edges = [*np.flatnonzero(begins).tolist(), len(frames)]
        for begin, end in pairwise(edges):
            for at in range(begin, end, _FRAMES_A_FRAGMENT):
                yield at, min(at + _FRAMES_A_FRAGMENT, end)


def _write(out: Path, start: bytes, recordings: Sequence[Recording], cuts: _Cuts) -> None:
    part = out.with_name(f".{out.name}.part")
    sources = [Source(recording.path) for recording in recordings]
    try:
        with part.open("wb") as file:
            file.write(start)
            _write_fragments(file, sources, cuts)
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
        for source in sources:
            source.close()


def _write_fragments(file: BinaryIO, sources: Sequence[Source], cuts: _Cuts) -> None:
    frames = cuts.frames
    times = frames["ptp_ns"].astype(np.int64)
    media_us = (times - times[0] + 500) // 1000
    media_us = np.maximum.accumulate(media_us - np.arange(len(media_us))) + np.arange(
        len(media_us)
    )  # rises by 1 or more
    ends = np.append(media_us[1:], media_us[-1] + cuts.period_ns // 1000)
    index: list[tuple[int, int]] = []
    for number, (begin, end) in enumerate(cuts.groups()):
        rows = frames[begin:end]
        source = sources[int(rows["file"][0])]
        shown = durations(media_us[begin:end].tolist(), int(ends[end - 1] - media_us[end - 1]))
        before = cuts.before[int(rows["file"][0])]
        pictures = [
            (before if row["key"] else b"") + source.bytes[int(row["offset"]) : int(row["offset"]) + int(row["size"])]
            for row in rows
        ]
        samples = tuple(
            Sample(len(data), shown_us, bool(row["key"]))
            for row, data, shown_us in zip(rows, pictures, shown, strict=True)
        )
        moof = Moof(int(media_us[begin]), samples)
        fragment = Fragment(
            number, bool(rows["active"][0]), int(rows["epoch"][0]), tuple(map(_mark, rows)), moof, b"".join(pictures)
        )
        whole = fragment.to_bytes()
        if fragment.key:
            uuid = box_at(whole, 0, len(whole))
            assert uuid is not None
            index.append((moof.media_us, file.tell() + uuid.end))
        file.write(whole)
    file.write(random_access(index))


def _mark(row: np.void) -> Mark:
    return Mark(
        int(row["ptp_ns"]),
        int(row["sequence"]),
        int(row["bound_ns"]),
        int(row["clock_epoch"]),
        STATES[int(row["state"])],
    )
