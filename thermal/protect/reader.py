"""A thread reads the accelerometer, for a read may hang: a bus that is stuck, a driver that waits for its chip.

The sampling loop asks for a sample and waits ``wait_s`` for it. A read that is not back by then is a missed sample,
turn after turn, so that silence becomes a lost sensor by the rule for one; what comes back late is too old to believe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from thermal.aside import Aside
from thermal.protect.shake import SILENCE_NS, Missed, Vector
from touchline.timeline import monotonic_ns


class SampleReader:
    """See the module."""

    def __init__(
        self, read: Callable[[], Vector | Missed], wait_s: float, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        self._aside = Aside("protect-sensor", read)
        self._wait_s, self._clock = wait_s, clock
        self._asked_ns: int | None = None

    @property
    def thread(self) -> threading.Thread | None:
        """None before the first :meth:`read`; one that ended has met a fault of ours."""
        return self._aside.thread

    def read(self) -> Vector | Missed:
        """The sample asked for now, or for the turn before; never waits longer than ``wait_s``."""
        if self._asked_ns is None:
            self._asked_ns = self._clock()
            self._aside.ask()
        ended = self._aside.ended(self._wait_s)
        age_ns = self._clock() - self._asked_ns
        if not ended:
            return Missed(f"its read has not come back for {age_ns / 1e9:.1f} s")
        self._asked_ns = None
        if age_ns > SILENCE_NS:
            return Missed(f"its read took {age_ns / 1e9:.1f} s")
        return self._aside.last or Missed("no sample yet")

    def close(self) -> None:
        """Ask for no more; a read that hangs is left alone."""
        self._aside.close()
