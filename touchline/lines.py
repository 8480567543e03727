"""Lines written by a thread of their own: adding never waits for a disk; what is not written is counted, said once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Full, Queue


class LineWriter:
    """``append`` writes one line into ``folder`` and may raise OSError; at most ``most`` lines wait.

    ``lost``: lines that were not written.
    """

    def __init__(self, folder: Path, append: Callable[[bytes], None], most: int, log: logging.Logger) -> None:
        self.lost = 0
        self._folder, self._append, self._log = folder, append, log
        self._failing = False
        self._lock = threading.Lock()  # of the two above
        self._queue: Queue[bytes | None] = Queue(most)
        self._thread = threading.Thread(target=self._run, name=log.name.replace(".", "-"), daemon=True)
        self._thread.start()

    def add_line(self, encode: Callable[[], bytes]) -> None:
        """Have a line written. Never waits, never raises for the disk or for what no line can hold."""
        try:
            self._queue.put_nowait(encode())
        except (Full, ValueError, TypeError) as error:
            self._failed(f"{type(error).__name__} {error}")

    def close(self, wait_s: float = 2.0) -> None:
        """Write what waits, for at most ``wait_s``."""
        try:
            self._queue.put(None, timeout=wait_s)
        except Full:
            return
        self._thread.join(wait_s)

    def _run(self) -> None:
        while (raw := self._queue.get()) is not None:
            try:
                self._append(raw)
            except OSError as error:
                self._failed(str(error))
            else:
                self._written()

    def _written(self) -> None:
        with self._lock:
            was, self._failing = self._failing, False
        if was:
            self._log.info("history in %s is written again, %d lines were lost", self._folder, self.lost)

    def _failed(self, why: str) -> None:
        with self._lock:
            was, self._failing = self._failing, True
            self.lost += 1
        if not was:
            self._log.warning("history in %s: %s; the service goes on without it", self._folder, why)
