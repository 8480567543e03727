"""What the rack says about itself: totals, rates and latencies, per node and camera. No reading is not zero."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final

from aggregator.core.desk import Outcome
from aggregator.core.validate import Reason
from touchline.stats import Summary, Window, percentile

_RATE_SECONDS: Final = 5
_HISTORY_SECONDS: Final = 120
_SECOND_NS: Final = 1_000_000_000


class Rate:
    """Events per second over the last few whole seconds; times are monotonic ns."""

    def __init__(self, seconds: int = _RATE_SECONDS) -> None:
        self._seconds = seconds
        self._counts: deque[tuple[int, int]] = deque()  # second, events

    def add(self, count: int, now_ns: int) -> None:
        """Count ``count`` events at ``now_ns``."""
        second = now_ns // _SECOND_NS
        if self._counts and self._counts[-1][0] == second:
            self._counts[-1] = (second, self._counts[-1][1] + count)
        else:
            self._counts.append((second, count))
        self._drop(second)

    def per_second(self, now_ns: int) -> float:
        """The mean over the last whole seconds, the running one left out."""
        second = now_ns // _SECOND_NS
        self._drop(second)
        whole = [count for at, count in self._counts if at < second]
        if not whole:
            return 0.0
        span = min(self._seconds, second - self._counts[0][0])
        return sum(whole) / max(1, span)

    def _drop(self, second: int) -> None:
        while self._counts and self._counts[0][0] < second - self._seconds:
            self._counts.popleft()


class History:
    """Per second p50 and p99 of the last two minutes, for the page's line."""

    def __init__(self, seconds: int = _HISTORY_SECONDS) -> None:
        self._done: deque[tuple[int, float, float]] = deque(maxlen=seconds)
        self._second = -1
        self._values: list[float] = []

    def add(self, value: float, now_ns: int) -> None:
        """Take one value."""
        self._roll(now_ns // _SECOND_NS)
        self._values.append(value)

    def points(self, now_ns: int) -> list[tuple[int, float, float]]:
        """(seconds ago, p50, p99), oldest first; seconds without a value are absent."""
        second = now_ns // _SECOND_NS
        self._roll(second)
        return [(second - at, p50, p99) for at, p50, p99 in self._done if second - at <= _HISTORY_SECONDS]

    def _roll(self, second: int) -> None:
        if second == self._second:
            return
        if self._values:
            ordered = sorted(self._values)
            self._done.append((self._second, percentile(ordered, 0.5), percentile(ordered, 0.99)))
            self._values = []
        self._second = second


@dataclass(slots=True)
class StreamFigures:
    """One camera as one node sends it."""

    records: Rate = field(default_factory=Rate)
    frames: Rate = field(default_factory=Rate)
    latency_ms: Window = field(default_factory=Window)
    records_total: int = 0
    frames_total: int = 0
    heard_ns: int = 0


@dataclass(slots=True)
class Figures:
    """Totals over the life of the store, and figures of this run. All times are monotonic ns given by the caller."""

    totals: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unflagged: Counter[str] = field(default_factory=Counter)  # node -> records that came without CLOCK_IN_BOUND
    streams: dict[tuple[str, int], StreamFigures] = field(default_factory=dict)
    latency_ms: Window = field(default_factory=Window)
    history: History = field(default_factory=History)
    records: Rate = field(default_factory=Rate)
    messages: Rate = field(default_factory=Rate)

    def count(self, outcome: Outcome, now_ns: int) -> None:
        """Count a message's outcome; what was taken is counted by :meth:`take`, once it is stored."""
        self.totals["messages"] += 1
        self.messages.add(1, now_ns)
        if outcome.refusal is not None and outcome.refusal.reason is not Reason.NON_FINITE:
            self.refused[outcome.refusal.reason.value] += 1
        if outcome.header is not None:
            self.totals["received"] += outcome.header.count
            if outcome.unflagged:
                self.unflagged[outcome.header.node] += outcome.unflagged
        self.totals["redelivered"] += outcome.redelivered
        self.totals["refused_records"] += outcome.non_finite

    def frame(self, node: str, camera: int, records: int, latency_ms: float, now_ns: int) -> None:
        """Count one camera frame that was taken; latency is from exposure to its arrival here."""
        stream = self.streams.get((node, camera))
        if stream is None:
            stream = self.streams[node, camera] = StreamFigures()
        stream.records.add(records, now_ns)
        stream.frames.add(1, now_ns)
        stream.latency_ms.add(latency_ms)
        stream.records_total += records
        stream.frames_total += 1
        stream.heard_ns = now_ns
        self.latency_ms.add(latency_ms)
        self.history.add(latency_ms, now_ns)
        self.records.add(records, now_ns)

    def stream_rows(self, now_ns: int) -> list[dict[str, Any]]:
        """One row per node and camera, as plain values."""
        return [
            {
                "node": node,
                "camera": camera,
                "records_per_s": round(s.records.per_second(now_ns), 1),
                "frames_per_s": round(s.frames.per_second(now_ns), 1),
                "records": s.records_total,
                "frames": s.frames_total,
                "quiet_s": round((now_ns - s.heard_ns) / 1e9, 2),
                "latency_ms": summary_row(s.latency_ms.summary()),
            }
            for (node, camera), s in sorted(self.streams.items())
        ]


def summary_row(summary: Summary | None) -> dict[str, float] | None:
    """A latency summary in ms, rounded to what a person reads; None while there is none."""
    if summary is None:
        return None
    return {
        "count": summary.count,
        "p50": round(summary.p50, 3),
        "p99": round(summary.p99, 3),
        "max": round(summary.max, 3),
    }
