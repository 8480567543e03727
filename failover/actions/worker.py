"""A thread for what may block, so that the loop which renews the lease never waits; results wake its selector."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Full, Queue
from typing import Any, Final

from touchline.errors import TouchlineError
from touchline.timeline import monotonic_ns

MAX_WAITING: Final = 32
_LOG: Final = logging.getLogger("failover.actions")


@dataclass(frozen=True, slots=True)
class Done:
    """A job that ended. ``code``: 0, an errno, or the exit code of the error's kind; ``text`` says the error."""

    name: str
    begun_ns: int
    ended_ns: int
    value: Any = None
    code: int = 0
    text: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ended without an error."""
        return self.code == 0


def code_of(error: BaseException) -> int:
    """The number that stands in the report: the errno where the kernel gave one, else the error's exit code."""
    for one in (error, error.__cause__):
        if isinstance(one, OSError) and one.errno:
            return one.errno
    return error.exit_code if isinstance(error, TouchlineError) else 1


class Worker:
    """Runs jobs in the order in which they came. The thread is a daemon: a hung job never holds up the end.

    ``priority``: SCHED_FIFO priority of the thread where that is granted, else it is an ordinary one; 0: ordinary.
    """

    def __init__(self, name: str, priority: int = 0) -> None:
        self._priority = priority
        self._jobs: Queue[tuple[str, Callable[[], Any]] | None] = Queue(MAX_WAITING)
        self._done: deque[Done] = deque()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()  # of the eventfd's life: a late result must not write to a number used anew
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Readable when results wait."""
        return self._event

    def submit(self, name: str, job: Callable[[], Any]) -> bool:
        """Queue a job; False when so many wait that the thread must be hung."""
        try:
            self._jobs.put_nowait((name, job))
        except Full:
            return False
        return True

    def results(self) -> list[Done]:
        """What ended since the last call."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)
        found = []
        while self._done:
            found.append(self._done.popleft())
        return found

    def close(self, wait_s: float = 1.0) -> bool:
        """Let what waits run for at most ``wait_s``; returns whether the thread ended."""
        try:
            self._jobs.put_nowait(None)
        except Full:
            wait_s = 0.0
        self._thread.join(wait_s)
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._event)
        return not self._thread.is_alive()

    def _run(self) -> None:
        if self._priority:
            with contextlib.suppress(OSError):  # refused: the service says so of its own thread
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(self._priority))
        while (job := self._jobs.get()) is not None:
            name, call = job
            begun_ns = monotonic_ns()
            try:
                value = call()
                done = Done(name, begun_ns, monotonic_ns(), value)
            except (TouchlineError, OSError) as error:
                done = Done(name, begun_ns, monotonic_ns(), None, code_of(error), str(error))
            except Exception as error:  # noqa: BLE001 a bug in one step must neither end the thread nor the other steps
                _LOG.exception("step %s", name)
                done = Done(name, begun_ns, monotonic_ns(), None, code_of(error), f"{type(error).__name__}: {error}")
            self._done.append(done)
            with self._lock:
                if not self._closed:
                    os.eventfd_write(self._event, 1)
