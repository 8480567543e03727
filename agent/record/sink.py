"""What comes out of ffmpeg: a thread that gives each picture its exposure back, then mirrors and writes it."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from agent.record.boxes import BoxError
from agent.record.fragment import Fragment, Head
from agent.record.media import Lineup, fragment_of
from agent.record.stream import FragmentStream, Init, Raw
from touchline.timeline import monotonic_ns

_READ_BYTES: Final = 1 << 18
_MEASURES: Final = 4096


class Out(Protocol):
    """Where fragments go; neither call may wait long."""

    def begin(self, head: Head, init: bytes) -> None:
        """A new run of the encoder: what its files begin with."""
        ...

    def put(self, fragment: Fragment) -> object:
        """The next fragment."""
        ...


class _Disowned(Exception):
    """This run of the encoder has been given up; what it still gives is nobody's."""


class Sink:
    """Reads one run of ffmpeg to its end. ``role`` says what the node is: (active, epoch).

    ``turn`` is held by the thread from its first byte to its end: ``outs`` never hear two runs at once, however long a
    disk holds the first one up. ``frames``: handed to ``outs``.

    ``trouble`` is set when ffmpeg's output makes no sense; the thread ends then. ``encoded_ms``: from the frame in the
    ring to its fragment, ``written_ms``: to the file; to be emptied by whoever measures. ``last``: the newest fragment.
    """

    def __init__(
        self,
        output: int,
        head: Head,
        lineup: Lineup,
        outs: Sequence[Out],
        role: Callable[[], tuple[bool, int]],
        *,
        turn: threading.Lock,
    ) -> None:
        self._output = os.dup(output)  # ours: a thread that comes back late must not read from another's descriptor
        self._head, self._lineup, self._outs, self._role, self._turn = head, lineup, outs, role, turn
        self._gate = threading.Lock()
        self._disowned = False
        self._over = os.eventfd(0, os.EFD_CLOEXEC)  # ends the wait for output that somebody else's pipe keeps open
        self._nominal_us = round(1e6 / head.rate_hz)
        self.frames = 0
        self.keys = 0
        self.trouble = ""
        self.last: Fragment | None = None
        self.first_ns = 0
        self.encoded_ms: deque[float] = deque(maxlen=_MEASURES)
        self.written_ms: deque[float] = deque(maxlen=_MEASURES)
        self._number = 0
        self._thread = threading.Thread(target=self._run, name="record-sink", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether ffmpeg's output has ended and all of it is written."""
        return not self._thread.is_alive()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of ffmpeg's output; False when it did not come."""
        self._thread.join(timeout_s)
        return self.ended

    def disown(self) -> None:
        """Give this run up: what is being written is finished, nothing more follows, :attr:`frames` stands."""
        with self._gate:
            self._disowned = True
            if self._over >= 0:
                os.eventfd_write(self._over, 1)

    def _run(self) -> None:
        try:
            with self._turn:
                self._take_all()
        finally:
            with self._gate:
                os.close(self._output)
                os.close(self._over)
                self._over = -1

    def _read(self) -> bytes:
        """What ffmpeg gives next; empty at its end."""
        readable, _, _ = select.select([self._over, self._output], [], [])
        if self._over in readable:
            raise _Disowned
        return os.read(self._output, _READ_BYTES)

    def _take_all(self) -> None:
        stream = FragmentStream()
        try:
            while data := self._read():
                for found in stream.feed(data):
                    self._take(found)
        except _Disowned:
            return
        except BoxError as error:
            self.trouble = f"ffmpeg's output cannot be used: {error}"
        except LookupError as error:
            self.trouble = f"ffmpeg gave out a picture that never went in: {error}"
        except OSError as error:
            self.trouble = f"ffmpeg's output cannot be read: {error.strerror}"

    def _take(self, found: Init | Raw) -> None:
        if isinstance(found, Init):
            self._hand_over(0)
            for out in self._outs:
                out.begin(self._head, found.data)
            return
        taken = self._lineup.take(found)
        if taken is None:
            return
        marks, landed_ns = taken
        fragment = fragment_of(found, marks, self._number, self._role(), self._nominal_us)
        self._number += 1
        now_ns = monotonic_ns()
        self.encoded_ms.append((now_ns - landed_ns) / 1e6)
        self._hand_over(len(marks))
        for out in self._outs:
            out.put(fragment)
        self.written_ms.append((monotonic_ns() - landed_ns) / 1e6)
        self.keys += fragment.key
        self.first_ns = self.first_ns or now_ns
        self.last = fragment

    def _hand_over(self, frames: int) -> None:
        """Count what goes to the outs, unless the run has been given up: then its frames were counted as lost."""
        with self._gate:
            if self._disowned:
                raise _Disowned
            self.frames += frames
