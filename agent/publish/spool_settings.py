"""Bounds and promises of a spool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

SyncPolicy = Literal["batch", "interval", "off"]
FullPolicy = Literal["drop-oldest", "drop-newest"]
Quiet = Callable[[int], str]  # why the disk is to be left alone at this monotonic time; "" while it may be written
NEVER: Final[Quiet] = lambda _: ""  # noqa: E731 - a default argument
SEGMENTS: Final = 32  # a full spool is about so many files; dropping the oldest drops one of them
_MIN_SEGMENT_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """Bounds and promises of a spool.

    ``sync``: "batch" survives a power cut batch by batch; "interval" risks about ``sync_interval_ms`` of data in one;
    "off" leaves it to the kernel. kill -9 loses nothing with any of them. ``replay_s``: acknowledged batches stay that
    long and are sent again after a reconnect.
    """

    max_bytes: int = 256 << 20
    sync: SyncPolicy = "interval"
    sync_interval_ms: float = 100.0
    when_full: FullPolicy = "drop-oldest"
    replay_s: float = 5.0
    memory_bytes: int = 16 << 20

    @property
    def segment_bytes(self) -> int:
        """Size at which a file is closed and the next one begun."""
        return max(self.max_bytes // SEGMENTS, _MIN_SEGMENT_BYTES)
