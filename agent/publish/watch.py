"""What the publisher's loop waits for: the broker's socket, the end of a dial, and what its owner watches."""

from __future__ import annotations

import selectors
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ready:
    """What the wait ended with: the owner's descriptors that are readable, and what the broker's socket is."""

    owners: list[int]
    readable: bool
    writable: bool


class Watch:
    """One selector. ``wake_fd``: becomes readable when an attempt to connect has ended."""

    def __init__(self, wake_fd: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake_fd, selectors.EVENT_READ)
        self._owners: set[int] = set()
        self._followed: tuple[int, int] | None = None  # the socket's descriptor and the events asked for

    def add(self, fd: int) -> None:
        """Wait for a descriptor of the owner to be readable."""
        self._selector.register(fd, selectors.EVENT_READ)
        self._owners.add(fd)

    def remove(self, fd: int) -> None:
        """Wait for it no more; before it is closed."""
        self._selector.unregister(fd)
        self._owners.discard(fd)

    def follow(self, fd: int | None, *, writing: bool = False) -> None:
        """Wait for this socket from now on and for no other; None: for none, before it is closed."""
        wanted = None if fd is None else (fd, selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0))
        if wanted == self._followed:
            return
        if wanted is not None and self._followed is not None and wanted[0] == self._followed[0]:
            self._selector.modify(*wanted)
        else:
            if self._followed is not None:
                self._selector.unregister(self._followed[0])
            if wanted is not None:
                self._selector.register(*wanted)
        self._followed = wanted

    def wait(self, timeout_s: float) -> Ready:
        """Return when something has happened, or after the time."""
        followed = self._followed[0] if self._followed is not None else None
        events = {key.fd: mask for key, mask in self._selector.select(timeout_s)}
        mask = events.get(followed, 0) if followed is not None else 0
        owners = [fd for fd in events if fd in self._owners]
        return Ready(owners, bool(mask & selectors.EVENT_READ), bool(mask & selectors.EVENT_WRITE))

    def close(self) -> None:
        """Give up the selector."""
        self._selector.close()
