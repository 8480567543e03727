"""From the inference to the process of the serial line: what one frame has to say, one message, never waiting.

The inference sends what the tracker has, as it lies in memory: to look for the best box there would cost a frame's way
twice as much. Pure but for :class:`Feed`, whose socket is one end of a SOCK_SEQPACKET pair of the agent's parent.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.uart.line import FRAMES, MOST_TENTHS, TRACKS, Box
from touchline.timeline import ClockState, Stamp

_MOST_PX: Final = MOST_TENTHS / 10 - 0.1
_STATES: Final = tuple(ClockState)
_NUMBERS: Final = {state: number for number, state in enumerate(_STATES)}
_LAST: Final = 1.0  # rank of who is only expected; scores lie in 0..1
_HEAD: Final = struct.Struct("<H?BIQQQIIId")  # then 7 rows of float64, the ids as int64, the scores as float32
_ROWS: Final = 7
_TRACK_BYTES: Final = _ROWS * 8 + 8
MAX_MESSAGE_BYTES: Final = 128 << 10  # of a kernel's buffer of 208 KiB: 1,900 people
_LOG: Final = logging.getLogger(__name__)


class Shot(NamedTuple):
    """One frame that came through the pipeline. ``seen_ns``: when it was told (CLOCK_MONOTONIC): old ones are dropped.

    ``in_bound``: the stamp's error is within the node's limit.
    """

    camera: int
    frame: int
    stamp: Stamp
    in_bound: bool
    seen_ns: int


class Sight(NamedTuple):
    """What a line says of a frame: its :class:`Shot`, how many people are followed, the box of the one seen best."""

    camera: int
    frame: int
    stamp: Stamp
    in_bound: bool
    people: int
    box: Box | None
    seen_ns: int


class Followed(Protocol):
    """The people of one frame, k of them; :class:`agent.track.tracks.Tracks` is it."""

    @property
    def time_s(self) -> float:
        """Of the frame: who was last seen before it is only expected."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """(k,) positive; tracks stand in the order of their birth"""

    @property
    def last(self) -> NDArray[np.float64]:
        """(7, k) x1, y1, x2, y2 px, class, index into the detections, when that was."""


def best_box(tracks: Followed, scores: NDArray[np.float32]) -> Box | None:
    """The box of the person seen best: the highest detector score, then the oldest track.

    Somebody whom the tracker only expects is taken where nobody is seen, the oldest. Boxes that are not finite, have no
    extent or leave the line's columns count as none. ``scores``: of the frame's detections.
    """
    *corners, _, indexes, seen_s = tracks.last.tolist()
    known: list[float] = scores.tolist()
    found = [None if at_s < tracks.time_s else known[int(one)] for one, at_s in zip(indexes, seen_s, strict=True)]
    for at in sorted(range(len(found)), key=lambda at: _LAST if (score := found[at]) is None else -score):
        box = _box(int(tracks.ids[at]), found[at], [row[at] for row in corners])
        if box is not None:
            return box
    return None


def _box(track: int, score: float | None, corners: Sequence[float]) -> Box | None:
    left, top, right, bottom = corners
    width_px, height_px = right - left, bottom - top
    if not (abs(left) < _MOST_PX > abs(top) and 0.0 < width_px < _MOST_PX and 0.0 < height_px < _MOST_PX):  # or NaN
        return None
    return Box(track % TRACKS, score, left, top, width_px, height_px)


class _Told(NamedTuple):
    """People as they came over the pair."""

    time_s: float
    ids: NDArray[np.int64]
    last: NDArray[np.float64]


def parts_of(shot: Shot, tracks: Followed, scores: NDArray[Any]) -> tuple[bytes, ...]:
    """One frame as it goes over the pair, in pieces."""
    camera, frame, stamp, in_bound, seen_ns = shot
    head = _HEAD.pack(
        camera,
        in_bound,
        _NUMBERS[stamp.state],
        frame % FRAMES,
        stamp.ptp_ns,
        stamp.bound_ns,
        seen_ns,
        stamp.epoch,
        len(tracks.ids),
        len(scores),
        tracks.time_s,
    )
    return head, tracks.last.tobytes(), tracks.ids.tobytes(), scores.astype(np.float32, copy=False).tobytes()


def read_sight(data: bytes | memoryview) -> Sight:
    """Read :func:`parts_of` in one piece. Both ends are ours: what does not fit is a bug (ValueError)."""
    if len(data) < _HEAD.size:
        raise ValueError(f"message of {len(data)} bytes; its head alone takes {_HEAD.size}")
    camera, in_bound, state, frame, ptp_ns, bound_ns, seen_ns, epoch, people, seen, time_s = _HEAD.unpack_from(data)
    if len(data) != _HEAD.size + people * _TRACK_BYTES + 4 * seen:
        raise ValueError(f"message of {len(data)} bytes with {people} people and {seen} detections")
    at = _HEAD.size
    last = np.frombuffer(data, "<f8", _ROWS * people, at).reshape(_ROWS, people)
    ids = np.frombuffer(data, "<i8", people, at + _ROWS * 8 * people)
    scores = np.frombuffer(data, "<f4", seen, at + _TRACK_BYTES * people)
    box = best_box(_Told(time_s, ids, last), scores) if people else None
    return Sight(camera, frame, Stamp(ptp_ns, bound_ns, epoch, _STATES[state]), in_bound, people, box, seen_ns)


class Feed:
    """The inference's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._said: set[int | None] = set()

    def tell(self, shot: Shot, tracks: Followed, scores: NDArray[Any]) -> bool:
        """Send without waiting; False when nobody takes it: the process of the line is away or far behind.

        Whatever else keeps the kernel from it is said once; the frames go on.
        """
        parts = parts_of(shot, tracks, scores)
        try:
            if sum(map(len, parts)) > MAX_MESSAGE_BYTES:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            self._end.sendmsg(parts, (), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except (BlockingIOError, ConnectionError):
            return False
        except OSError as error:
            if error.errno not in self._said:
                self._said.add(error.errno)
                _LOG.warning("nothing goes to the serial line: %s", error.strerror)
            return False
        return True
