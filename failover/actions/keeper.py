"""When the address is to be taken, renewed and dropped. Pure: events and the present moment in, the next job out.

Jobs run elsewhere, one after the other, and may hang. So a drop never waits for a renewal's result, and a renewal
looks at ``until_ns`` again at the moment when it runs (:meth:`AddressKeeper.may_hold`).
"""

from __future__ import annotations

from typing import Final, Literal

from failover.core.types import NS_PER_MS

RENEW_NS: Final = 500 * NS_PER_MS  # twice a second: of a life of 2 s, three renewals may be late
RETRY_NS: Final = 100 * NS_PER_MS

Job = Literal["hold", "drop"]


class AddressKeeper:
    """Keeps an exclusive thing held while, and only while, it may be."""

    def __init__(self) -> None:
        self.until_ns = 0
        self._wanted = False
        self._perhaps_held = True  # an earlier process of ours may have left it
        self._running: list[Job] = []
        self._renew_at_ns = 0
        self._drop_at_ns = 0

    @property
    def wanted(self) -> bool:
        """Whether the last word was to hold it."""
        return self._wanted

    @property
    def settled(self) -> bool:
        """It is certainly not held, and nothing is under way."""
        return not self._perhaps_held and not self._running

    def exclusive(self, hold: bool, until_ns: int) -> None:
        """The core's word: ``Exclusive.hold`` and its bound."""
        self._wanted = hold
        self.until_ns = until_ns if hold else 0

    def may_hold(self, now_ns: int) -> bool:
        """Whether it may be held at this moment. The thread that runs the job asks too."""
        return now_ns < self.until_ns

    def due(self, now_ns: int) -> Job | None:
        """Return the job to be started now; it counts as running until :meth:`done`."""
        if self.may_hold(now_ns):
            if self._running or now_ns < self._renew_at_ns:
                return None
            self._renew_at_ns, self._drop_at_ns, self._perhaps_held = now_ns + RENEW_NS, 0, True
            self._running.append("hold")
            return "hold"
        if not self._perhaps_held or "drop" in self._running or now_ns < self._drop_at_ns:
            return None
        self._renew_at_ns, self._drop_at_ns = 0, now_ns + RETRY_NS
        self._running.append("drop")
        return "drop"

    def done(self, job: Job, ok: bool, now_ns: int) -> None:
        """A job ended; for a hold ``ok`` says that it is held, for a drop that it is not."""
        if job in self._running:
            self._running.remove(job)
        if job == "hold" and not ok:
            self._renew_at_ns = min(self._renew_at_ns, now_ns + RETRY_NS)
        if job == "drop" and ok:
            self._perhaps_held = "hold" in self._running

    def next_ns(self, now_ns: int) -> int | None:
        """When :meth:`due` is to be asked again; None: not before something happens."""
        if self.may_hold(now_ns):
            return self.until_ns if self._running else min(self.until_ns, self._renew_at_ns)
        return self._drop_at_ns if self._perhaps_held and "drop" not in self._running else None
