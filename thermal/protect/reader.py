"""A thread reads the accelerometer, for a read may hang: a bus that is stuck, a driver that waits for its chip.

The sampling loop asks for a sample and waits ``wait_s`` for it. A read that is not back by then is a missed sample,
turn after turn, so that silence becomes a lost sensor by the rule for one; what comes back late is too old to believe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from thermal.protect.shake import SILENCE_NS, Missed, Vector
from touchline.timeline import monotonic_ns


class SampleReader:
    """See the module. ``thread``: None before the first :meth:`read`; one that ended has met a fault of ours."""

    def __init__(
        self, read: Callable[[], Vector | Missed], wait_s: float, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        self.thread: threading.Thread | None = None
        self._read, self._wait_s, self._clock = read, wait_s, clock
        self._asked, self._done = threading.Event(), threading.Event()
        self._asked_ns: int | None = None
        self._found: Vector | Missed = Missed("no sample yet")
        self._over = False

    def read(self) -> Vector | Missed:
        """The sample asked for now, or for the turn before; never waits longer than ``wait_s``."""
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, name="protect-sensor", daemon=True)
            self.thread.start()
        if self._asked_ns is None:
            self._asked_ns = self._clock()
            self._done.clear()
            self._asked.set()
        done = self._done.wait(self._wait_s)
        age_ns = self._clock() - self._asked_ns
        if not done:
            return Missed(f"its read has not come back for {age_ns / 1e9:.1f} s")
        self._asked_ns = None
        if age_ns > SILENCE_NS:
            return Missed(f"its read took {age_ns / 1e9:.1f} s")
        return self._found

    def close(self) -> None:
        """Ask for no more; a read that hangs is left alone."""
        self._over = True
        self._asked.set()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            if self._over:
                return
            self._found = self._read()
            self._done.set()
