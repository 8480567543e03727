"""Taking the fan again from another writer, in a thread: systemctl may take seconds, the loop has none to give."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

AGAIN_NS: Final = 10_000_000_000  # not more often than this
_LOG: Final = logging.getLogger("thermal")


class BackgroundRetaker:
    """One attempt at a time. ``take`` is the board's: it drives the fan at full speed first."""

    def __init__(self, take: Callable[[], str | None]) -> None:
        self._take = take
        self._thread: threading.Thread | None = None
        self._next_ns = 0

    def ask(self, now_ns: int) -> None:
        """Take the fan again, unless that is under way or was just done."""
        if now_ns < self._next_ns or (self._thread is not None and self._thread.is_alive()):
            return
        self._next_ns = now_ns + AGAIN_NS
        self._thread = threading.Thread(target=self._run, name="thermal-retake", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        said = self._take()
        _LOG.warning("somebody else wrote the fan's duty: taken again%s", f", but {said}" if said else "")
