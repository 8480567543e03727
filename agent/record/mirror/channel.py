"""One TLS connection between two recorders, never blocking: messages out of a queue, messages in."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections import deque
from typing import Final

from agent.record.mirror.tls import Identity
from agent.record.mirror.wire import Decoder, Message, WireError
from touchline.errors import LinkError, TouchlineError
from touchline.timeline import monotonic_ns

SILENCE_NS: Final = 3_000_000_000  # a peer that says nothing for so long is gone
HANDSHAKE_NS: Final = 2_000_000_000  # of TLS, from its first packet to its last, however busy the other end is
_READ_BYTES: Final = 1 << 16
_TURNS: Final = 64  # reads or writes of one pump: others want their turn too
_WANT: Final = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Channel:
    """A connection that shakes hands, sends and receives in :meth:`pump`; raises LinkError once it is of no use.

    It owns ``link``, also where it cannot be made of it. Raises ConfigError for files that cannot be used.
    """

    def __init__(self, link: socket.socket, identity: Identity, *, server_side: bool) -> None:
        self._identity = identity
        try:
            link.setblocking(False)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = identity.server_context() if server_side else identity.client_context()
            self._link = context.wrap_socket(link, server_side=server_side, do_handshake_on_connect=False)
        except TouchlineError:
            link.close()
            raise
        except OSError as error:
            link.close()
            raise LinkError(f"the mirror's connection ended: {error}") from error
        self._decoder = Decoder()
        self._out: deque[memoryview] = deque()
        self.queued = 0
        self.ready = False
        self.wants_write = not server_side
        self.born_ns = self.heard_ns = monotonic_ns()

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._link.fileno()

    @property
    def pending(self) -> bool:
        """Whether bytes wait above the socket, where select does not see them."""
        return self.ready and self._link.pending() > 0

    def send(self, message: Message) -> None:
        """Queue one message. Raises ValueError for one that is too large for its kind."""
        data = message.to_bytes()
        self._out.append(memoryview(data))
        self.queued += len(data)

    def pump(self) -> list[Message]:
        """Do what can be done now; what has arrived."""
        try:
            if not self.ready and not self._shake():
                return self._unless_late()
            found = self._receive()
            self._transmit()
        except (OSError, WireError) as error:
            raise LinkError(f"the mirror's connection ended: {error}") from error
        if found:
            self.heard_ns = monotonic_ns()
        return found or self._unless_silent()

    def flush(self) -> None:
        """Send what can be sent now. Raises as :meth:`pump`."""
        if self.ready:
            try:
                self._transmit()
            except OSError as error:
                raise LinkError(f"the mirror's connection ended: {error}") from error

    def close(self) -> None:
        """Close without ceremony."""
        with contextlib.suppress(OSError):
            self._link.close()

    def _unless_late(self) -> list[Message]:
        if monotonic_ns() - self.born_ns > HANDSHAKE_NS:
            raise LinkError(f"the TLS handshake took more than {HANDSHAKE_NS / 1e9:g} s")
        return []

    def _unless_silent(self) -> list[Message]:
        if monotonic_ns() - self.heard_ns > SILENCE_NS:
            raise LinkError(f"the other end of the mirror is silent for {SILENCE_NS / 1e9:g} s")
        return []

    def _shake(self) -> bool:
        try:
            self._link.do_handshake()
        except ssl.SSLWantReadError:
            self.wants_write = False
            return False
        except ssl.SSLWantWriteError:
            self.wants_write = True
            return False
        self._identity.check(self._link)
        self.ready, self.wants_write = True, bool(self._out)
        return True

    def _receive(self) -> list[Message]:
        found: list[Message] = []
        for _ in range(_TURNS):
            try:
                data = self._link.recv(_READ_BYTES)
            except _WANT:
                break
            if not data:
                raise WireError("closed by the other end")
            found += self._decoder.feed(data)
        return found

    def _transmit(self) -> None:
        for _ in range(_TURNS):
            if not self._out:
                break
            try:
                written = self._link.send(self._out[0])
            except _WANT:
                break
            self.queued -= written
            if written == len(self._out[0]):
                self._out.popleft()
            else:
                self._out[0] = self._out[0][written:]
        self.wants_write = bool(self._out)
