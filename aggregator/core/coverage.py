"""Which exposures of one camera have been taken, and from which node, in little memory.

Frames that follow each other from one node join into one interval, so a whole match of a healthy camera is a single
interval. Two exposures within half a frame period are the same frame (the twins see the same optics).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from statistics import median
from typing import Final

Interval = tuple[int, int, str]  # first and last exposure (ptp_ns), node

_JOIN_PERIODS: Final = 1.5  # a larger step than this leaves a hole in which another node's frame fits
_DEFAULT_RATE_HZ: Final = 50.0
_PERIOD_SAMPLES: Final = 33


class FramePeriod:
    """A camera's frame period, ns: given, or the median of exposure steps divided by frame number steps."""

    def __init__(self, rate_hz: float | None = None) -> None:
        self._given_ns = None if rate_hz is None else round(1e9 / rate_hz)
        self._samples: deque[int] = deque(maxlen=_PERIOD_SAMPLES)
        self._last: dict[str, tuple[int, int]] = {}  # node -> frame number, exposure

    def observe(self, node: str, frame: int, ptp_ns: int) -> None:
        """Learn from one exposure; a node's frames in order, others are ignored."""
        if self._given_ns is not None:
            return
        last = self._last.get(node)
        if last is not None and 0 < frame - last[0] < 100 and ptp_ns > last[1]:
            self._samples.append((ptp_ns - last[1]) // (frame - last[0]))
        self._last[node] = (frame, ptp_ns)

    @property
    def period_ns(self) -> int:
        """The period; 20 ms before anything is known."""
        if self._given_ns is not None:
            return self._given_ns
        return max(1, int(median(self._samples))) if self._samples else round(1e9 / _DEFAULT_RATE_HZ)


class Coverage:
    """Disjoint intervals of taken exposures, ascending, each from one node.

    At most ``max_intervals``: beyond it the two oldest of them become one, so that a hole in the far past is closed.
    """

    def __init__(self, max_intervals: int = 4096) -> None:
        self._max = max_intervals
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._nodes: list[str] = []
        self._touched: set[int] = set()  # starts of intervals that changed, or are gone, since take_changes

    @property
    def intervals(self) -> list[Interval]:
        """All intervals, ascending."""
        return list(zip(self._starts, self._ends, self._nodes, strict=True))

    def holders(self, ptp_ns: int, half_ns: int) -> set[str]:
        """The nodes that an exposure within ``half_ns`` of this one was taken from; empty: it is still free."""
        found: set[str] = set()
        i = bisect_right(self._starts, ptp_ns + half_ns) - 1
        while i >= 0 and self._ends[i] >= ptp_ns - half_ns:
            found.add(self._nodes[i])
            i -= 1
        return found

    def add(self, ptp_ns: int, node: str, period_ns: int) -> None:
        """Mark an exposure as taken from ``node``."""
        reach = int(period_ns * _JOIN_PERIODS)
        i = bisect_right(self._starts, ptp_ns) - 1
        if i >= 0 and self._nodes[i] == node and ptp_ns <= self._ends[i] + reach:
            if ptp_ns > self._ends[i]:
                self._ends[i] = ptp_ns
                self._touched.add(self._starts[i])
        elif i >= 0 and ptp_ns <= self._ends[i]:
            return  # inside another node's interval: it stands
        else:
            i += 1
            self._insert(i, ptp_ns, node)
        self._join_next(i, reach)
        while len(self._starts) > self._max:
            self._merge(0)

    def _insert(self, i: int, ptp_ns: int, node: str) -> None:
        self._starts.insert(i, ptp_ns)
        self._ends.insert(i, ptp_ns)
        self._nodes.insert(i, node)
        self._touched.add(ptp_ns)

    def _join_next(self, i: int, reach: int) -> None:
        following = i + 1
        if (
            following < len(self._starts)
            and self._nodes[following] == self._nodes[i]
            and self._starts[following] <= self._ends[i] + reach
        ):
            self._merge(i)

    def _merge(self, i: int) -> None:
        self._touched.update((self._starts[i], self._starts[i + 1]))
        self._ends[i] = max(self._ends[i], self._ends[i + 1])
        del self._starts[i + 1], self._ends[i + 1], self._nodes[i + 1]

    def take_changes(self) -> tuple[list[Interval], list[int]]:
        """Intervals to save and starts of intervals to forget, since the last call."""
        keep: list[Interval] = []
        gone: list[int] = []
        for start in sorted(self._touched):
            i = bisect_left(self._starts, start)
            if i < len(self._starts) and self._starts[i] == start:
                keep.append((start, self._ends[i], self._nodes[i]))
            else:
                gone.append(start)
        self._touched.clear()
        return keep, gone

    @classmethod
    def restore(cls, intervals: list[Interval], max_intervals: int) -> Coverage:
        """Build from saved intervals, in any order."""
        coverage = cls(max_intervals)
        for start, end, node in sorted(intervals):
            coverage._starts.append(start)
            coverage._ends.append(end)
            coverage._nodes.append(node)
        return coverage
