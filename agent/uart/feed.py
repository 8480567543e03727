"""From the inference to the process of the serial line: what one frame has to say, one message, never waiting.

Pure but for :class:`Feed`, whose socket is one end of a SOCK_SEQPACKET pair of the agent's parent.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.uart.line import FRAMES, MOST_PEOPLE, MOST_TENTHS, TRACKS, Box
from touchline.timeline import ClockState, Stamp

_MOST_PX: Final = MOST_TENTHS / 10 - 0.1
_STATES: Final = tuple(ClockState)
_NUMBERS: Final = {state: number for number, state in enumerate(_STATES)}
_NO_SCORE: Final = -1.0
_LAST: Final = 1.0  # rank of who is only expected; scores lie in 0..1
_MESSAGE: Final = struct.Struct("<HHBBxxIQQQII5f")
MAX_MESSAGE_BYTES: Final = _MESSAGE.size
_NO_SHAPE: Final = (0.0,) * 5
_IN_BOUND: Final = 1
_BOXED: Final = 2
_LOG: Final = logging.getLogger(__name__)


class Sight(NamedTuple):
    """One frame that came through the pipeline. ``seen_ns``: when it was told (CLOCK_MONOTONIC): old ones are dropped.

    ``in_bound``: the stamp's error is within the node's limit.
    """

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
    def ids(self) -> NDArray[np.int64]:
        """(k,) positive; tracks stand in the order of their birth"""

    @property
    def matches(self) -> list[int]:
        """(k,) index into the frame's detections, -1 where predicted."""

    def box_at(self, at: int) -> list[float]:
        """x1, y1, x2, y2 of one of them, px."""


def best_box(tracks: Followed, scores: NDArray[np.floating[Any]]) -> Box | None:
    """The box of the person seen best: the highest detector score, then the oldest track.

    Somebody whom the tracker only expects is taken where nobody is seen, the oldest. Boxes that are not finite, have no
    extent or leave the line's columns count as none. ``scores``: of the frame's detections. Few NumPy calls, for each
    costs 3 to 5 us when a frame has driven it out of the caches.
    """
    index = tracks.matches
    if not index:
        return None
    known: list[float] = scores.tolist()
    rank = [-known[one] if one >= 0 else _LAST for one in index]
    at = rank.index(min(rank))  # the first of equal ones is the oldest
    found = _box_at(tracks, known, index, at)
    if found is None:
        for at in sorted(range(len(rank)), key=rank.__getitem__):
            found = found or _box_at(tracks, known, index, at)
    return found


def _box_at(tracks: Followed, known: Sequence[float], index: Sequence[int], at: int) -> Box | None:
    left, top, right, bottom = tracks.box_at(at)
    width_px, height_px = right - left, bottom - top
    if not (abs(left) < _MOST_PX > abs(top) and 0.0 < width_px < _MOST_PX and 0.0 < height_px < _MOST_PX):  # or NaN
        return None
    return Box(int(tracks.ids[at]), known[index[at]] if index[at] >= 0 else None, left, top, width_px, height_px)


def sight_message(sight: Sight) -> bytes:
    """One frame as it goes over the pair."""
    camera, frame, stamp, in_bound, people, box, seen_ns = sight
    bits, track, shape = 0, 0, _NO_SHAPE
    if box is not None:
        score = _NO_SCORE if box.score is None else box.score
        bits, track, shape = _BOXED, box.track % TRACKS, (score, box.x_px, box.y_px, box.width_px, box.height_px)
    return _MESSAGE.pack(
        camera,
        min(people, MOST_PEOPLE),
        bits | _IN_BOUND if in_bound else bits,
        _NUMBERS[stamp.state],
        frame % FRAMES,
        stamp.ptp_ns,
        stamp.bound_ns,
        seen_ns,
        stamp.epoch,
        track,
        *shape,
    )


def read_sight(data: bytes) -> Sight:
    """Read :func:`sight_message`. Both ends are ours: what does not fit is a bug (ValueError)."""
    if len(data) != _MESSAGE.size:
        raise ValueError(f"message of {len(data)} bytes; one frame takes {_MESSAGE.size}")
    camera, people, bits, state, frame, ptp_ns, bound_ns, seen_ns, epoch, track, *shape = _MESSAGE.unpack(data)
    box = None
    if bits & _BOXED:
        box = Box(track, None if shape[0] < 0 else shape[0], *shape[1:])
    stamp = Stamp(ptp_ns, bound_ns, epoch, _STATES[state])
    return Sight(camera, frame, stamp, bool(bits & _IN_BOUND), people, box, seen_ns)


class Feed:
    """The inference's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._said: set[int | None] = set()

    def tell(self, sight: Sight) -> bool:
        """Send without waiting; False when nobody takes it: the process of the line is away or far behind.

        Whatever else keeps the kernel from it is said once; the frames go on.
        """
        try:
            self._end.send(sight_message(sight), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except (BlockingIOError, ConnectionError):
            return False
        except OSError as error:
            if error.errno not in self._said:
                self._said.add(error.errno)
                _LOG.warning("nothing goes to the serial line: %s", error.strerror)
            return False
        return True
