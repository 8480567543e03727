"""Where slow disk calls run: beside the publisher's loop, one after the other, or inline."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol


class Syncer(Protocol):
    """Runs disk calls in the order given and keeps the first failure."""

    @property
    def busy(self) -> bool:
        """Whether calls are waiting."""
        ...

    def submit(self, call: Callable[[], object]) -> None:
        """Run ``call``, now or soon."""
        ...

    def flush(self) -> None:
        """Return when everything submitted has run."""
        ...

    def take_failure(self) -> OSError | None:
        """The first failure since the last call, if any."""
        ...

    def close(self) -> None:
        """Run what waits, then end."""
        ...


class InlineSyncer:
    """Runs every call at once: for the "batch" policy, which must wait anyway, and for tests."""

    def __init__(self) -> None:
        self._failure: OSError | None = None

    @property
    def busy(self) -> bool:
        """Nothing ever waits."""
        return False

    def submit(self, call: Callable[[], object]) -> None:
        """Run ``call`` now."""
        try:
            call()
        except OSError as error:
            self._failure = self._failure or error

    def flush(self) -> None:
        """Nothing waits."""

    def take_failure(self) -> OSError | None:
        """The first failure since the last call, if any."""
        failure, self._failure = self._failure, None
        return failure

    def close(self) -> None:
        """Nothing to end."""


class ThreadSyncer(InlineSyncer):
    """Runs calls on one thread: a fdatasync of 100 ms on a worn eMMC must not hold up a frame."""

    def __init__(self) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool-sync")
        self._last: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether calls are waiting."""
        return self._last is not None and not self._last.done()

    def submit(self, call: Callable[[], object]) -> None:
        """Run ``call`` soon, after all earlier ones."""
        self._last = self._pool.submit(super().submit, call)

    def flush(self) -> None:
        """Wait for everything submitted."""
        if self._last is not None:
            self._last.result()

    def close(self) -> None:
        """Wait, then end the thread."""
        self._pool.shutdown(wait=True)
