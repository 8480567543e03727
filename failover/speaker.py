"""Says lines from a thread of its own: a log that does not take them must not hold up a lease.

Of witness and service alike: the witness hands it its events, both their logs (:func:`log_through`).
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Final

MAX_WAITING: Final = 1000
CLOSE_S: Final = 1.0
_FORMAT: Final = "%(name)s: %(message)s"


class Speaker:
    """Hands lines to ``say``, in order; what finds 1,000 waiting is dropped and counted."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="speaker", daemon=True)
        self.dropped = 0
        self._thread.start()

    def say(self, line: str) -> None:
        """Never waits."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Let what waits be said, for a second at most."""
        try:
            self._lines.put(None, timeout=CLOSE_S)
        except queue.Full:
            return
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._say(line)
            except (OSError, ValueError):  # nobody reads any more, or the stream is closed
                self.dropped += 1


class _Handler(logging.Handler):
    def __init__(self, speaker: Speaker) -> None:
        super().__init__()
        self._speaker = speaker

    def emit(self, record: logging.LogRecord) -> None:
        self._speaker.say(self.format(record))


def log_through(speaker: Speaker) -> logging.Handler:
    """Give the process's log to a speaker from now on; returns the handler, for who wants to take it away again."""
    handler = _Handler(speaker)
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    return handler
