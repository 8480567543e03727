"""The process of the serial line: owns the port, hears every inference, writes one line a frame (MSG-4).

A process of its own, because a port may hang, vanish and be taken by others, and nothing of that may reach the records.
"""

from __future__ import annotations

import select
import socket
from typing import Any, Final

from agent.clock.open import open_clock
from agent.processes.child import Child
from agent.uart.feed import MAX_MESSAGE_BYTES, Sight, read_sight
from agent.uart.line import COUNTS, Line, LineFlag, encode
from agent.uart.outbox import Outbox
from agent.uart.port import find_port, open_port
from agent.uart.times import raw_of
from agent.uart.writer import Port, Writer
from failover.core.types import Role as PairRole
from touchline.config.uart import UartSection
from touchline.errors import ConfigError
from touchline.timeline import Clock, ClockState, monotonic_ns, sleep_until

_LOOK_NS: Final = 100_000_000  # how soon the parent is heard at the latest
_LAST_NS: Final = 100_000_000  # for what waits at the end
_POLL_NS: Final = 1_000_000
_HEARD_AT_ONCE: Final = 64
_LAST_TURNS: Final = 64  # more than the kernel keeps for us
_GONE: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL
_STATES: Final = {
    ClockState.LOCKED: LineFlag.LOCKED,
    ClockState.HOLDOVER: LineFlag.HOLDOVER,
    ClockState.UNLOCKED: LineFlag(0),
}


def run_uart(child: Child) -> None:
    """Write lines until the parent says stop; a port that is not there is waited for, never an end."""
    section = child.config.uart
    if section is None or child.spec.link_fd is None:
        raise ConfigError("there is no [uart]", hint="add the table to the node's configuration")
    desk = Desk(child, section, socket.socket(fileno=child.spec.link_fd))
    child.ready(port=section.port, baud=section.baud)
    try:
        while not child.stopping:
            desk.turn()
            desk.book()
            child.tick()
        desk.finish()
    finally:
        desk.book()
        child.report()


class LineMaker:
    """Lines from what the inferences tell."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self.standby = False

    def line(self, sight: Sight) -> bytes:
        """The next line's 115 characters."""
        flags = _STATES[sight.stamp.state]
        flags |= LineFlag.CLOCK_IN_BOUND if sight.in_bound else LineFlag(0)
        flags |= LineFlag.STANDBY if self.standby else LineFlag(0)
        flags |= LineFlag.PREDICTED if sight.box is not None and sight.box.score is None else LineFlag(0)
        raw = raw_of(self._clock, sight.stamp)
        count, self._count = self._count, (self._count + 1) % COUNTS
        return encode(Line(count, sight.camera, sight.frame, sight.stamp.ptp_ns, raw, sight.people, flags, sight.box))


class Desk:
    """One life of the process."""

    def __init__(self, child: Child, section: UartSection, link: socket.socket) -> None:
        self._child, self._section, self._link = child, section, link
        self._maker = LineMaker(open_clock(child.config))
        self._maker.standby = child.config.failover is not None  # until the parent says otherwise
        self.writer = Writer(Outbox(section.queue_lines, section.paced_per_s), self._open)
        self._path = ""
        self._room = bytearray(MAX_MESSAGE_BYTES)
        self._poll = select.poll()
        self._poll.register(link, select.POLLIN)
        self._poll.register(child.control, select.POLLIN)

    def _open(self) -> Port:
        port = open_port(find_port(self._section.port), self._section.baud)
        self._path = str(port.path)
        return port

    def turn(self) -> None:
        """Wait for something to do, at most 100 ms, and do it."""
        writer, port, now_ns = self.writer, self.writer.port, monotonic_ns()
        wait_ns = writer.wait_ns(now_ns)
        if port is not None:
            self._poll.register(port.fileno(), select.POLLOUT if writer.stuck else 0)
        try:
            events = dict(self._poll.poll((_LOOK_NS if wait_ns is None else min(wait_ns, _LOOK_NS)) / 1e6))
        finally:
            if port is not None:
                self._poll.unregister(port.fileno())
        if port is not None and events.get(port.fileno(), 0) & _GONE:
            writer.lose(monotonic_ns(), f"{self._path} is gone: unplugged, or its other end is closed")
        self._hear_parent()
        self._hear_link()
        writer.pump(monotonic_ns())

    def _hear_parent(self) -> None:
        inbox, self._child.inbox = self._child.inbox, []
        for message in inbox:
            if message["type"] == "role":
                self._maker.standby = message["role"] != PairRole.ACTIVE.value

    def _hear_link(self) -> bool:
        """Take what the inferences told, a bounded number a turn; True when there may be more."""
        for _ in range(_HEARD_AT_ONCE):
            try:
                count = self._link.recv_into(self._room, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            if not count:
                return False
            sight = read_sight(memoryview(self._room)[:count])
            self.writer.outbox.offer(self._maker.line(sight), sight.seen_ns)
        return True

    def finish(self) -> None:
        """Write what still waits, within 100 ms, and give the port back once the wire has it; the rest is counted."""
        for _ in range(_LAST_TURNS):
            if not self._hear_link():
                break
        writer, deadline_ns = self.writer, monotonic_ns() + _LAST_NS
        while (port := writer.port) is not None and (now_ns := monotonic_ns()) < deadline_ns:
            writer.pump(now_ns)
            outbox = writer.outbox
            if not (outbox.waiting or outbox.in_hand or port.unsent()):
                sleep_until(monotonic_ns() + _POLL_NS)  # what is in the hardware's own buffer
                break
            sleep_until(now_ns + _POLL_NS)
        writer.close()

    def book(self) -> None:
        """Counters and state for the parent's next report."""
        child, books = self._child, self.writer.outbox.books
        child.counters["uart_lines"] = books.lines
        for name in ("queue", "old", "port"):
            child.counters[f"dropped_uart_{name}"] = getattr(books, f"dropped_{name}")
        child.extra["uart"] = self._document()

    def _document(self) -> dict[str, Any]:
        writer, outbox = self.writer, self.writer.outbox
        return {
            "port": self._path or self._section.port,
            "open": writer.port is not None,
            "trouble": writer.trouble,
            "baud": self._section.baud,
            "paced_per_s": round(self._section.paced_per_s, 1),
            "waiting": outbox.waiting,
            "times_lost": writer.lost,
            **outbox.books.as_dict(),
        }
