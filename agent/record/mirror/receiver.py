"""The twin's recording to our disk: a thread that listens, writes each fragment and says what it has."""

from __future__ import annotations

import logging
import re
import select
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from agent.record.boxes import box_at
from agent.record.files import Shelf
from agent.record.fragment import Head, read_fragment, read_head
from agent.record.mirror.channel import Channel
from agent.record.mirror.door import PATIENCE_NS, who_leaves
from agent.record.mirror.tls import Identity
from agent.record.mirror.wire import Have, Kind, Message, WireError, read_hello
from touchline.config.failover import split_address
from touchline.errors import LinkError, ResourceError, TouchlineError
from touchline.timeline import monotonic_ns

_FREEBIND: Final = {socket.AF_INET: 15, socket.AF_INET6: 78}  # linux/in.h, in6.h
_BACKLOG: Final = 64  # connections that the kernel holds until we look
_LOG_EVERY_NS: Final = 10_000_000_000  # refusals: anybody can cause them
_TELL_NS: Final = 500_000_000
_WAIT_S: Final = 0.1
_STREAM: Final = re.compile(r"[0-9a-f]{32}")
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tail:
    """The newest that we hold of the twin's recording."""

    stream: str
    number: int
    ptp_ns: int
    active: bool
    epoch: int


@dataclass(slots=True)
class _Guest:
    """A connection that has not said HELLO yet."""

    channel: Channel
    address: str


class MirrorReceiver:
    """Listens at ``listen``; what comes goes onto ``shelf``, which is the thread's own from then on.

    Only the twin's newest connection is heard. ``refused`` counts the others: strangers, whoever says nothing, and what
    this node could not take in. Nothing that comes, and no disk, ends the thread.

    Raises ResourceError when the address cannot be had.
    """

    def __init__(self, listen: str, identity: Identity, camera: int, shelf: Shelf) -> None:
        self._identity, self._camera, self._shelf = identity, camera, shelf
        host, port = split_address(listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            level = socket.IPPROTO_IPV6 if family == socket.AF_INET6 else socket.IPPROTO_IP
            with suppress(OSError):  # without it an address that is not up yet is refused below
                self._listener.setsockopt(level, _FREEBIND[family], 1)
            self._listener.bind((host, port))
            self._listener.listen(_BACKLOG)
        except OSError as error:
            self._listener.close()
            raise ResourceError(
                f"the mirror cannot listen at {listen}: {error.strerror}",
                hint="correct record.mirror_listen: an address of this node and a free port (one a camera)",
            ) from error
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._guests: list[_Guest] = []
        self._twin: Channel | None = None
        self._head: Head | None = None
        self._init = b""
        self._next = 0
        self._told_ns = 0
        self._closing = threading.Event()
        self.tail: Tail | None = None
        self.connected = False
        self.refused = 0
        self._quiet_until_ns = self._refused_quietly = 0
        self._thread = threading.Thread(target=self._run, name="mirror-receiver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and the open file."""
        self._closing.set()
        self._thread.join(2.0)
        self._listener.close()
        for channel in self._channels():
            channel.close()
        self._shelf.close()

    # --- the thread -------------------------------------------------------------------------------------------------

    def _channels(self) -> list[Channel]:
        return [*(guest.channel for guest in self._guests), *([self._twin] if self._twin else [])]

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._turn()
            except (OSError, ValueError, TouchlineError) as error:  # as a descriptor that select refuses: begin anew
                self._count_refusal("every connection", error)
                for channel in self._channels():
                    channel.close()
                self._guests, self._twin, self.connected = [], None, False
                self._closing.wait(_WAIT_S)

    def _turn(self) -> None:
        channels = self._channels()
        wait_s = 0.0 if any(one.pending for one in channels) else _WAIT_S
        reading = [self._listener.fileno(), *(one.fileno() for one in channels)]
        readable, _, _ = select.select(reading, [one.fileno() for one in channels if one.wants_write], [], wait_s)
        if self._listener.fileno() in readable:
            self._welcome()
        for guest in list(self._guests):
            self._listen_to_guest(guest)
        if self._twin is not None:
            self._listen_to_twin(self._twin)

    def _welcome(self) -> None:
        try:
            link, (address, *_) = self._listener.accept()
        except (BlockingIOError, ConnectionError):  # it went again
            return
        leaves = who_leaves([guest.address for guest in self._guests], address)
        if leaves is not None:
            self._refuse(self._guests[leaves], LinkError("others came before it said HELLO"))
        try:
            self._guests.append(_Guest(Channel(link, self._identity, server_side=True), address))
        except TouchlineError as error:  # files of the certificate that cannot be read are no end of the mirror
            self._count_refusal(f"a connection from {address}", error)

    def _refuse(self, guest: _Guest, why: Exception) -> None:
        self._guests.remove(guest)
        guest.channel.close()
        if guest.channel.ready and isinstance(why, LinkError):  # the twin's certificate: somebody there only looked
            _LOG.info("mirror: %s went without HELLO: %s", guest.address, why)
        else:
            self._count_refusal(f"a connection from {guest.address}", why)

    def _count_refusal(self, what: str, why: Exception) -> None:
        self.refused += 1
        now_ns = monotonic_ns()
        if now_ns < self._quiet_until_ns:
            self._refused_quietly += 1
            return
        more = f" (and {self._refused_quietly} before)" if self._refused_quietly else ""
        _LOG.warning("mirror: %s is refused: %s%s", what, why, more)
        self._quiet_until_ns, self._refused_quietly = now_ns + _LOG_EVERY_NS, 0

    def _listen_to_guest(self, guest: _Guest) -> None:
        """Until it has said HELLO; then it is the twin, and the connection before it is closed."""
        channel = guest.channel
        try:
            messages = channel.pump()
            if not messages:
                if monotonic_ns() - channel.born_ns > PATIENCE_NS:
                    raise LinkError(f"no HELLO within {PATIENCE_NS / 1e9:g} s")
                return
            node, camera = read_hello(messages[0])
            if (node, camera) != (self._identity.twin, self._camera):
                raise WireError(f"{node}'s camera {camera} instead of {self._identity.twin}'s {self._camera}")
        except (TouchlineError, WireError) as error:
            self._refuse(guest, error)
            return
        self._guests.remove(guest)
        if self._twin is not None:
            self._twin.close()
        self._twin, self.connected, self._told_ns = channel, True, 0  # it is told at once what we have
        self._listen_to_twin(channel, messages[1:])

    def _listen_to_twin(self, twin: Channel, first: Sequence[Message] = ()) -> None:
        try:
            messages = [*first, *twin.pump()]
            self._take(messages)
            if messages or monotonic_ns() - self._told_ns > _TELL_NS:
                self._tell()
            twin.flush()
        except (TouchlineError, ValueError, OSError) as error:  # ValueError: what it says; OSError: our disk
            _LOG.warning("mirror of %s: %s", self._identity.twin, error)
            twin.close()
            self._twin, self.connected = None, False

    def _tell(self) -> None:
        self._told_ns = monotonic_ns()
        if self._twin is not None:
            stored = self._shelf.counters["bytes"]
            tail, head = self.tail, self._head
            stream, ptp_ns = (Have().stream, 0) if head is None else (head.stream, tail.ptp_ns if tail else 0)
            self._twin.send(Have(stream, self._next, ptp_ns, stored).message())

    def _take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.kind is Kind.INIT:
                self._take_init(message.body)
            elif message.kind is Kind.FRAGMENT:
                self._take_fragment(message.body)
            elif message.kind is not Kind.PING:
                raise WireError(f"{message.kind.name} from a sender")

    def _take_init(self, body: bytes) -> None:
        box = box_at(body, 0, len(body))
        head = None if box is None else read_head(body, box)
        if box is None or head is None:
            raise WireError("INIT without a head")
        if (head.node, head.camera) != (self._identity.twin, self._camera):
            raise WireError(f"INIT of {head.node}'s camera {head.camera}")
        if not _STREAM.fullmatch(head.stream):
            raise WireError("INIT of a stream whose name is none")  # it becomes part of a file's name
        if self._head is not None and head.stream == self._head.stream:
            return  # it came back and goes on
        self._head, self._init, self._next = head, body[box.end :], 0
        self._shelf.begin(head, self._init)

    def _take_fragment(self, body: bytes) -> None:
        found = read_fragment(body, 0, len(body))
        if found is None or found[1] != len(body) or self._head is None:
            raise WireError("a torn fragment, or one before INIT")
        fragment = found[0]
        if fragment.number < self._next:
            return
        if fragment.number > self._next and self._next:
            self._shelf.begin(self._head, self._init)  # what is missing cannot be decoded across: a new file
        self._next = fragment.number + 1
        if self._shelf.put(fragment):
            mark = fragment.marks[-1]
            self.tail = Tail(self._head.stream, fragment.number, mark.ptp_ns, fragment.active, fragment.epoch)
