"""Which batch is where: the spool's positions over its segments. Pure bookkeeping, no file, no clock.

Positions are (segment number, index) and only ever compared and moved forward, except by :meth:`Ledger.rewind`. A
position in a segment that is gone means the start of the next one that is there.

A standby holds entries back: what is appended after :meth:`Ledger.hold` is handed out after :meth:`Ledger.release`
only, and then before what was waiting already (*backlog*) if that is much: old debts do not delay a takeover.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

from agent.publish.segment import Entry, Segment

Position = tuple[int, int]
FEW_BATCHES: Final = 64  # a quarter second of four cameras at 60 frames/s, sent within milliseconds


@dataclass(frozen=True, slots=True)
class Depth:
    """What is not acknowledged."""

    batches: int = 0
    records: int = 0
    bytes: int = 0


class Ledger:
    """Segments in order, and *read* >= *acknowledged* >= *settled* over their entries."""

    def __init__(self) -> None:
        self.segments: dict[int, Segment] = {}
        self.total_bytes = 0
        self.acknowledged_batches = 0
        self.acknowledged_records = 0
        self.settled: Position = (0, 0)
        self._read: Position = (0, 0)
        self._acked: Position = (0, 0)
        self._counted: Position = (0, 0)  # end of what was ever acknowledged: a replay is not counted twice
        self._numbers: list[int] = []
        self._done: set[Position] = set()  # acknowledged ahead of the unbroken run
        self._void: set[Position] = set()  # given up: passed over, never counted as acknowledged
        self._settling: deque[tuple[int, Position]] = deque()
        self._depth = [0, 0, 0]
        self.covered_batches = 0
        self.covered_records = 0
        self._covered: OrderedDict[Position, None] = OrderedDict()  # closed because the twin delivered it, ascending
        self._held: Position | None = None  # from here on nothing is handed out
        self._live: Position = (0, 0)  # where what the last hold kept back begins: what is older is backlog
        self._backlog: tuple[Position, Position] | None = None  # what of it is still to be handed out

    # -- segments ----------------------------------------------------------------------------------------------------

    @property
    def oldest(self) -> Segment | None:
        """The first segment."""
        return self.segments[self._numbers[0]] if self._numbers else None

    @property
    def newest(self) -> Segment | None:
        """The last segment, the one that is written to."""
        return self.segments[self._numbers[-1]] if self._numbers else None

    def add(self, segment: Segment, first: int = 0) -> None:
        """Put a segment at the end; entries before ``first`` are settled already."""
        if first:
            self.settled = self._acked = self._read = self._counted = (segment.number, first)
        self.segments[segment.number] = segment
        self._numbers.append(segment.number)
        self.total_bytes += segment.size
        self._add_depth(segment.totals(first), 1)

    def appended(self, records: int, size: int) -> None:
        """Note that one entry was appended to the newest segment."""
        self.total_bytes += size
        self._add_depth((1, records, size), 1)

    def remove(self, segment: Segment) -> int:
        """Forget a segment; return how many records in it had never been acknowledged."""
        number = segment.number
        first = self._first_open(number)
        batches, records, size = segment.totals(first)
        lost = segment.totals(max(first, self._first_after(self._counted, segment)))[1]
        for position in [p for p in self._done | self._void if p[0] == number]:
            if position in self._done:
                entry = segment.entry(position[1])
                batches, records, size = batches - 1, records - entry.records, size - entry.size
                lost -= entry.records if position >= self._counted else 0
            self._done.discard(position)
            self._void.discard(position)
        self._add_depth((batches, records, size), -1)
        self.total_bytes -= segment.size
        del self.segments[number]
        self._numbers.remove(number)
        self._advance()
        return lost

    def is_acked(self, segment: Segment) -> bool:
        """Whether every entry of the segment is acknowledged."""
        return self._first_open(segment.number) >= len(segment)

    def settled_segments(self) -> list[Segment]:
        """Segments, the newest aside, of which nothing is needed any more."""
        done = []
        for number in self._numbers[:-1]:
            segment = self.segments[number]
            if self._first_after(self.settled, segment) < len(segment):
                break
            done.append(segment)
        return done

    def acked_segments(self) -> list[Segment]:
        """Segments, the newest aside, that wait only for their replay time to pass."""
        return [s for n in self._numbers[:-1] if self.is_acked(s := self.segments[n])]

    # -- entries -----------------------------------------------------------------------------------------------------

    @property
    def depth(self) -> Depth:
        """What is not acknowledged."""
        return Depth(*self._depth)

    @property
    def unread(self) -> bool:
        """Whether :meth:`take` may have something."""
        self._read = self._resolve(max(self._read, self._acked))
        return self._may_go(self._read, self._held) or self._backlog_at() is not None

    def take(self) -> Entry | None:
        """Hand out the next entry that is not acknowledged; None at the end."""
        while True:
            position = self._read = self._resolve(max(self._read, self._acked))
            if self._may_go(position, self._held):
                self._read = (position[0], position[1] + 1)
            elif self._backlog is not None and (older := self._backlog_at()) is not None:
                position, self._backlog = older, ((older[0], older[1] + 1), self._backlog[1])
            else:
                return None
            if self._is_open(position):
                return self.segments[position[0]].entry(position[1])

    def is_open(self, entry: Entry) -> bool:
        """Whether the entry is still there and not acknowledged."""
        return self._is_open((entry.segment, entry.index))

    def _is_open(self, position: Position) -> bool:
        return position[0] in self.segments and position >= self._acked and position not in self._done

    # -- standby -----------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Hand out nothing that is appended from now on."""
        newest = self.newest
        self._held = self._live = (newest.number, len(newest)) if newest is not None else (0, 0)
        if self._backlog is not None:  # back into one row; what is under way from there may go twice
            self._read, self._backlog = min(self._read, self._backlog[0]), None

    def release(self, first: Entry | None, *, again: bool) -> int:
        """Hand out what was held back, from ``first`` on, and then the backlog; ``again``: back to *settled*.

        Return how many closed entries are open again: with ``again`` also what the twin delivered.
        """
        self._held = None
        if first is not None:
            self._live = (first.segment, first.index)
        if again:
            return self.rewind()
        self._split()
        return 0

    def cover(self, entry: Entry) -> bool:
        """Close an entry that the twin has delivered. Ascending order. True when the unbroken run grew."""
        position = (entry.segment, entry.index)
        if not self._is_open(position):
            return False
        self._covered[position] = None
        self.covered_batches += 1
        self.covered_records += entry.records
        return self.acknowledge(entry)

    def is_held(self, segment: Segment) -> bool:
        """Whether the whole segment is held back."""
        return self._held is not None and (segment.number, 0) >= self._held

    @property
    def backlog_done(self) -> bool:
        """Whether nothing older than what the last hold kept back is open."""
        return self._resolve(self._acked) >= self._live

    def _split(self) -> None:
        """What is older than what was held back becomes backlog, unless it is so little that order is worth more."""
        if self._read < self._live and self._between(self._read, self._live) > FEW_BATCHES:
            self._backlog, self._read = (self._read, self._live), self._live

    def _between(self, start: Position, end: Position) -> int:
        """How many entries lie between two positions."""
        counts = (
            self._first_after(end, segment) - self._first_after(start, segment) for segment in self.segments.values()
        )
        return sum(max(0, count) for count in counts)

    def _backlog_at(self) -> Position | None:
        if self._backlog is None:
            return None
        position = self._resolve(self._backlog[0])
        if not self._may_go(position, self._backlog[1]):
            self._backlog = None
            return None
        return position

    def _forget_covered(self) -> None:
        """It goes to the broker after all: it counts as covered no more, unless it was passed by."""
        for position in self._covered:
            if position >= self._counted and position[0] in self.segments:
                self.covered_batches -= 1
                self.covered_records -= self.segments[position[0]].entry(position[1]).records
        self._covered.clear()

    def _may_go(self, position: Position, end: Position | None) -> bool:
        return self._exists(position) and (end is None or position < end)

    def acknowledge(self, entry: Entry, *, void: bool = False) -> bool:
        """Close one entry, in any order; ``void`` if it was given up. True when the unbroken run grew."""
        if not self.is_open(entry):
            return False
        position = (entry.segment, entry.index)
        self._done.add(position)
        if void:
            self._void.add(position)
        self._add_depth((1, entry.records, entry.size), -1)
        return self._advance()

    def rewind(self) -> int:
        """Go back to *settled*; return how many closed entries are open again.

        What was given up stays given up. What the twin delivered stays closed in a standby, whose twin repeats it.
        """
        before = self._depth[0]
        self._settling.clear()
        self._done.clear()
        self._read = self._acked = self.settled
        self._backlog = None
        self._depth = [0, 0, 0]
        for number in self._numbers:
            segment = self.segments[number]
            self._add_depth(segment.totals(self._first_after(self.settled, segment)), 1)
        if self._held is None:
            self._forget_covered()
        for position in self._void.union(self._covered):
            if position >= self.settled and position[0] in self.segments:
                entry = self.segments[position[0]].entry(position[1])
                self._done.add(position)
                self._add_depth((1, entry.records, entry.size), -1)
        self._advance()
        if self._held is None:
            self._split()
        return self._depth[0] - before

    def settle(self, now_ns: int, replay_ns: int) -> bool:
        """Move *settled* over what was acknowledged ``replay_ns`` ago; True when it moved."""
        if not self._settling or self._settling[-1][1] != self._acked:
            if self._acked == self.settled:
                return False
            self._settling.append((now_ns, self._acked))
        moved = False
        while self._settling and self._settling[0][0] + replay_ns <= now_ns:
            self.settled = self._settling.popleft()[1]
            moved = True
        if moved:
            self._void = {p for p in self._void if p >= self.settled}
            while self._covered and next(iter(self._covered)) < self.settled:
                self._covered.popitem(last=False)
        return moved

    # -- positions ---------------------------------------------------------------------------------------------------

    def _advance(self) -> bool:
        start = self._acked
        position = self._resolve(self._acked)
        while position in self._done:
            self._done.remove(position)
            following = (position[0], position[1] + 1)
            if position >= self._counted and position not in self._void and position not in self._covered:
                self.acknowledged_batches += 1
                self.acknowledged_records += self.segments[position[0]].entry(position[1]).records
            self._counted = max(self._counted, following)
            self._acked = following
            position = self._resolve(following)
        return self._acked != start

    def _resolve(self, position: Position) -> Position:
        """The same position, expressed in the segment that holds (or will hold) its entry."""
        number, index = position
        segment = self.segments.get(number)
        if segment is not None and index < len(segment):
            return position
        for following in self._numbers[bisect_right(self._numbers, number) :]:
            if len(self.segments[following]):
                return following, 0
        return position

    def _exists(self, position: Position) -> bool:
        segment = self.segments.get(position[0])
        return segment is not None and position[1] < len(segment)

    def _first_open(self, number: int) -> int:
        return self._first_after(self._acked, self.segments[number])

    @staticmethod
    def _first_after(position: Position, segment: Segment) -> int:
        """Index of the segment's first entry at or after ``position``."""
        if position[0] != segment.number:
            return 0 if position[0] < segment.number else len(segment)
        return position[1]

    def _add_depth(self, totals: tuple[int, int, int], sign: int) -> None:
        for i, value in enumerate(totals):
            self._depth[i] += sign * value
