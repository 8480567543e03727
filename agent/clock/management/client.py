"""Ask ptp4l, and be told by it, over its Unix domain socket.

    with ManagementClient() as ptp:
        status = ptp.get(TimeStatusNp)
        for port in ptp.get_all(PortDataSet):
            print(port.port_identity, port.port_state)

Reads only: the one SET it ever sends is SUBSCRIBE_EVENTS_NP, which changes nothing but who is told. boundaryHops is 0,
so no message of ours leaves for the network. One thread at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal

from agent.clock.management.capabilities import Capabilities, probe
from agent.clock.management.datasets import DefaultDataSet, SubscribeEventsNp, name_of
from agent.clock.management.endpoint import DEFAULT_PATHS, OPEN_MODE, Endpoint, default_folder
from agent.clock.management.errors import NoAnswer, NotSupported, Unreachable, refused
from agent.clock.management.inbox import ASKING_PORT, EVENTS_PORT, Counters, Inbox, Notification, Question
from agent.clock.management.layout import Kind, decode_data, encode_data
from agent.clock.management.values import (
    ALL_PORTS,
    ANY_CLOCK,
    Action,
    ClockIdentity,
    ErrorCode,
    Event,
    PortIdentity,
)
from agent.clock.management.wire import ErrorStatus, Management, Message, encode
from touchline.errors import LinkError, TouchlineError
from touchline.timeline import monotonic_ns

SAFE_UNREAD: Final = 100
"""Notifications that ptp4l may have to send to clients that hang. Its sends block: at some 280 unread ones (Linux's
default wmem of 212,992 octets, over all clients) it stands still, and the clock with it, until they read or end."""

MAX_DURATION_S: Final = 65_534
"""65,535 means for ever in linuxptp after 4.2: it would outlive a client that hangs."""

_S_NS: Final = 1_000_000_000
_LOOK_EVERY_NS: Final = 250_000_000
_FAREWELL_NS: Final = 100_000_000
_SEQUENCES: Final = 1 << 16


def safe_duration_s(notifications_per_s: float) -> int:
    """Return how long a subscription may last so that a hanging client cannot stop ptp4l; at least 2 s."""
    return max(2, min(MAX_DURATION_S, int(SAFE_UNREAD / max(notifications_per_s, 1e-3))))


@dataclass(frozen=True, slots=True)
class _Subscription:
    wanted: SubscribeEventsNp
    renewed_ns: int
    connection: int  # which ptp4l it was made with: Counters.connects then

    @property
    def due_ns(self) -> int:
        return self.renewed_ns + self.wanted.duration_s * _S_NS // 2

    @property
    def lapses_ns(self) -> int:
        return self.renewed_ns + (self.wanted.duration_s - 1) * _S_NS  # ptp4l compares whole seconds


class ManagementClient:
    """A client of one ptp4l; it outlives that ptp4l and works with the next one at the same path.

    Args:
        socket_path: ptp4l's ``uds_address`` or ``uds_ro_address``; None: the first of the usual places that answers.
        timeout_s: how long an answer may take; ptp4l needs far less than a millisecond when it is well.
        domain: ``domainNumber`` of its configuration. Another one is met with silence.
        transport_specific: ``transportSpecific`` of its configuration (1 for 802.1AS); "auto" finds out which of 0, 1.
        folder: where our own socket goes; ptp4l must see that path too (no PrivateTmp) and may enter it.
        mode: permissions of our own socket. Everyone may write by default, for ptp4l may run as any user: the kernel
            delivers only what comes from the ptp4l that we are connected to.

    Raises, from any method that talks to ptp4l: Unreachable (none there), NoAnswer, a :class:`Refused`, WireError (an
    answer of a layout that is not known). After each the same client can be used on.
    """

    def __init__(
        self,
        socket_path: Path | None = None,
        *,
        timeout_s: float = 1.0,
        domain: int = 0,
        transport_specific: int | Literal["auto"] = 0,
        folder: Path | None = None,
        mode: int = OPEN_MODE,
    ) -> None:
        self._endpoint = Endpoint(
            (Path(socket_path),) if socket_path is not None else DEFAULT_PATHS, folder or default_folder(), mode
        )
        self._timeout_ns = round(timeout_s * _S_NS)
        self._domain = domain
        self._transport_asked = transport_specific
        self._transport: int | None = None
        self._sequence = 0
        self._subscription: _Subscription | None = None
        self._inbox = Inbox(ClockIdentity(os.urandom(8)))

    # -- life --------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make our socket. ptp4l need not be there yet: it is looked for at the first question."""
        self._endpoint.open()

    def close(self) -> None:
        """End the subscription if there is one, close and remove our socket."""
        patience_ns = self._timeout_ns
        try:
            self._timeout_ns = min(patience_ns, _FAREWELL_NS)
            with suppress(TouchlineError):
                self.unsubscribe()
        finally:
            self._timeout_ns = patience_ns
            self._endpoint.close()

    def __enter__(self) -> ManagementClient:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- questions ---------------------------------------------------------------------------------------------------

    def get(self, kind: type[Kind], port: int = 1) -> Kind:
        """Return a data set; ``port`` counts only for those that each port has."""
        reply = self.ask(kind.MANAGEMENT_ID, port if kind.PER_PORT else ALL_PORTS)
        return _read(kind, reply)

    def get_all(self, kind: type[Kind]) -> tuple[Kind, ...]:
        """Return the data set of each port, in ptp4l's order; the one data set of those that only the clock has.

        ptp4l works off one question after the other, so a second one marks where the answers to the first end.
        """
        self._ready()
        deadline_ns = monotonic_ns() + self._timeout_ns
        first = self._send(Action.GET, Management(kind.MANAGEMENT_ID), deadline_ns)
        last = self._send(Action.GET, Management(DefaultDataSet.MANAGEMENT_ID), deadline_ns)
        self._inbox.expect((first, last))
        replies: list[Message] = []
        while True:
            reply = self._reply(deadline_ns, kind.NAME)
            if reply.sequence_id == last.sequence_id:
                break
            replies.append(reply)
        self._inbox.expect(())
        if not replies:
            raise NoAnswer(f"ptp4l passes over {kind.NAME}", hint="ask for a data set that its version knows")
        return tuple(_read(kind, self._accepted(reply, kind.NAME)) for reply in replies)

    def ask(self, management_id: int, port: int = ALL_PORTS) -> Message:
        """GET any management id; the first answer, its body :class:`Management` with the octets as ptp4l sent them."""
        self._ready()
        source = EVENTS_PORT if management_id == SubscribeEventsNp.MANAGEMENT_ID else ASKING_PORT
        return self._exchange(Action.GET, Management(management_id), port=port, source=source)

    def capabilities(self) -> Capabilities:
        """Find out, by asking, what this ptp4l knows and what it can push; about twenty questions."""
        return probe(self.ask)

    @property
    def server(self) -> Path | None:
        """The socket of the ptp4l that answered last; None before the first question and after it went away."""
        return self._endpoint.server

    @property
    def transport_specific(self) -> int | None:
        """What is sent in questions; None while "auto" has not found out."""
        return self._transport

    @property
    def counters(self) -> Counters:
        """A copy of the counters."""
        return self._inbox.snapshot()

    # -- notifications -----------------------------------------------------------------------------------------------

    def subscribe(self, events: Iterable[Event | int], duration_s: int = 10) -> SubscribeEventsNp:
        """Have ptp4l push events for so many seconds; :meth:`poll` renews it. Returns what ptp4l noted.

        Replaces an earlier subscription. Bits that this ptp4l does not know are noted and never pushed (see
        ``Capabilities.events``): whoever needs the value asks for it when nothing came. Keep it short for high rates
        (:func:`safe_duration_s`): ptp4l waits for a subscriber that stopped reading, and stands still meanwhile.
        """
        wanted = SubscribeEventsNp.of(events, duration_s)
        if not wanted.events or not 1 <= duration_s <= MAX_DURATION_S:
            raise ValueError(f"a subscription needs an event and 1..{MAX_DURATION_S} s, not {duration_s}")
        self._ready()
        return self._subscribe(wanted)

    def unsubscribe(self) -> None:
        """End the subscription; without one nothing is sent."""
        if self._subscription is None:
            return
        self._subscription = None
        self._ready()
        self._set(SubscribeEventsNp.of((), 0))

    def renew(self) -> bool:
        """Subscribe again if half of the time is over or ptp4l was restarted; returns whether it did."""
        subscription = self._subscription
        if subscription is None:
            return False
        self._ready()
        if subscription.connection == self._inbox.counters.connects and monotonic_ns() < subscription.due_ns:
            return False
        self._subscribe(subscription.wanted)
        return True

    def poll(self, timeout_s: float) -> list[Notification]:
        """Return notifications as soon as there are some, at the latest (with none) after the time; renews.

        Raises Unreachable at once while ptp4l is gone: a caller's loop then has to wait by itself. Once it is back the
        next call subscribes again.
        """
        deadline_ns = monotonic_ns() + round(timeout_s * _S_NS)
        while True:
            self.renew()
            self._drain()
            now_ns = monotonic_ns()
            if self._inbox.notifications or now_ns >= deadline_ns:
                found = list(self._inbox.notifications)
                self._inbox.notifications.clear()
                return found
            self._endpoint.wait(min(deadline_ns, now_ns + _LOOK_EVERY_NS))

    def fileno(self) -> int:
        """Readable when something came: call ``poll(0)`` then. Also after other calls while :attr:`pending`."""
        return self._endpoint.fileno()

    @property
    def pending(self) -> int:
        """Notifications that came while an answer was waited for; :meth:`poll` returns them."""
        return len(self._inbox.notifications)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _ready(self) -> None:
        """Connect if need be, and find the transport that ptp4l listens to."""
        if not self._endpoint.connected():
            self._endpoint.connect()
            self._inbox.counters.connects += 1
            self._inbox.new_series()
            self._transport = None
        if self._transport is None:
            self._transport = self._find_transport() if self._transport_asked == "auto" else self._transport_asked

    def _find_transport(self) -> int:
        deadline_ns = monotonic_ns() + self._timeout_ns
        questions = []
        for value in (0, 1):
            self._transport = value
            questions.append(self._send(Action.GET, Management(DefaultDataSet.MANAGEMENT_ID), deadline_ns))
        self._transport = None
        self._inbox.expect(questions)
        return self._reply(deadline_ns, DefaultDataSet.NAME).transport_specific

    def _subscribe(self, wanted: SubscribeEventsNp) -> SubscribeEventsNp:
        asked_ns = monotonic_ns()
        if self._subscription is not None and asked_ns >= self._subscription.lapses_ns:
            self._inbox.new_series()
        noted = self._set(wanted)
        self._subscription = _Subscription(wanted, asked_ns, self._inbox.counters.connects)
        return noted

    def _set(self, wanted: SubscribeEventsNp) -> SubscribeEventsNp:
        body = Management(SubscribeEventsNp.MANAGEMENT_ID, encode_data(wanted))
        return _read(SubscribeEventsNp, self._exchange(Action.SET, body, source=EVENTS_PORT))

    def _exchange(
        self, action: Action, body: Management, *, port: int = ALL_PORTS, source: int = ASKING_PORT
    ) -> Message:
        deadline_ns = monotonic_ns() + self._timeout_ns
        question = self._send(action, body, deadline_ns, port=port, source=source)
        self._inbox.expect((question,))
        reply = self._reply(deadline_ns, name_of(body.management_id))
        self._inbox.expect(())
        return self._accepted(reply, name_of(body.management_id))

    def _send(
        self, action: Action, body: Management, deadline_ns: int, *, port: int = ALL_PORTS, source: int = ASKING_PORT
    ) -> Question:
        self._sequence = (self._sequence + 1) % _SEQUENCES
        message = Message(
            action,
            PortIdentity(self._inbox.identity, source),
            PortIdentity(ANY_CLOCK, port),
            self._sequence,
            body,
            domain=self._domain,
            transport_specific=self._transport or 0,
        )
        if not self._endpoint.send(encode(message), deadline_ns):
            raise self._silence(f"takes no question ({name_of(body.management_id)})")
        self._inbox.counters.sent += 1
        return Question(source, self._sequence, body.management_id)

    def _reply(self, deadline_ns: int, asked: str) -> Message:
        """The next answer that is expected. Whatever else comes is sorted on the way."""
        while True:
            while (datagram := self._endpoint.receive()) is not None:
                reply = self._inbox.accept(datagram, monotonic_ns())
                if reply is not None:
                    return reply
            self._endpoint.wait(deadline_ns)
            if monotonic_ns() >= deadline_ns and not self._endpoint.wait(0):
                self._inbox.expect(())
                raise self._silence(f"does not answer {asked}")

    def _silence(self, what: str) -> LinkError:
        self._inbox.counters.timeouts += 1
        where, ours = self._endpoint.server, self._endpoint.path
        if not self._endpoint.connected():
            return Unreachable(f"ptp4l at {where} ended while it was asked", hint="start it again; this client goes on")
        return NoAnswer(
            f"ptp4l at {where} {what} within {self._timeout_ns / _S_NS:g} s",
            hint=f"it must have domainNumber {self._domain} and transportSpecific {self._transport_asked}, be able to "
            f"send to {ours} (its user, PrivateTmp), and not hang",
        )

    def _accepted(self, reply: Message, asked: str) -> Message:
        if isinstance(reply.body, ErrorStatus):
            self._inbox.counters.refusals += 1
            raise refused(asked, reply.body.code, reply.body.management_id, reply.body.text)
        return reply

    def _drain(self) -> None:
        while (datagram := self._endpoint.receive()) is not None:
            self._inbox.accept(datagram, monotonic_ns())


def _read(kind: type[Kind], reply: Message) -> Kind:
    body = reply.body
    if isinstance(body, ErrorStatus):
        raise TypeError(f"{kind.NAME}: a refusal is no data set")
    if not body.data:
        raise NotSupported(kind.NAME, ErrorCode.NOT_SUPPORTED, body.management_id, "the answer is empty")
    return decode_data(kind, body.data)
