"""Set a guest's wall clock to this host's: look how far it is off, and move it by that."""

from __future__ import annotations

from typing import Final, Protocol

from touchline.errors import HardwareError
from touchline.timeline import utc_s

_ERROR_NS, _TRIES, _ASKED = 10_000_000, 4, 3
_USELESS_NS: Final = 1_000_000_000  # beyond it the guest lives in another second than its rack


class GuestClock(Protocol):
    """What is needed of a guest: its CLOCK_REALTIME, ns since 1970 UTC, and a step of it."""

    def time_ns(self) -> int:
        """Read it."""
        ...

    def step_time(self, step_ns: int) -> None:
        """Move it."""
        ...


def set_clock(guest: GuestClock, name: str) -> None:
    """Set the clock of node ``name`` to the host's within 10 ms; it steps.

    On a very busy host it may end further off; more than a second is a HardwareError.
    """
    for _ in range(_TRIES):
        ahead_ns, doubt_ns = _ahead_ns(guest)
        if abs(ahead_ns) + doubt_ns < _ERROR_NS:
            return
        guest.step_time(-ahead_ns)
    ahead_ns, _doubt_ns = _ahead_ns(guest)
    if abs(ahead_ns) > _USELESS_NS:
        raise HardwareError(
            f"node {name}: the guest's clock cannot be set: it is {ahead_ns / 1e9:+.1f} s off after {_TRIES} tries",
            hint="this machine is too busy for so many nodes",
        )


def _ahead_ns(guest: GuestClock) -> tuple[int, int]:
    """How far the guest's clock is ahead of the host's, and by how much that may be wrong, ns: the best of a few."""
    asked = []
    for _ in range(_ASKED):
        before_ns = _now_ns()
        guest_ns = guest.time_ns()
        after_ns = _now_ns()
        asked.append((guest_ns - (before_ns + after_ns) // 2, (after_ns - before_ns) // 2))
    return min(asked, key=lambda one: one[1])


def _now_ns() -> int:
    return int(utc_s() * 1e9)
