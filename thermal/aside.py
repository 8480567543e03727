"""Reading what may hang (an I2C bus, a disk, a sensor) in a thread of its own: who asks never waits for it long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Aside(Generic[T]):
    """``read`` is called in a thread, once for all that was asked since it was called last.

    It must not raise: a read that does ends the thread with a traceback in the journal, and then there is no answer.
    ``thread``: None before it is first asked.
    """

    def __init__(self, name: str, read: Callable[[], T]) -> None:
        self._name, self._read = name, read
        self._asked = 0  # looks asked for
        self._begun = self._done = 0  # number of the last look that began, and of the last that ended
        self._answer: T | None = None  # of the latter
        self._closed = False
        self._news = threading.Condition()
        self.thread: threading.Thread | None = None

    def ask(self) -> None:
        """Have a look begun. While an earlier one hangs, this only counts how old that is."""
        with self._news:
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self.thread.start()
            self._asked += 1
            self._news.notify_all()

    def ended(self, wait_s: float) -> bool:
        """Whether the look asked for last has ended, waited for at most ``wait_s``: then it is :attr:`last`."""
        with self._news:
            return self._news.wait_for(lambda: self._done == self._asked, wait_s)

    def answer(self, wait_s: float) -> T | None:
        """What the look asked for last found, waited for at most ``wait_s``, or the one before; None: it is older.

        While an earlier look hangs, nothing is waited for.
        """
        with self._news:
            if self._begun in (self._done, self._asked):
                self._news.wait_for(lambda: self._done == self._asked, wait_s)
            return self._answer if self._asked - self._done <= 1 else None

    @property
    def last(self) -> T | None:
        """What the last look that ended found, however long ago; None before the first end."""
        with self._news:
            return self._answer

    def close(self) -> None:
        """End the thread; one that hangs dies with the process."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._closed or self._asked != self._begun)
                if self._closed:
                    return
                self._begun = self._asked
            answer = self._read()
            with self._news:
                self._done, self._answer = self._begun, answer
                self._news.notify_all()
