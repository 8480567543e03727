"""Latency windows: the last few thousand values of a stage, and their p50, p99 and maximum."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """What a window says: ``count`` values ever seen, percentiles over the window, ``max`` ever seen."""

    count: int
    p50: float
    p99: float
    max: float

    def as_dict(self) -> dict[str, float]:
        """The summary as plain numbers."""
        return asdict(self)


def percentile(ordered: list[float], fraction: float) -> float:
    """Nearest-rank percentile of an ascending, non-empty list."""
    rank = min(len(ordered) - 1, max(0, int(fraction * len(ordered) + 0.5) - 1))
    return ordered[rank]


class Window:
    """The last ``size`` values of one quantity. Cheap to add to; sorts only when asked."""

    def __init__(self, size: int = 4096) -> None:
        self._values: deque[float] = deque(maxlen=size)
        self._count = 0
        self._max = 0.0

    def add(self, value: float) -> None:
        """Take one value."""
        self._values.append(value)
        self._count += 1
        self._max = max(self._max, value)

    def summary(self) -> Summary | None:
        """The summary so far; None before the first value: no reading is not zero."""
        if not self._values:
            return None
        ordered = sorted(self._values)
        return Summary(self._count, percentile(ordered, 0.50), percentile(ordered, 0.99), self._max)
