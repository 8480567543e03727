"""Who may wait at the mirror's door: few at once, few of one address, none for long. Pure.

Nobody has shown a certificate yet, so anybody can come. A newcomer is always let in and pushes out one that waits: the
twin's handshake takes milliseconds, and whoever only sits there is gone before it matters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

GUESTS: Final = 8
OF_ONE_ADDRESS: Final = 2  # the twin's last connection, that it has given up already, and its next
PATIENCE_NS: Final = 2_000_000_000  # from its first packet to HELLO


def who_leaves(waiting: Sequence[str], newcomer: str) -> int | None:
    """Which of those that wait (addresses, the oldest first) goes for a newcomer; None while there is room.

    Its own address's oldest where that has enough already; else the oldest of the address that has most.
    """
    count = Counter(waiting)
    if count[newcomer] >= OF_ONE_ADDRESS:
        return waiting.index(newcomer)
    if len(waiting) < GUESTS:
        return None
    most = max(count.values())
    return next(place for place, address in enumerate(waiting) if count[address] == most)
