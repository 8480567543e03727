"""Drives an outbox into a port: writes what fits, goes on where it stopped, opens anew with back-off. Never waits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from agent.uart.outbox import Outbox
from touchline.errors import TouchlineError

FIRST_PAUSE_NS: Final = 250_000_000
LONGEST_PAUSE_NS: Final = 8_000_000_000
STALL_NS: Final = 1_000_000_000  # a wire that takes nothing for so long is none: without flow control it always drains
_STEADY_NS: Final = 10_000_000_000  # open for so long, a port is believed, and the next pause is short again
_LOG: Final = logging.getLogger(__name__)


class Port(Protocol):
    """An open port; :class:`agent.uart.port.SerialPort` is it."""

    def fileno(self) -> int:
        """For poll."""

    def write(self, data: bytes) -> int:
        """Write what fits now. Raises BlockingIOError for nothing, OSError when it is gone."""

    def unsent(self) -> int | None:
        """Bytes that it took and the wire does not have yet; None where it is gone and nobody knows."""

    def close(self) -> None:
        """At once."""


class Writer:
    """One serial line. ``trouble``: why nothing is written, with its fix; empty while all is well.

    Args:
        opener: finds and opens the port; raises TouchlineError, or OSError, where that fails.
    """

    def __init__(self, outbox: Outbox, opener: Callable[[], Port]) -> None:
        self.outbox = outbox
        self.port: Port | None = None
        self.trouble = "not opened yet"
        self.lost = 0  # times that an open port went away
        self._opener = opener
        self._open_at_ns = 0
        self._pause_ns = FIRST_PAUSE_NS
        self._opened_ns = 0
        self._stuck_since_ns: int | None = None

    def wait_ns(self, now_ns: int) -> int | None:
        """How long nothing is to be done unless something comes; None for ever. A stuck port is told by poll."""
        if self.port is None:
            return max(0, self._open_at_ns - now_ns)
        return None if self._stuck_since_ns is not None else self.outbox.wants(now_ns)

    @property
    def stuck(self) -> bool:
        """Whether the port took less than it was given: ask poll when it takes more."""
        return self._stuck_since_ns is not None

    def pump(self, now_ns: int) -> None:
        """Open the port where that is due, write what may be written, and count what went out."""
        if self.port is None and now_ns >= self._open_at_ns:
            self._open(now_ns)
        self._write(now_ns)
        self._count()

    def _write(self, now_ns: int) -> None:
        while self.port is not None and (data := self.outbox.next(now_ns)):
            try:
                count = self.port.write(data)
            except BlockingIOError:
                count = 0
            except OSError as error:
                self.lose(now_ns, f"lost while writing: {error.strerror}")
                return
            if count:
                self.outbox.wrote(count)
                self._stuck_since_ns, self.trouble = None, ""
            if count < len(data):
                self._stuck(now_ns)
                return

    def lose(self, now_ns: int, why: str) -> None:
        """The port is gone: what waited is dropped, and it is looked for again after a pause."""
        if self.port is None:
            return
        self.close()
        self._stuck_since_ns = None
        self.lost += 1
        if now_ns - self._opened_ns > _STEADY_NS:
            self._pause_ns = FIRST_PAUSE_NS
        self._later(now_ns, why)

    def close(self) -> None:
        """Give the port back; what is half written stays so, and the next writer ends it. What its kernel has goes."""
        if self.port is not None:
            self._count()
            self.port.close()
            self.port = None
            self.outbox.lost()

    def _count(self) -> None:
        if self.port is not None and self.outbox.in_kernel and (unsent := self.port.unsent()) is not None:
            self.outbox.out(unsent)

    def _open(self, now_ns: int) -> None:
        try:
            self.port = self._opener()
        except TouchlineError as error:
            self._later(now_ns, str(error))
        except OSError as error:
            self._later(now_ns, f"{error.filename or 'the port'}: {error.strerror}")
        else:
            _LOG.info("the serial line is open")
            self.trouble, self._opened_ns = "", now_ns
            self.outbox.opened()

    def _later(self, now_ns: int, why: str) -> None:
        if why != self.trouble:
            _LOG.warning("%s", why)
        self.trouble = why
        self._open_at_ns = now_ns + self._pause_ns
        self._pause_ns = min(2 * self._pause_ns, LONGEST_PAUSE_NS)

    def _stuck(self, now_ns: int) -> None:
        if self._stuck_since_ns is None:
            self._stuck_since_ns = now_ns
        elif now_ns - self._stuck_since_ns > STALL_NS and not self.trouble:
            self.trouble = "the port is open and takes nothing — check its driver, and who set flow control on it"
            _LOG.warning("%s", self.trouble)
