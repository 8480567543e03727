"""The one writer: claims a slot, lets the camera land a frame in it, commits it. It waits for nobody, ever."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from agent.ring import layout
from agent.ring.core import STAMP_TORN, slot_of, stamp_ready, stamp_writing
from agent.ring.fence import fence
from agent.ring.process import alive, own_start_ticks
from agent.ring.ring import Ring
from touchline.errors import ResourceError
from touchline.timeline import Stamp, monotonic_ns

_CLAIMED: Final = layout.word_of(layout.WRITER, "claimed", layout.WRITER_OFFSET)
_COMMITTED: Final = layout.word_of(layout.WRITER, "committed", layout.WRITER_OFFSET)
_CAMERA_DROPS: Final = layout.word_of(layout.WRITER, "camera_drops", layout.WRITER_OFFSET)
_ABANDONED: Final = layout.word_of(layout.WRITER, "abandoned", layout.WRITER_OFFSET)
_LIVES: Final = layout.word_of(layout.WRITER, "lives", layout.WRITER_OFFSET)
_STATE: Final = layout.word_of(layout.WRITER, "state", layout.WRITER_OFFSET)
_PID: Final = layout.word_of(layout.WRITER, "pid", layout.WRITER_OFFSET)
_TICKS: Final = layout.word_of(layout.WRITER, "start_ticks", layout.WRITER_OFFSET)
_ATTACHED_NS: Final = layout.word_of(layout.WRITER, "attached_monotonic_ns", layout.WRITER_OFFSET)
_META_WORDS: Final = layout.SLOT_META_BYTES // layout.WORD_BYTES
_STATE_CODES: Final = {state: code for code, state in enumerate(layout.STATES)}


class RingWriter:
    """Writes frames into a ring. A writer that follows a dead one continues its count; the half-written slot is reused.

    Raises:
        ResourceError: a living process already writes this ring.
    """

    def __init__(self, ring: Ring) -> None:
        self._words = words = ring.words
        self._control = ring.control
        self._events = ring.fds().events
        self._slots = ring.spec.slots
        self._places = [
            [
                layout.word_of(layout.READER, field, layout.reader_offset(reader))
                for field in ("pid", "handed", "skipped")
            ]
            for reader in range(ring.spec.readers)
        ]
        self._meta_base = layout.slot_table_offset(ring.spec.readers)
        self._stamp_base = self._meta_base // layout.WORD_BYTES
        pid, attached = words[_PID], words[_STATE] == layout.WRITER_ATTACHED
        if attached and alive(pid, words[_TICKS]):
            raise ResourceError(f"process {pid} already writes this ring", hint="stop it first")
        self._views = ring.map_payload(writable=True)
        self._index = words[_COMMITTED]
        half_written = self._stamp_base + slot_of(self._index, self._slots) * _META_WORDS
        if words[half_written] in (stamp_writing(self._index), stamp_ready(self._index)):
            words[half_written] = STAMP_TORN
            words[_ABANDONED] += 1
        self._open = True
        words[_PID] = os.getpid()
        words[_TICKS] = own_start_ticks()
        words[_ATTACHED_NS] = monotonic_ns()
        words[_STATE] = layout.WRITER_ATTACHED
        fence()
        words[_LIVES] += 1  # last: readers look at it first
        self._wake()

    def acquire(self) -> memoryview:
        """Return the next slot's payload, writable, to land a frame in. Again before a commit: the same slot."""
        words, index = self._words, self._index
        slot = slot_of(index, self._slots)
        words[_CLAIMED] = index + 1
        words[self._stamp_base + slot * _META_WORDS] = stamp_writing(index)
        fence()
        return self._views[slot]

    def commit(self, sequence: int, stamp: Stamp, dropped_before: int = 0) -> None:
        """Publish the acquired slot to every reader. Never blocks.

        Args:
            sequence: the camera's own frame number.
            stamp: start of exposure.
            dropped_before: frames that the camera lost since the last one, by its own numbers (CAP-4).

        Raises:
            RuntimeError: no slot was acquired.
        """
        words, index = self._words, self._index
        slot = slot_of(index, self._slots)
        at = self._stamp_base + slot * _META_WORDS
        if words[at] != stamp_writing(index):
            raise RuntimeError("commit without acquire")
        layout.META.pack_into(
            self._control,
            self._meta_base + slot * layout.SLOT_META_BYTES + layout.META_OFFSET,
            sequence,
            stamp.ptp_ns,
            stamp.bound_ns,
            monotonic_ns(),
            dropped_before,
            stamp.epoch,
            _STATE_CODES[stamp.state],
        )
        fence()
        words[at] = stamp_ready(index)
        if dropped_before:
            words[_CAMERA_DROPS] += dropped_before
        self._index = words[_COMMITTED] = index + 1
        self._wake()

    @property
    def committed(self) -> int:
        """Frames committed since the ring was made, by every writer."""
        return self._index

    def last_landed(self) -> tuple[Stamp, int] | None:
        """Exposure and landing (CLOCK_MONOTONIC, ns) of the newest committed frame of any writer; None when empty."""
        if self._index == 0:
            return None
        slot = (self._index - 1) % self._slots
        at = self._meta_base + slot * layout.SLOT_META_BYTES + layout.META_OFFSET
        _, ptp_ns, bound_ns, landed_ns, _, epoch, state = layout.META.unpack_from(self._control, at)
        return Stamp(ptp_ns, bound_ns, epoch, layout.STATES[state]), landed_ns

    def backlog(self) -> int:
        """Return how many committed frames the slowest attached reader still has before it; 0 when none is attached.

        For sources that can wait (a file played as fast as possible); a camera cannot.
        """
        words, worst = self._words, 0
        for pid, handed, skipped in self._places:
            if words[pid]:
                worst = max(worst, self._index - words[handed] - words[skipped])
        return worst

    def close(self) -> None:
        """Tell the readers that no frame follows (they get WriterGone with ``orderly`` set once they have read all)."""
        if not self._open:
            return
        self._open = False
        self._words[_STATE] = layout.WRITER_CLOSED
        fence()
        self._wake()
        for view in self._views:
            with contextlib.suppress(BufferError):
                view.release()

    def _wake(self) -> None:
        for event in self._events:
            try:
                os.eventfd_write(event, 1)
            except BlockingIOError:  # a counter at its end after 2**64 frames: that reader has an event
                continue
