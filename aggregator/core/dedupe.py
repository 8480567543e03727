"""Re-delivery and gaps: which record numbers of each (node, boot id) have been here.

Per source one watermark, below which every number has been seen (or given up), and a bounded list of ranges above it.
Batches may come in any order and any number of times. What lies between the ranges is missing: an open gap first, lost
when it has been open too long, recovered when it arrives after all.

A node may have so many starts (boot ids) and no more: see :class:`Deduper`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Any, Final

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
        self.turn = 0  # when it last brought something new, in its de-duplicator's own count; saved with the rest
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
            "turn": self.turn,
            "ranges": self.ranges,
        }

    @classmethod
    def restore(cls, state: dict[str, Any], max_ranges: int, now_ns: int) -> SeenNumbers:
        """Build from :meth:`state`; the gaps count as noticed now, so a restart gives them their full time again."""
        seen = cls(max_ranges)
        seen.turn = int(state.get("turn", 0))
        seen.watermark = int(state["watermark"])
        seen._joined_at = int(state["joined_at"])
        seen._given_up = int(state["given_up"])
        for start, end in state["ranges"]:
            seen._starts.append(int(start))
            seen._ends.append(int(end))
            seen._gap_opened_ns.append(now_ns)
        return seen


SourceKey = tuple[str, bytes]  # node, boot id
MAX_STARTS: Final = 64  # a node that starts again every ten minutes for ten hours; a healthy one starts a few times
RETIRED_PER_START: Final = 16  # retired starts still refused by name, 16 bytes each, per start that may be kept


@dataclass(slots=True)
class _NodeStarts:
    """One node: its starts in use, the names of those retired last, and what the retired ones lacked in all."""

    kept: dict[bytes, SeenNumbers] = field(default_factory=dict)
    retired: dict[bytes, None] = field(default_factory=dict)  # oldest first
    retired_count: int = 0
    lost: int = 0
    before_first: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """What the store must write. Each start stands in one place: as it is now."""

    kept: dict[SourceKey, dict[str, Any]]
    retired: list[SourceKey]
    forgotten: list[SourceKey]

    def __bool__(self) -> bool:
        return bool(self.kept or self.retired or self.forgotten)


class Deduper:
    """One :class:`SeenNumbers` per (node, boot id), and what changed of them since it was last saved.

    A node's certificate lets it send under any number of boot ids, so they are bounded: ``max_starts`` per node. One
    more retires the start whose last new record is longest ago. What that one lacks is lost from then on and stays in
    the totals; its numbers are forgotten, so its batches must be refused (:meth:`is_retired`), which holds for the
    last ``max_starts * retired_per_start`` retired ones. A start older than that is forgotten altogether: its batches
    are those of a new start, and only the store's unique key keeps their records from being stored again.
    """

    def __init__(
        self,
        max_ranges: int = 1024,
        close_ns: int = 30_000_000_000,
        max_starts: int = MAX_STARTS,
        retired_per_start: int = RETIRED_PER_START,
    ) -> None:
        self._max_ranges = max_ranges
        self._close_ns = close_ns
        self._max_starts = max_starts
        self._max_retired = max_starts * retired_per_start
        self._nodes: dict[str, _NodeStarts] = {}
        self._changed: dict[SourceKey, None] = {}  # in order of the first change
        self._turn = 0

    @property
    def starts(self) -> int:
        """Starts in use, over all nodes."""
        return sum(len(node.kept) for node in self._nodes.values())

    @property
    def remembered_retired(self) -> int:
        """Retired starts that are still refused by name."""
        return sum(len(node.retired) for node in self._nodes.values())

    @property
    def retired_starts(self) -> int:
        """Starts retired over the life of the store."""
        return sum(node.retired_count for node in self._nodes.values())

    def restore(self, key: SourceKey, state: dict[str, Any], now_ns: int) -> None:
        """Take one source's saved state, in any order; beyond ``max_starts`` the stalest is retired."""
        node = self._nodes.setdefault(key[0], _NodeStarts())
        seen = node.kept[key[1]] = SeenNumbers.restore(state, self._max_ranges, now_ns)
        self._turn = max(self._turn, seen.turn)
        self._retire_beyond(key[0], node, now_ns)

    def restore_retired(self, key: SourceKey) -> None:
        """Take the name of a retired start, oldest first."""
        node = self._nodes.setdefault(key[0], _NodeStarts())
        node.retired[key[1]] = None
        self._forget_beyond(key[0], node)

    def restore_totals(self, name: str, node: str, value: int) -> None:
        """Take one of :meth:`totals`; other names are left alone."""
        starts = self._nodes.setdefault(node, _NodeStarts())
        if name == "starts_retired":
            starts.retired_count += value
        elif name == "starts_lost":
            starts.lost += value
        elif name == "starts_before_first":
            starts.before_first += value

    def totals(self) -> dict[str, int]:
        """What the retired starts left, per node, under names for the store: ``starts_lost:NODE`` and so on."""
        found: dict[str, int] = {}
        for name, node in self._nodes.items():
            if node.retired_count:
                found[f"starts_retired:{name}"] = node.retired_count
                found[f"starts_lost:{name}"] = node.lost
                found[f"starts_before_first:{name}"] = node.before_first
        return found

    def is_retired(self, key: SourceKey) -> bool:
        """Whether this start is known to be retired: nobody can say any more which of its numbers were here."""
        node = self._nodes.get(key[0])
        return node is not None and key[1] in node.retired

    def observe(self, key: SourceKey, first: int, count: int, now_ns: int) -> list[Span]:
        """Mark a batch's numbers as seen; return the new spans. Not for a start that :meth:`is_retired`."""
        if count <= 0:
            return []
        node = self._nodes.setdefault(key[0], _NodeStarts())
        seen = node.kept.get(key[1])
        fresh = seen is None
        if seen is None:
            seen = node.kept[key[1]] = SeenNumbers(self._max_ranges)
        new = seen.add(first, first + count, now_ns)
        if new:
            self._turn += 1
            seen.turn = self._turn
            self._changed[key] = None
        if fresh:
            self._retire_beyond(key[0], node, now_ns)
        return new

    def _retire_beyond(self, name: str, node: _NodeStarts, now_ns: int) -> None:
        while len(node.kept) > self._max_starts:
            boot_id = min(node.kept, key=lambda boot: node.kept[boot].turn)
            left = node.kept.pop(boot_id).missing(now_ns, self._close_ns)
            node.lost += left.open + left.lost
            node.before_first += left.before_first
            node.retired_count += 1
            node.retired[boot_id] = None
            self._changed[name, boot_id] = None
            self._forget_beyond(name, node)

    def _forget_beyond(self, name: str, node: _NodeStarts) -> None:
        while len(node.retired) > self._max_retired:
            boot_id = next(iter(node.retired))
            del node.retired[boot_id]
            self._changed[name, boot_id] = None

    def take_changes(self) -> Changes:
        """What changed since the last call."""
        changes = Changes({}, [], [])
        for name, boot_id in self._changed:
            node = self._nodes[name]
            if boot_id in node.kept:
                changes.kept[name, boot_id] = node.kept[boot_id].state()
            elif boot_id in node.retired:
                changes.retired.append((name, boot_id))
            else:
                changes.forgotten.append((name, boot_id))
        self._changed.clear()
        return changes

    def missing(self, now_ns: int, node: str | None = None) -> Missing:
        """What is missing over all sources, or over all starts of one node; retired ones count as they were left."""
        open_count = lost = before_first = 0
        for name, starts in self._nodes.items():
            if node is not None and name != node:
                continue
            counts = [seen.missing(now_ns, self._close_ns) for seen in starts.kept.values()]
            open_count += sum(c.open for c in counts)
            lost += starts.lost + sum(c.lost for c in counts)
            before_first += starts.before_first + sum(c.before_first for c in counts)
        return Missing(open_count, lost, before_first)
