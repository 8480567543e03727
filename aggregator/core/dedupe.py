"""Re-delivery and gaps: which record numbers of each (node, boot id) have been here.

Per source one watermark, below which every number has been seen (or given up), and a bounded list of ranges above it.
Batches may come in any order and any number of times. What lies between the ranges is missing: an open gap first, lost
when it has been open too long, recovered when it arrives after all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any

Span = tuple[int, int]  # half open: first number, one past the last


@dataclass(frozen=True, slots=True)
class Missing:
    """Records of a source that are not here: ``open`` may still come, ``lost`` are overdue.

    ``before_first`` are numbers below the first one ever seen: sent before this rack listened, so nobody here can say
    whether they exist; they are shown under their own name and never counted as received.
    """

    open: int = 0
    lost: int = 0
    before_first: int = 0


class SeenNumbers:
    """The numbers seen from one source. Memory: one watermark and at most ``max_ranges`` ranges.

    When there are more ranges than that, the oldest gap is given up: its numbers count as lost for good.
    """

    def __init__(self, max_ranges: int = 1024) -> None:
        self._max_ranges = max_ranges
        self.watermark = 0
        self._joined_at = -1  # the first number ever seen
        self._given_up = 0
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._gap_opened_ns: list[int] = []  # when the gap right below each range was noticed

    @property
    def highest(self) -> int:
        """One past the highest number seen."""
        return self._ends[-1] if self._ends else self.watermark

    @property
    def ranges(self) -> list[Span]:
        """The ranges above the watermark, ascending."""
        return list(zip(self._starts, self._ends, strict=True))

    def add(self, start: int, end: int, now_ns: int) -> list[Span]:
        """Mark ``start <= number < end`` as seen and return the spans of it that are new, ascending."""
        if self._joined_at < 0 and end > start:
            self._joined_at = start
        low = max(start, self.watermark)
        if end <= low:
            return []
        i = bisect_left(self._ends, low)
        j = bisect_right(self._starts, end)
        new = self._holes(low, end, i, j)
        opened_ns = self._gap_opened_ns[i] if i < len(self._starts) else now_ns
        merged_start = min(low, self._starts[i]) if i < j else low
        merged_end = max(end, self._ends[j - 1]) if i < j else end
        self._starts[i:j] = [merged_start]
        self._ends[i:j] = [merged_end]
        self._gap_opened_ns[i:j] = [opened_ns]
        if merged_start == self.watermark:
            self._raise_watermark()
        while len(self._starts) > self._max_ranges:
            if self._starts[0] > self._joined_at:
                self._given_up += self._starts[0] - max(self.watermark, self._joined_at)
            self._raise_watermark()
        return new

    def _holes(self, low: int, end: int, i: int, j: int) -> list[Span]:
        holes: list[Span] = []
        at = low
        for k in range(i, j):
            if self._starts[k] > at:
                holes.append((at, min(self._starts[k], end)))
            at = max(at, self._ends[k])
        if at < end:
            holes.append((at, end))
        return holes

    def _raise_watermark(self) -> None:
        self.watermark = self._ends.pop(0)
        self._starts.pop(0)
        self._gap_opened_ns.pop(0)

    def gaps(self) -> list[tuple[int, int, int]]:
        """The missing spans after the first number seen, each with the time at which it was noticed, ascending."""
        found: list[tuple[int, int, int]] = []
        below = self.watermark
        for start, end, opened_ns in zip(self._starts, self._ends, self._gap_opened_ns, strict=True):
            first = max(below, self._joined_at)
            if start > first:
                found.append((first, start, opened_ns))
            below = end
        return found

    def missing(self, now_ns: int, close_ns: int) -> Missing:
        """Count what is missing at ``now_ns``; a gap older than ``close_ns`` is lost."""
        open_count, lost = 0, self._given_up
        for start, end, opened_ns in self.gaps():
            if now_ns - opened_ns >= close_ns:
                lost += end - start
            else:
                open_count += end - start
        return Missing(open_count, lost, self._before_first())

    def _before_first(self) -> int:
        count, below = 0, self.watermark
        for start, end in zip(self._starts, self._ends, strict=True):
            count += max(0, min(start, self._joined_at) - below)
            below = end
        return count

    def state(self) -> dict[str, Any]:
        """Everything but the gaps' ages, as plain JSON values."""
        return {
            "watermark": self.watermark,
            "joined_at": self._joined_at,
            "given_up": self._given_up,
            "ranges": self.ranges,
        }

    @classmethod
    def restore(cls, state: dict[str, Any], max_ranges: int, now_ns: int) -> SeenNumbers:
        """Build from :meth:`state`; the gaps count as noticed now, so a restart gives them their full time again."""
        seen = cls(max_ranges)
        seen.watermark = int(state["watermark"])
        seen._joined_at = int(state["joined_at"])
        seen._given_up = int(state["given_up"])
        for start, end in state["ranges"]:
            seen._starts.append(int(start))
            seen._ends.append(int(end))
            seen._gap_opened_ns.append(now_ns)
        return seen


SourceKey = tuple[str, bytes]  # node, boot id


class Deduper:
    """One :class:`SeenNumbers` per (node, boot id), and which of them changed since they were last saved."""

    def __init__(self, max_ranges: int = 1024, close_ns: int = 30_000_000_000) -> None:
        self._max_ranges = max_ranges
        self._close_ns = close_ns
        self._sources: dict[SourceKey, SeenNumbers] = {}
        self._changed: set[SourceKey] = set()

    def restore(self, key: SourceKey, state: dict[str, Any], now_ns: int) -> None:
        """Take one source's saved state."""
        self._sources[key] = SeenNumbers.restore(state, self._max_ranges, now_ns)

    def observe(self, key: SourceKey, first: int, count: int, now_ns: int) -> list[Span]:
        """Mark a batch's numbers as seen; return the new spans."""
        seen = self._sources.get(key)
        if seen is None:
            seen = self._sources[key] = SeenNumbers(self._max_ranges)
        new = seen.add(first, first + count, now_ns)
        if new:
            self._changed.add(key)
        return new

    def take_changes(self) -> dict[SourceKey, dict[str, Any]]:
        """The states that changed since the last call."""
        changes = {key: self._sources[key].state() for key in self._changed}
        self._changed.clear()
        return changes

    def missing(self, now_ns: int, node: str | None = None) -> Missing:
        """What is missing over all sources, or over all boots of one node."""
        counts = [
            seen.missing(now_ns, self._close_ns)
            for key, seen in self._sources.items()
            if node is None or key[0] == node
        ]
        return Missing(sum(c.open for c in counts), sum(c.lost for c in counts), sum(c.before_first for c in counts))
