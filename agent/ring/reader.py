"""A reader: waits for frames, hands them out without a copy, and says afterwards whether they stayed whole."""

from __future__ import annotations

import contextlib
import math
import os
import select
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from agent.ring import layout
from agent.ring.core import oldest_handable, pick, stamp_ready
from agent.ring.fence import fence
from agent.ring.ledger import Books, ReaderLedger
from agent.ring.process import Watch, alive, own_start_ticks
from agent.ring.ring import Ring
from touchline.errors import ConfigError, InputError, ResourceError, TouchlineError
from touchline.timeline import Stamp, monotonic_ns

_CLAIMED: Final = layout.word_of(layout.WRITER, "claimed", layout.WRITER_OFFSET)
_COMMITTED: Final = layout.word_of(layout.WRITER, "committed", layout.WRITER_OFFSET)
_WRITER_LIVES: Final = layout.word_of(layout.WRITER, "lives", layout.WRITER_OFFSET)
_WRITER_STATE: Final = layout.word_of(layout.WRITER, "state", layout.WRITER_OFFSET)
_WRITER_PID: Final = layout.word_of(layout.WRITER, "pid", layout.WRITER_OFFSET)
_WRITER_TICKS: Final = layout.word_of(layout.WRITER, "start_ticks", layout.WRITER_OFFSET)
LOOK_S: Final = 0.004  # half of the shortest frame time: 8.33 ms at 120 frames/s (CAP-1)


class WriterGone(TouchlineError):
    """No further frame follows from this writer: it died, or (``orderly``) it closed the ring.

    Raised once for each writer, after all of its frames were handed out; a new writer may attach afterwards.
    """

    def __init__(self, pid: int, *, orderly: bool) -> None:
        self.pid = pid
        self.orderly = orderly
        what = "closed the ring" if orderly else "died"
        super().__init__(f"the ring's writer (process {pid}) {what}")


class RingFrame:
    """One frame in the ring, in place. Look at it, then ask :meth:`still_valid`; if not, throw the result away.

    Attributes:
        index: number of the frame in this ring, from 0.
        payload: ``slot_bytes`` bytes, read-only.
        skipped_before: committed frames that this reader passed over just before it.
    """

    __slots__ = ("_meta", "_reader", "index", "payload", "skipped_before")

    def __init__(
        self, reader: RingReader, index: int, skipped: int, payload: memoryview, meta: tuple[int, ...]
    ) -> None:
        self._reader = reader
        self._meta = meta  # the fields of layout.META, in its order
        self.index = index
        self.skipped_before = skipped
        self.payload = payload

    @property
    def sequence(self) -> int:
        """The camera's own frame number."""
        return self._meta[0]

    @property
    def stamp(self) -> Stamp:
        """Start of exposure."""
        _, ptp_ns, bound_ns, _, _, epoch, state = self._meta
        return Stamp(ptp_ns, bound_ns, epoch, layout.STATES[state])

    @property
    def landed_monotonic_ns(self) -> int:
        """When the writer committed the frame."""
        return self._meta[3]

    @property
    def dropped_before(self) -> int:
        """Frames that the camera lost just before this one, by its own numbers (CAP-4)."""
        return self._meta[4]

    def image(self, shape: Sequence[int], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """Return a read-only array of ``shape`` over the slot's first bytes, without a copy.

        Raises:
            InputError: the shape needs more bytes than a slot has.
        """
        kind = np.dtype(dtype)
        count = math.prod(shape)
        needed = count * kind.itemsize
        if needed > len(self.payload):
            raise InputError(
                f"an image of {tuple(shape)} {kind} needs {needed} bytes, a slot has {len(self.payload)}",
                hint="check ring.slot_bytes and the camera's format",
            )
        return np.frombuffer(self.payload, kind, count).reshape(tuple(shape))

    def still_valid(self) -> bool:
        """Return whether the payload has stayed whole until now; False counts the frame as late, once."""
        return self._reader.check(self.index)


class RingReader:
    """Reads frames at place ``index`` of a ring, in order, each at most once.

    A reader that comes back at the same place goes on at its own next frame while that is outside the guard band, else
    at the newest; what it missed is counted. The frame in hand when it died is counted as abandoned, not given again.

    Args:
        ring: the ring, opened in this process.
        index: the reader place, 0 .. readers-1; one process at a time.
        spin_us: how long to look for a frame before sleeping, for a machine with a core to spare.
        look_s: how often to look whether the writer is dying while no frame comes.

    Raises:
        ConfigError: no such place.
        ResourceError: a living process reads at this place.
    """

    def __init__(self, ring: Ring, index: int, spin_us: int = 0, look_s: float = LOOK_S) -> None:
        if not 0 <= index < ring.spec.readers:
            raise ConfigError(f"reader place {index} in a ring of {ring.spec.readers}", hint="raise ring.readers")
        self._ring = ring
        self._spec = ring.spec
        self._words = ring.words
        self._control = ring.control
        self._index = index
        self._spin_ns = spin_us * 1000
        self._look_s = look_s
        self._event = ring.fds().events[index]
        self._slot_table = layout.slot_table_offset(ring.spec.readers)
        self._late_index = -1
        self._books = Books(ring.control, ring.spec.readers)
        self._open = True
        self._known_life = self._reported_life = 0
        self._watch: Watch | None = None
        self._poll = select.epoll()
        self._name_words(layout.reader_offset(index))
        self._attach()
        self._poll.register(self._event, select.EPOLLIN | select.EPOLLET)  # each write is an edge: never read
        self._views = ring.map_payload(writable=False)

    def next(self, timeout_s: float, *, newest: bool = False) -> RingFrame | None:
        """Return the next frame, waiting up to ``timeout_s`` for one; None when none came.

        Asking for the next frame also says that the last one is finished with.

        Args:
            timeout_s: seconds to wait; 0 only looks.
            newest: pass over (and count) all but the newest frame.

        Raises:
            WriterGone: all frames are read and the writer died or closed the ring.
        """
        self._words[self._in_hand] = 0
        frame = self._take(newest)
        if frame is not None:
            return frame
        deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
        if self._spin_ns and (frame := self._spin(newest, deadline_ns)) is not None:
            return frame
        remaining_ns = deadline_ns - monotonic_ns()
        while True:
            gone = self._writer_gone()
            if (frame := self._take(newest)) is not None:  # after looking at the writer: what it left comes first
                return frame
            if gone is not None:
                self._reported_life = self._words[_WRITER_LIVES]
                raise gone
            if remaining_ns <= 0:
                return None
            self._wait(remaining_ns / 1e9)
            if (frame := self._take(newest)) is not None:
                return frame
            remaining_ns = deadline_ns - monotonic_ns()

    def check(self, index: int) -> bool:
        """Return whether frame ``index`` is still whole in its slot; see :meth:`RingFrame.still_valid`."""
        fence()  # the loads of the payload stay before the load of the stamp
        if self._words[self._stamp_word(index)] == stamp_ready(index):
            return True
        if index > self._late_index:
            self._late_index = index
            self._words[self._late] += 1
        return False

    def ledger(self) -> ReaderLedger:
        """Return this reader's counters."""
        return self._books.read_one(self._index)

    def close(self) -> None:
        """Give the place back."""
        if not self._open:
            return
        self._open = False
        self._words[self._in_hand] = 0
        self._words[self._pid] = 0
        self._drop_watch()
        self._poll.close()
        del self._books
        for view in self._views:
            with contextlib.suppress(BufferError):
                view.release()

    def _name_words(self, base: int) -> None:
        def word(field: str) -> int:
            return layout.word_of(layout.READER, field, base)

        self._handed, self._skipped, self._late = word("handed"), word("skipped"), word("late")
        self._overruns, self._in_hand, self._pid = word("overruns"), word("in_hand"), word("pid")
        self._ticks, self._lives, self._abandoned = word("start_ticks"), word("lives"), word("abandoned")

    def _attach(self) -> None:
        words = self._words
        pid = words[self._pid]
        if alive(pid, words[self._ticks]):
            raise ResourceError(f"process {pid} already reads at place {self._index}", hint="use another place")
        words[self._ticks] = own_start_ticks()
        words[self._pid] = os.getpid()
        words[self._lives] += 1
        if words[self._in_hand]:
            words[self._abandoned] += 1
            words[self._in_hand] = 0

    def _stamp_word(self, index: int) -> int:
        return (self._slot_table + index % self._spec.slots * layout.SLOT_META_BYTES) // layout.WORD_BYTES

    def _take(self, newest: bool) -> RingFrame | None:
        """Take the next frame if there is one, checking that it is whole and outside the guard band."""
        words, spec = self._words, self._spec
        cursor = words[self._handed] + words[self._skipped]
        while (committed := words[_COMMITTED]) > cursor:
            fence()
            choice = pick(cursor, committed, words[_CLAIMED], spec, newest)
            if choice is None:
                return None
            index, skipped = choice
            slot = index % spec.slots
            at = self._slot_table + slot * layout.SLOT_META_BYTES
            whole = words[at // layout.WORD_BYTES] == stamp_ready(index)
            meta = layout.META.unpack_from(self._control, at + layout.META_OFFSET)
            fence()
            if not whole or index < oldest_handable(words[_CLAIMED], spec):
                continue  # the writer came near while we looked: choose again
            if skipped:
                words[self._skipped] += skipped
                if not newest:
                    words[self._overruns] += 1
            words[self._handed] += 1
            words[self._in_hand] = index + 1
            return RingFrame(self, index, skipped, self._views[slot][:], meta)
        return None

    def _spin(self, newest: bool, deadline_ns: int) -> RingFrame | None:
        words = self._words
        cursor = words[self._handed] + words[self._skipped]
        until_ns = min(deadline_ns, monotonic_ns() + self._spin_ns)
        while words[_COMMITTED] <= cursor:
            if monotonic_ns() >= until_ns:
                return None
        return self._take(newest)

    def _wait(self, timeout_s: float) -> None:
        """Sleep until a frame, the writer's end or the time-out; a writer that is long dying is not waited for."""
        watch = self._watch
        events = self._poll.poll(min(timeout_s, self._look_s) if watch else timeout_s)
        if watch and ((not events and watch.dying()) or any(fd == watch.pidfd for fd, _ in events)):
            self._drop_watch()

    def _writer_gone(self) -> WriterGone | None:
        """Return what to raise when the present writer has ended and that was not said yet."""
        words = self._words
        life = words[_WRITER_LIVES]
        if life == self._reported_life:
            return None
        pid = words[_WRITER_PID]
        if words[_WRITER_STATE] == layout.WRITER_CLOSED:
            return WriterGone(pid, orderly=True)
        if life != self._known_life:
            self._drop_watch()
            self._known_life = life
            self._watch = Watch.open(pid, words[_WRITER_TICKS])
            if self._watch is not None:
                self._poll.register(self._watch.pidfd, select.EPOLLIN)
        return WriterGone(pid, orderly=False) if self._watch is None else None

    def _drop_watch(self) -> None:
        if self._watch is not None:
            self._poll.unregister(self._watch.pidfd)
            self._watch.close()
            self._watch = None
