"""What waits to be written and what may be written now: bounded, paced, never a torn line before another. Pure.

The newest lines count: where more come than the wire carries, the oldest goes. Lines are begun no faster than the wire
carries them, so that nothing queues in the kernel, where it could not be dropped: what is sent is fresh.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Final

from agent.uart.line import END, RESYNC

MOST_AGE_NS: Final = 250_000_000
"""An older line is dropped: whoever steers by it wants to know where people are, not where they were."""
BURST_LINES: Final = 2  # the cameras of a node fire together


@dataclass
class Books:
    """Totals. ``lines``: the wire has them; ``bytes``: the port took them.

    Dropped lines by reason: ``queue`` full, too ``old``, no ``port`` (or lost with it: half sent, or in its kernel).
    """

    lines: int = 0
    bytes: int = 0
    dropped_queue: int = 0
    dropped_old: int = 0
    dropped_port: int = 0

    @property
    def dropped(self) -> int:
        """All of them."""
        return self.dropped_queue + self.dropped_old + self.dropped_port

    def as_dict(self) -> dict[str, int]:
        """As plain numbers."""
        return asdict(self)


class Outbox:
    """One port's. Without an open port nothing waits: ``opened`` and ``lost`` say how that is.

    Args:
        most: lines that wait at most, besides the one being written.
        per_s: lines begun in a second at most.
    """

    def __init__(self, most: int, per_s: float) -> None:
        self.books = Books()
        self._most = most
        self._interval_ns = round(1e9 / per_s)
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._rest = b""
        self._torn = False  # part of a line is out, whose rest is in _rest
        self._taken = 0  # bytes that this port took
        self._ends: deque[int] = deque()  # of them, where the lines end that the wire does not have yet
        self._due_ns = 0
        self._open = False

    @property
    def waiting(self) -> int:
        """Lines that wait, without the one being written."""
        return len(self._waiting)

    @property
    def in_hand(self) -> int:
        """Bytes that the port has yet to take of what was begun."""
        return len(self._rest)

    @property
    def in_kernel(self) -> int:
        """Lines that the port took and of which the wire is not known to have all."""
        return len(self._ends)

    def opened(self) -> None:
        """A port is there. What it says first ends whatever was left torn on it."""
        self._open, self._rest, self._torn, self._taken = True, RESYNC, False, 0

    def lost(self) -> None:
        """The port is gone, and with it what waited, here and in its kernel."""
        self.books.dropped_port += len(self._waiting) + self._torn + len(self._ends)
        self._waiting.clear()
        self._ends.clear()
        self._open, self._rest, self._torn = False, b"", False

    def offer(self, line: bytes, made_ns: int) -> None:
        """Take a line without its end; ``made_ns``: when its frame was ready (CLOCK_MONOTONIC)."""
        if not self._open:
            self.books.dropped_port += 1
            return
        if len(self._waiting) >= self._most:
            self._waiting.popleft()
            self.books.dropped_queue += 1
        self._waiting.append((made_ns, line))

    def wants(self, now_ns: int) -> int | None:
        """Nanoseconds until there is something to write; None when there is nothing, 0 for now."""
        if not self._open:
            return None
        if self._rest:
            return 0
        if not self._waiting:
            return None
        return max(0, self._due_ns - (BURST_LINES - 1) * self._interval_ns - now_ns)

    def next(self, now_ns: int) -> bytes:
        """Return what to write now; empty for nothing. The same until :meth:`wrote` says that some of it is out."""
        while not self._rest and self.wants(now_ns) == 0:
            made_ns, line = self._waiting.popleft()
            if now_ns - made_ns > MOST_AGE_NS:
                self.books.dropped_old += 1
                continue
            self._rest, self._torn = line + END, True
            self._due_ns = max(self._due_ns, now_ns) + self._interval_ns
        return self._rest

    def wrote(self, count: int) -> None:
        """The port took so many bytes of it."""
        self.books.bytes += count
        self._taken += count
        self._rest = self._rest[count:]
        if not self._rest and self._torn:
            self._ends.append(self._taken)
            self._torn = False

    def out(self, unsent: int) -> None:
        """The wire has all that the port took but the last ``unsent`` bytes."""
        while self._ends and self._ends[0] <= self._taken - unsent:
            self._ends.popleft()
            self.books.lines += 1
