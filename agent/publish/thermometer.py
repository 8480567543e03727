"""Reads the fan service's status once a second, in a thread: a folder that hangs must not hold a record back."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

from agent.publish.heat import Event, Heat
from thermal.status import Told, read_status
from touchline.timeline import monotonic_ns

EVERY_S: Final = 1.0


class Thermometer:
    """The node's heat for the publisher. :meth:`pump` it at every turn; it costs nothing while there is nothing new."""

    def __init__(self, path: Path, every_s: float = EVERY_S) -> None:
        self._path, self._every_s = path, every_s
        self._heat = Heat()
        self._read: tuple[Told, int] | None = None  # the thread's to set, ours to take
        self._taken: tuple[Told, int] | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="thermometer", daemon=True)
        self._thread.start()

    def pump(self) -> list[Event]:
        """Take what was read since the last call; return the events that it makes, without their time."""
        read = self._read
        if read is None or read is self._taken:
            return []
        self._taken = read
        return self._heat.take(*read)

    def hot(self, now_ns: int) -> bool:
        """Whether this node should give way to its twin."""
        return self._heat.hot(now_ns)

    def trouble(self, now_ns: int) -> str:
        """Why it is hot, in words."""
        return self._heat.trouble(now_ns)

    def document(self, now_ns: int) -> dict[str, Any]:
        """The part ``thermal`` of the health document."""
        return self._heat.document(now_ns)

    def close(self) -> None:
        """End the thread; one that hangs in a read is left behind."""
        self._end.set()
        self._thread.join(0.2)

    def _run(self) -> None:
        while not self._end.is_set():
            now_ns = monotonic_ns()
            self._read = (read_status(self._path, now_ns), now_ns)
            self._end.wait(self._every_s)
