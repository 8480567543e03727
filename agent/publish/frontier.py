"""How far each camera's frames are at the rack, and which of a standby's frames the twin has delivered. Pure.

A *cursor* is an exposure up to which everything offered is acknowledged (or showed nobody). It never passes a batch
that is not, and never goes back, unless the camera's time itself went back: then it begins anew.

The twins see the same optics, their exposures of one frame differ by less than half a frame period. So a frame counts
as delivered by the twin when it lies before the twin's cursor plus half a period, learned from our own frames.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from agent.publish.segment import Entry
from failover.core.types import CameraCursor

TIME_MOVED_NS: Final = 1_000_000_000  # exposures of one camera, or of twins, further apart are of different clocks
UNCLAIMED_NS: Final = 20_000_000_000  # the twin went on by so much and left this out: its camera is down
DOUBT_NS: Final = 250_000_000
_PERIOD_SAMPLES: Final = 33
_LEARN_EVERY: Final = 16

Spans = tuple[tuple[int, int], ...]  # (camera, newest exposure) of each camera in a batch


@dataclass(slots=True)
class _Camera:
    """One camera. ``cursor_ns`` None: nothing is known to be at the rack. ``twin_ns``: the twin's cursor."""

    newest_ns: int = -1
    frame: int = -1
    seen_ns: int = 0  # monotonic
    waiting: int = 0  # batches with frames of it that are not closed
    cursor_ns: int | None = None
    twin_ns: int | None = None
    twin_moved_ns: int = 0  # monotonic: when it last went on
    half_ns: int = 0
    steps_ns: deque[int] = field(default_factory=lambda: deque(maxlen=_PERIOD_SAMPLES))
    learned: int = 0

    def learn(self, frame: int, ptp_ns: int) -> None:
        """Learn half the frame period; 0 until there is something to learn from."""
        if 0 < frame - self.frame < 100 and ptp_ns > self.newest_ns >= 0:
            self.steps_ns.append((ptp_ns - self.newest_ns) // (frame - self.frame))
            self.learned += 1
            if self.learned <= 3 or self.learned % _LEARN_EVERY == 0:
                self.half_ns = int(median(self.steps_ns)) // 2
        self.frame = frame

    def advance(self, ptp_ns: int) -> None:
        """Everything up to this exposure is at the rack."""
        if self.cursor_ns is None or ptp_ns > self.cursor_ns:
            self.cursor_ns = ptp_ns


@dataclass(slots=True)
class _Waiting:
    """A batch that is not closed, as far as this node's present role began with it."""

    entry: Entry
    spans: Spans
    unfinished: bool = False  # its last frame goes on in the next batch


class Frontier:
    """The books of all cameras since the role last began."""

    def __init__(self) -> None:
        self._cameras: dict[int, _Camera] = {}
        self._waiting: deque[_Waiting] = deque()

    def looked(self, camera: int, frame: int, ptp_ns: int, now_ns: int) -> None:
        """A frame came through the pipeline, with or without records."""
        one = self._cameras.get(camera)
        if one is None:
            one = self._cameras[camera] = _Camera()
        if ptp_ns < max(one.newest_ns, one.cursor_ns or 0) - TIME_MOVED_NS:
            self._time_went_back(camera, one)
        one.learn(frame, ptp_ns)
        one.newest_ns, one.seen_ns = max(one.newest_ns, ptp_ns), now_ns

    def empty(self, camera: int, ptp_ns: int) -> None:
        """The active one has nothing to say about this frame, and none of the camera waits in the window."""
        one = self._cameras[camera]
        if not one.waiting:
            one.advance(ptp_ns)

    def spooled(self, entry: Entry, spans: Spans) -> None:
        """A batch is in the spool."""
        if self._waiting:
            self._waiting[-1].unfinished = not set(self._waiting[-1].spans).isdisjoint(spans)
        self._waiting.append(_Waiting(entry, spans))
        for camera, _ in spans:
            self._camera(camera).waiting += 1

    def forget(self) -> None:
        """A new role begins: what waits is no longer a measure of it, and the twin goes on from where we are."""
        self._waiting.clear()
        for one in self._cameras.values():
            one.waiting, one.twin_ns = 0, one.cursor_ns

    def advance(self, is_open: Callable[[Entry], bool], *, deliver: bool) -> None:
        """Pass what is closed; ``deliver``: by our own doing, so that the cursors follow."""
        while self._waiting and not is_open(self._waiting[0].entry):
            waiting = self._waiting.popleft()
            for camera, newest_ns in waiting.spans:
                one = self._camera(camera)
                one.waiting -= 1
                if deliver and not waiting.unfinished:
                    one.advance(newest_ns)

    def hear(self, cursors: Iterable[CameraCursor], now_ns: int) -> bool:
        """Take the twin's cursors; True when what they cover is in doubt.

        One that is ahead of our own living camera by a second is of another clock, and not believed. One that begins
        after what waits here, or that stood and then went over all that time in one step, is of a publisher that may
        have been away meanwhile.
        """
        doubt = False
        for cursor in cursors:
            one = self._camera(cursor.camera)
            living = now_ns - one.seen_ns < TIME_MOVED_NS
            if living and cursor.ptp_ns > one.newest_ns + TIME_MOVED_NS:
                one.twin_ns = None
            elif one.twin_ns is None or cursor.ptp_ns > one.twin_ns:
                doubt |= one.waiting > 0 and self._leapt(cursor, one, now_ns)
                one.twin_ns, one.twin_moved_ns = cursor.ptp_ns, now_ns
                one.advance(cursor.ptp_ns)
        return doubt

    def take_covered(self) -> Iterable[tuple[Entry, bool]]:
        """The batches that are the twin's, in order: (batch, whether it is one that the twin never had)."""
        newest_ns = max((one.twin_ns for one in self._cameras.values() if one.twin_ns is not None), default=None)
        while self._waiting and newest_ns is not None:
            waiting = self._waiting[0]
            if not waiting.spans:  # of a time that is no more: no cursor speaks of it, so it stays for a takeover
                self._waiting.popleft()
                continue
            covered = all(self._is_covered(camera, ptp_ns) for camera, ptp_ns in waiting.spans)
            if not covered and any(newest_ns - ptp_ns < UNCLAIMED_NS for _, ptp_ns in waiting.spans):
                return
            self._waiting.popleft()
            for camera, _ in waiting.spans:
                self._camera(camera).waiting -= 1
            yield waiting.entry, not covered

    def cursors(self) -> tuple[CameraCursor, ...]:
        """All cursors, by camera."""
        known = sorted((number, one.cursor_ns) for number, one in self._cameras.items() if one.cursor_ns is not None)
        return tuple(CameraCursor(number, cursor_ns) for number, cursor_ns in known)

    def cursor_age_ns(self) -> int | None:
        """How far the worst cursor is behind its camera's newest frame; None before there is one."""
        ages = [one.newest_ns - one.cursor_ns for one in self._cameras.values() if one.cursor_ns is not None]
        return max(0, *ages) if ages else None

    @property
    def first(self) -> Entry | None:
        """The oldest batch that waits."""
        return self._waiting[0].entry if self._waiting else None

    def first_of(self, entry: Entry) -> CameraCursor | None:
        """Camera and newest exposure of a waiting batch."""
        for waiting in self._waiting:
            if waiting.entry == entry:
                return CameraCursor(*waiting.spans[0])
        return None

    def flowing(self, now_ns: int, blind_ns: int) -> int:
        """How many cameras had a frame through the pipeline within ``blind_ns``."""
        return sum(1 for one in self._cameras.values() if one.seen_ns and now_ns - one.seen_ns <= blind_ns)

    def _camera(self, number: int) -> _Camera:
        return self._cameras.setdefault(number, _Camera())

    def _is_covered(self, camera: int, ptp_ns: int) -> bool:
        one = self._camera(camera)
        return one.twin_ns is not None and (ptp_ns <= one.twin_ns or ptp_ns < one.twin_ns + one.half_ns)

    def _leapt(self, to: CameraCursor, one: _Camera, now_ns: int) -> bool:
        """Whether the twin's cursor leaves so much behind in one step that frames may be missing there.

        A backlog that drains goes in many steps, each shorter than the time that it stood.
        """
        spans = (span for waiting in self._waiting for span in waiting.spans)
        oldest_ns = next((ptp_ns for camera, ptp_ns in spans if camera == to.camera), to.ptp_ns)
        if one.twin_ns is None:
            return oldest_ns < to.ptp_ns
        stood_ns, step_ns = now_ns - one.twin_moved_ns, to.ptp_ns - max(one.twin_ns, oldest_ns)
        return min(stood_ns, step_ns) > max(DOUBT_NS, 8 * one.half_ns) and 5 * step_ns >= 4 * stood_ns

    def _time_went_back(self, camera: int, one: _Camera) -> None:
        one.cursor_ns = one.twin_ns = None
        one.newest_ns, one.frame, one.waiting = -1, -1, 0
        one.steps_ns.clear()
        for waiting in self._waiting:  # rare: these no longer speak for the camera
            waiting.spans = tuple(span for span in waiting.spans if span[0] != camera)


def spans_of(cameras: Iterable[int], exposures: Iterable[int]) -> Spans:
    """The spans of a batch, from its records' columns."""
    newest: Counter[int] = Counter()
    for camera, ptp_ns in zip(cameras, exposures, strict=True):
        newest[camera] = max(newest[camera], ptp_ns)
    return tuple(newest.items())
