"""One process's end of the trace ring. A ring that cannot be is said once; the frames go on without it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.trace.frame import FrameTrace, pack_frame
from thermal.trace import trace_dir
from thermal.trace.ring import RingBounds, Room, TraceRing, room_at
from touchline.config import NodeConfig
from touchline.errors import ResourceError

_LOG: Final = logging.getLogger(__name__)


def open_tracer(config: NodeConfig, camera: int, room: Callable[[Path], Room] = room_at) -> Tracer:
    """The tracer of one camera's inference, with its share of the ring. Never raises: see :attr:`Tracer.why`."""
    folder, protect = trace_dir(config), config.protect
    if folder is None or protect is None:
        return Tracer(None, "")
    share = protect.trace_max_bytes // len(config.camera)
    try:
        return Tracer(TraceRing(folder / f"cam{camera}", RingBounds(share, protect.trace_spare_bytes), room), "")
    except ResourceError as error:
        _LOG.warning("trace: %s", error)
        return Tracer(None, str(error))


class Tracer:
    """``why``: why nothing is traced, "" where that is as configured."""

    def __init__(self, ring: TraceRing | None, why: str) -> None:
        self.why = why
        self.refused = 0  # frames that a ring which could not be opened has missed
        self._ring = ring

    @property
    def on(self) -> bool:
        """Whether frames are traced: without it a caller need not make the bytes."""
        return self._ring is not None

    def put(self, frame: FrameTrace, now_ns: int) -> None:
        """Trace one frame. Never raises, never waits for a disk."""
        if self._ring is not None:
            self._ring.put(pack_frame(frame), now_ns)
        elif self.why:
            self.refused += 1

    def counters(self) -> dict[str, int]:
        """For the child's report; nothing where nothing is traced."""
        if self._ring is None:
            return {"trace_dropped": self.refused} if self.why else {}
        counts = self._ring.counts
        return {"traced": counts.written, "traced_bytes": counts.bytes, "trace_dropped": counts.dropped}

    def close(self) -> None:
        """Close the ring's open file; what is in it waits for a flush."""
        if self._ring is not None:
            self._ring.close()
