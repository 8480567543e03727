"""The window: how long records may wait for company before they leave as one batch (MSG-1). Pure.

0 ms is one batch per frame. A frame is never split over two batches unless it is larger than a batch may be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from touchline.errors import ConfigError
from touchline.record import MAX_BATCH_RECORDS

MAX_WINDOW_MS = 250.0


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """``window_ms`` 0..250; ``max_records`` 1..8192 per batch, which closes it early."""

    window_ms: float = 0.0
    max_records: int = 1200

    def __post_init__(self) -> None:
        if not 0.0 <= self.window_ms <= MAX_WINDOW_MS:
            raise ConfigError(f"publish.window_ms is {self.window_ms:g}", hint=f"use 0 to {MAX_WINDOW_MS:g}")
        if not 1 <= self.max_records <= MAX_BATCH_RECORDS:
            raise ConfigError(f"publish.max_records is {self.max_records}", hint=f"use 1 to {MAX_BATCH_RECORDS}")


class Batcher:
    """Collects the records of frames; gives back runs of at most ``max_records`` that are ready to pack.

    Records are arrays of ``touchline.record.RECORD``; they are kept, not copied, until a batch is made.
    """

    def __init__(self, settings: WindowSettings) -> None:
        self._window_ns = int(settings.window_ms * 1e6)
        self._max = settings.max_records
        self._held: list[NDArray[np.void]] = []
        self._count = 0
        self._due_ns: int | None = None

    @property
    def due_ns(self) -> int | None:
        """When :meth:`due` will give a batch; None while nothing is held."""
        return self._due_ns

    def holds(self, camera: int) -> bool:
        """Whether records of a camera wait in the window."""
        return any(int(records["camera"][0]) == camera for records in self._held)

    def add(self, records: NDArray[np.void], now_ns: int) -> list[NDArray[np.void]]:
        """Take one frame's records; return the batches that are complete because of it, oldest first."""
        if len(records) == 0:
            return []
        complete = self.flush() if self._count + len(records) > self._max else []
        while len(records) > self._max:
            complete.append(records[: self._max])
            records = records[self._max :]
        self._held.append(records)
        self._count += len(records)
        if self._due_ns is None:
            self._due_ns = now_ns + self._window_ns
        if self._window_ns == 0 or self._count == self._max:
            complete += self.flush()
        return complete

    def due(self, now_ns: int) -> list[NDArray[np.void]]:
        """Return the held batch when its window has passed, else nothing."""
        return self.flush() if self._due_ns is not None and now_ns >= self._due_ns else []

    def flush(self) -> list[NDArray[np.void]]:
        """Return what is held, now."""
        if not self._held:
            return []
        batch = self._held[0] if len(self._held) == 1 else np.concatenate(self._held)
        self._held, self._count, self._due_ns = [], 0, None
        return [batch]
