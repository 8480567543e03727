"""Our recording to the twin: a thread that dials, catches up and sends each fragment as it comes."""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from agent.record.fragment import Fragment, Head
from agent.record.mirror.backlog import Backlog, Item
from agent.record.mirror.channel import Channel
from agent.record.mirror.tls import Identity
from agent.record.mirror.wire import Have, Kind, Message, hello
from touchline.config.failover import split_address
from touchline.errors import TouchlineError
from touchline.timeline import monotonic_ns

_CONNECT_S: Final = 2.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_PING_NS: Final = 500_000_000
_QUEUED_BYTES: Final = 1 << 20  # in the connection's queue; the rest stays in the backlog
_ASKED: Final = 4096  # send times remembered to measure the way to the twin's disk
_STREAMS: Final = 64  # runs of the encoder whose order is remembered
_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class SentBooks:
    """What the sender has done. ``have``: the twin's last word; ``skipped``: fragments the twin will never get."""

    connected: bool = False
    connects: int = 0
    sent: int = 0
    sent_bytes: int = 0
    skipped: int = 0
    have: Have = field(default_factory=Have)
    trouble: str = ""


class MirrorSender:
    """:meth:`begin` and :meth:`put` are called from one other thread and never wait for disk or network; the backlog
    takes what the connection does not. :meth:`close` ends it.

    ``to_twin_ms``: times from :meth:`put` to the twin's word that the fragment is in its file, to be emptied by whoever
    measures.
    """

    def __init__(self, peer: str, identity: Identity, node: str, camera: int, max_bytes: int) -> None:
        self._address = split_address(peer)
        self._identity, self._node, self._camera = identity, node, camera
        self._lock = threading.Lock()
        self._backlog = Backlog(max_bytes)
        self._stream = ""
        self._begun = 0
        self._order: dict[str, int] = {}  # the streams of this life, the first 1
        self._put_ns: deque[tuple[str, int, int]] = deque(maxlen=_ASKED)
        self._next = 0  # serial of the item to send next
        self._never_sent = 0  # serial of the first that no connection has had
        self._said = ""  # the stream that the twin has the start of
        self._pause_s = _FIRST_PAUSE_S
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closing = threading.Event()
        self.books = SentBooks()
        self.to_twin_ms: deque[float] = deque(maxlen=_ASKED)
        self._thread = threading.Thread(target=self._run, name="mirror-sender", daemon=True)
        self._thread.start()

    def begin(self, head: Head, init: bytes) -> None:
        """A new run of the encoder."""
        with self._lock:
            self._stream = head.stream
            self._begun += 1
            self._order[head.stream] = self._begun
            self._order = dict(list(self._order.items())[-_STREAMS:])
            self._backlog.begin(head.stream, head.to_bytes() + init)

    def put(self, fragment: Fragment) -> None:
        """The next fragment."""
        data = fragment.to_bytes()
        with self._lock:
            self._backlog.put(self._stream, fragment.number, fragment.key, fragment.marks[-1].ptp_ns, data)
            self._put_ns.append((self._stream, fragment.number, monotonic_ns()))
            self._rouse()

    def _rouse(self) -> None:
        with suppress(BlockingIOError):
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def close(self, flush_s: float = 0.0) -> None:
        """End the thread, after the twin has all of it or ``flush_s`` passed; at once where the twin is away."""
        if self._closing.is_set():
            return
        deadline_ns = monotonic_ns() + int(flush_s * 1e9)
        pause = threading.Event()
        while self.books.connected and not self._all_there() and monotonic_ns() < deadline_ns:
            pause.wait(0.005)
        self._closing.set()
        self._rouse()
        self._thread.join(_CONNECT_S + 1.0)
        with self._lock:
            if self._put_ns:
                _LOG.warning("mirror: the twin has not said that it holds our last %d fragments", len(self._put_ns))
            if not self._thread.is_alive():
                os.close(self._wake)
                self._wake = -1

    def _all_there(self) -> bool:
        with self._lock:
            have = self.books.have
            return not self._put_ns or self._put_ns[-1][:2] == (have.stream, have.next_number - 1)

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            channel: Channel | None = None
            try:
                channel = self._dial()
                self._serve(channel)
            except (OSError, TouchlineError, ValueError) as error:  # ValueError: WireError, or a descriptor for select
                self._say(error)
            finally:
                self.books.connected = False
                if channel is not None:
                    channel.close()
            self._closing.wait(self._pause_s)
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _say(self, error: Exception) -> None:
        if str(error) != self.books.trouble:
            self.books.trouble = str(error)
            _LOG.warning("mirror to %s:%d: %s", *self._address, error)

    def _dial(self) -> Channel:
        return Channel(socket.create_connection(self._address, _CONNECT_S), self._identity, server_side=False)

    def _serve(self, channel: Channel) -> None:
        """One connection, until we close or it ends with LinkError; the twin's answer lets the pauses begin anew."""
        channel.send(hello(self._node, self._camera))
        pinged_ns = monotonic_ns()
        self._said, greeted = "", False
        while not self._closing.is_set():
            wait_s = 0.0 if channel.pending else 0.1
            writing = [channel.fileno()] if channel.wants_write else []
            select.select([channel.fileno(), self._wake], writing, [], wait_s)
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            for message in channel.pump():
                self._hear(Have.of(message), first=not greeted)
                greeted = True
            if greeted:
                if not self.books.connected:
                    self.books.connected, self.books.trouble, self._pause_s = True, "", _FIRST_PAUSE_S
                    self.books.connects += 1
                self._fill(channel)
            if monotonic_ns() - pinged_ns > _PING_NS:
                channel.send(Message(Kind.PING))
                pinged_ns = monotonic_ns()
            channel.flush()

    def _hear(self, have: Have, *, first: bool) -> None:
        """The twin's word. Its first one says where to go on, and may name any stream, an earlier life's or none.

        A later word of an older stream than it named before is ignored. What was put before the stream that it names is
        written, or never will be, and is waited for no longer; only what it says that it holds is measured.
        """
        now_ns = monotonic_ns()
        with self._lock:
            age = self._order.get(have.stream, 0)
            if first:
                self._next = self._backlog.after(have)
            elif age < self._order.get(self.books.have.stream, 0):
                return
            self.books.have = have
            while self._put_ns:
                stream, number, put_ns = self._put_ns[0]
                held = stream == have.stream and number < have.next_number
                if not held and self._order.get(stream, 0) >= age:
                    break
                self._put_ns.popleft()
                if held:
                    self.to_twin_ms.append((now_ns - put_ns) / 1e6)

    def _fill(self, channel: Channel) -> None:
        """Move what is next from the backlog to the connection."""
        while channel.queued < _QUEUED_BYTES:
            with self._lock:
                item = self._backlog.get(self._next)
                if item is None:
                    return
                init = self._backlog.init(item.stream)
            self.books.skipped += max(0, item.serial - self._never_sent)
            first, self._never_sent = item.serial >= self._never_sent, max(self._never_sent, item.serial + 1)
            self._next = item.serial + 1
            try:
                self._send(channel, item, init)
            except ValueError as error:  # larger than the twin takes: no later try can send it
                self._say(error)
                self.books.skipped += first

    def _send(self, channel: Channel, item: Item, init: bytes) -> None:
        if item.stream != self._said:
            channel.send(Message(Kind.INIT, init))
            self._said = item.stream
        channel.send(Message(Kind.FRAGMENT, item.data))
        self.books.sent += 1
        self.books.sent_bytes += len(item.data)
