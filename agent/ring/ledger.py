"""The drop ledger: every frame that any reader did not get, as counted in the ring's header (CAP-4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.ring.layout import READER, READERS_OFFSET, WRITER, WRITER_ATTACHED, WRITER_OFFSET


@dataclass(frozen=True, slots=True)
class ReaderLedger:
    """One reader place. ``handed + skipped`` frames are behind it; ``lag`` committed frames lie before it."""

    handed: int
    skipped: int
    late: int
    abandoned: int
    overruns: int
    lag: int
    lives: int
    pid: int


@dataclass(frozen=True, slots=True)
class RingLedger:
    """The whole ring: frames committed, frames the camera lost, frames lost half written, and every reader place."""

    committed: int
    camera_drops: int
    abandoned: int
    writer_lives: int
    writer_pid: int
    writer_attached: bool
    readers: tuple[ReaderLedger, ...]


class Books:
    """Live NumPy views of the counters in a control region; reading them never disturbs anybody."""

    def __init__(self, control: memoryview, readers: int) -> None:
        self._writer: NDArray[np.void] = np.frombuffer(control, WRITER, 1, WRITER_OFFSET)
        self._readers: NDArray[np.void] = np.frombuffer(control, READER, readers, READERS_OFFSET)

    def read_all(self) -> RingLedger:
        """Return all counters; each is exact, the set may straddle a frame."""
        writer = self._writer[0]
        readers = tuple(self.read_one(index) for index in range(len(self._readers)))
        return RingLedger(
            committed=int(writer["committed"]),
            camera_drops=int(writer["camera_drops"]),
            abandoned=int(writer["abandoned"]),
            writer_lives=int(writer["lives"]),
            writer_pid=int(writer["pid"]),
            writer_attached=int(writer["state"]) == WRITER_ATTACHED,
            readers=readers,
        )

    def read_one(self, index: int) -> ReaderLedger:
        """Return the counters of one reader place."""
        place = self._readers[index]
        handed, skipped = int(place["handed"]), int(place["skipped"])
        return ReaderLedger(
            handed=handed,
            skipped=skipped,
            late=int(place["late"]),
            abandoned=int(place["abandoned"]),
            overruns=int(place["overruns"]),
            lag=max(0, int(self._writer[0]["committed"]) - handed - skipped),
            lives=int(place["lives"]),
            pid=int(place["pid"]),
        )
