"""The local link between the failover service and the publisher: both ends of one Unix SOCK_SEQPACKET socket.

``node.run_dir/failover.sock`` (mode 0660): the service listens, the publisher connects and comes back by itself. A
message that is none (:mod:`failover.link_words`) ends the connection: for the service the publisher is then not there,
so the node is not fit; for the publisher no new gate comes, and the one it has runs out. Nothing here waits, and
nothing reads a clock.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from failover.core.types import Gate
from failover.link_ends import End, Listener
from failover.link_words import (
    ABSENT,
    FromPublisher,
    FromService,
    LinkFormatError,
    NodeEvent,
    Opened,
    PublisherWord,
    event_message,
    gate_message,
    opened_message,
    pipeline_message,
    read_publisher,
    read_service,
)

__all__ = [
    "ABSENT",
    "NodeEvent",
    "Opened",
    "PublisherPort",
    "PublisherWord",
    "ServicePort",
    "opened_message",
    "pipeline_message",
    "socket_path",
]

SOCKET_NAME: Final = "failover.sock"
CONNECT_EVERY_NS: Final = 500_000_000
_LOG: Final = logging.getLogger("failover.link")


def socket_path(run_dir: Path) -> Path:
    """Where the service of a node with this ``node.run_dir`` listens."""
    return run_dir / SOCKET_NAME


class PublisherPort:
    """The service's end: listens, and talks to the newest publisher that came.

    Raises:
        ResourceError: the socket cannot be made, or another service listens there.
    """

    def __init__(self, path: Path) -> None:
        self._listener = Listener(path)
        self._end: End | None = None
        self.refused = 0  # messages that were none

    def filenos(self) -> list[int]:
        """What to wait for; it changes when a publisher comes or goes."""
        return [self._listener.fileno(), *([self._end.socket.fileno()] if self._end else [])]

    @property
    def connected(self) -> bool:
        """Whether a publisher is there."""
        return self._end is not None

    def receive(self) -> list[FromPublisher]:
        """What the publisher said since the last call; :data:`ABSENT` in its place when it left."""
        heard: list[FromPublisher] = []
        if self._end is not None:
            heard += self._hear(self._end)
        while (fresh := self._listener.accept()) is not None:
            if self._end is not None:
                heard += self._drop("another publisher came")
            self._end = fresh
            heard += self._hear(self._end)
        return heard

    def send(self, gate: Gate) -> bool:
        """Tell the publisher its gate; False when it is not there."""
        return self._send(gate_message(gate))

    def say(self, event: NodeEvent) -> bool:
        """Have the publisher publish an event; False when it is not there to take it."""
        return self._send(event_message(event))

    def close(self) -> None:
        """Hang up and take the socket away, if it is still ours."""
        if self._end is not None:
            self._end.close()
        self._listener.close()

    def _send(self, data: bytes) -> bool:
        return self._end is not None and self._end.send(data)

    def _hear(self, end: End) -> list[FromPublisher]:
        heard: list[FromPublisher] = []
        try:
            heard += [read_publisher(data) for data in end.receive()]
        except LinkFormatError as error:
            self.refused += 1
            return [*heard, *self._drop(f"it does not speak as it should ({error.message})")]
        return heard if not end.gone else [*heard, *self._drop("it is gone")]

    def _drop(self, why: str) -> list[FromPublisher]:
        assert self._end is not None
        _LOG.warning("publisher: %s", why)
        self._end.close()
        self._end = None
        return [ABSENT]


class ServicePort:
    """The publisher's end: connects, and again every half second while nobody is there."""

    def __init__(self, path: Path, *, closing: Callable[[int], None] = lambda fd: None) -> None:
        """``closing`` is told each descriptor just before it is closed, so that nobody goes on waiting for it."""
        self._path = path
        self._closing = closing
        self._end: End | None = None
        self._due_ns: int | None = None
        self.refused = 0

    def fileno(self) -> int | None:
        """What to wait for; None while there is no connection."""
        return self._end.socket.fileno() if self._end is not None else None

    @property
    def connected(self) -> bool:
        """Whether the service is there."""
        return self._end is not None

    def connect(self, now_ns: int) -> bool:
        """Try to connect if it is time; True when that made a new connection."""
        if self._end is not None or (self._due_ns is not None and now_ns < self._due_ns):
            return False
        self._due_ns = now_ns + CONNECT_EVERY_NS
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            connection.connect(str(self._path))
        except OSError:  # not there yet, or its queue is full: the next attempt tells
            connection.close()
            return False
        self._end = End(connection)
        return True

    def receive(self) -> list[FromService]:
        """What the service said since the last call."""
        if self._end is None:
            return []
        heard: list[FromService] = []
        try:
            heard += [read_service(data) for data in self._end.receive()]
        except LinkFormatError as error:
            self.refused += 1
            _LOG.error("the failover service does not speak as it should: %s", error)
            self._end.gone = True
        self._drop_if_gone()
        return heard

    def send(self, message: bytes) -> bool:
        """Send :func:`pipeline_message` or :func:`opened_message`; False when nobody took it."""
        taken = self._end is not None and self._end.send(message)
        self._drop_if_gone()
        return taken

    def close(self) -> None:
        """Hang up."""
        if self._end is not None:
            self._end.gone = True
            self._drop_if_gone()

    def _drop_if_gone(self) -> None:
        if self._end is not None and self._end.gone:
            self._closing(self._end.socket.fileno())
            self._end.close()
            self._end = None
