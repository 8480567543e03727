"""What the twin does not have yet, bounded in bytes, and where a twin that comes back goes on. Pure."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass

from agent.record.mirror.wire import Have


@dataclass(frozen=True, slots=True)
class Item:
    """A fragment as bytes. ``serial`` counts all that ever came in, over all streams."""

    serial: int
    stream: str
    number: int
    key: bool
    ptp_ns: int
    data: bytes


class Backlog:
    """The newest fragments, oldest first, always beginning with a key frame.

    At most ``max_bytes``, or a single group of pictures up to twice that.

    A fragment stays after it was sent, as long as there is room: a twin that lost some asks for them again.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: deque[Item] = deque()
        self._inits: dict[str, bytes] = {}
        self._serial = 0
        self._bytes = 0

    def begin(self, stream: str, init: bytes) -> None:
        """A new run of the encoder: what it begins with."""
        self._inits[stream] = init

    def init(self, stream: str) -> bytes:
        """What a stream begins with."""
        return self._inits[stream]

    def put(self, stream: str, number: int, key: bool, ptp_ns: int, data: bytes) -> None:
        """The next fragment. One without its key frame before it is not kept, but counted: nobody could decode it."""
        if not key and not self._items:
            self._serial += 1
            return
        self._items.append(Item(self._serial, stream, number, key, ptp_ns, data))
        self._serial += 1
        self._bytes += len(data)
        while self._bytes > self._max_bytes and self._drop_oldest_group():
            pass

    def _drop_oldest_group(self) -> bool:
        """Drop the oldest key frame and what follows up to the next; the only group stays up to twice the bound."""
        group = itertools.takewhile(lambda item: not item.key, itertools.islice(self._items, 1, None))
        count = 1 + sum(1 for _ in group)
        if count == len(self._items) and self._bytes < 2 * self._max_bytes:
            return False
        for _ in range(count):
            self._bytes -= len(self._items.popleft().data)
        present = {item.stream for item in self._items}
        newest = next(reversed(self._inits), None)
        self._inits = {name: init for name, init in self._inits.items() if name in present or name == newest}
        return bool(self._items)

    def after(self, have: Have) -> int:
        """The serial with which a twin that has this goes on: the next number of its stream, else our oldest."""
        for item in self._items:
            if item.stream == have.stream and item.number >= have.next_number:
                return item.serial if item.number == have.next_number else self._next_key(item.serial)
        last = self._items[-1] if self._items else None
        if last is not None and last.stream == have.stream:
            return last.serial + 1  # it has all of it
        return self._items[0].serial if self._items else self._serial

    def _next_key(self, serial: int) -> int:
        return next((item.serial for item in self._items if item.serial >= serial and item.key), self._serial)

    def get(self, serial: int) -> Item | None:
        """The item with this serial, or the oldest if that one is gone; None when there is none yet."""
        if not self._items or serial >= self._serial:
            return None
        return self._items[max(0, serial - self._items[0].serial)]

    @property
    def bytes(self) -> int:
        """Bytes held."""
        return self._bytes
