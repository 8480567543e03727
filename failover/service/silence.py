"""How long the publisher has been silent. A publisher that is connected and says nothing hangs."""

from __future__ import annotations

from failover.core.types import Settings


class Silence:
    """The silence of one that should speak, as long as it was listened to.

    As with the twin, a pause of the listener counts as one beat at most: whoever did not run for a while may not have
    been the only one.
    """

    def __init__(self, settings: Settings, now_ns: int) -> None:
        self._limit_ns = settings.publisher_silent_ns
        self._most_ns = settings.beat_ns
        self._looked_ns = now_ns
        self._silent_ns: int | None = None  # None: it is not expected to speak

    @property
    def expected(self) -> bool:
        """Whether it is there, as far as is known."""
        return self._silent_ns is not None

    def heard(self, *, there: bool) -> None:
        """It spoke; or it is gone, and says nothing more."""
        self._silent_ns = 0 if there else None

    def broken_off(self, now_ns: int) -> bool:
        """Time has passed. True once, when it has been silent for too long; it is expected no more then."""
        passed_ns, self._looked_ns = now_ns - self._looked_ns, now_ns
        if self._silent_ns is None:
            return False
        self._silent_ns += min(passed_ns, self._most_ns)
        if self._silent_ns <= self._limit_ns:
            return False
        self._silent_ns = None
        return True
