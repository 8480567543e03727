"""What a datagram from ptp4l is: the answer waited for, a notification, or nothing of ours. Pure.

Questions go out from port 1 of our own made-up clock identity, subscriptions from port 2. ptp4l sends answers and
notifications back to the port that asked, so the two never mix, though both count their messages from the same 16 bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from agent.clock.management.datasets import DATA_SETS, SubscribeEventsNp, name_of
from agent.clock.management.errors import WireError
from agent.clock.management.layout import DataSet, decode_data
from agent.clock.management.values import Action, ClockIdentity, PortIdentity
from agent.clock.management.wire import ErrorStatus, Management, Message, decode

ASKING_PORT: Final = 1
EVENTS_PORT: Final = 2
MAX_WAITING: Final = 1024  # notifications kept for a reader who does not come; the oldest go first

_SEQUENCES: Final = 1 << 16


@dataclass(slots=True)
class Counters:
    """What went over the socket since the client was made; none of the losses is fatal.

    ``late``: answers to a question that was given up. ``foreign``: sent to somebody else's identity. ``malformed``:
    no management message, or a data set of the wrong length. ``missed``: notifications that ptp4l numbered and we
    never saw. ``dropped``: notifications that nobody fetched in time. ``timeouts``: questions without an answer.
    ``connects``: how often a ptp4l was found; more than one means that it was restarted.
    """

    sent: int = 0
    answers: int = 0
    refusals: int = 0
    notifications: int = 0
    late: int = 0
    foreign: int = 0
    malformed: int = 0
    missed: int = 0
    dropped: int = 0
    timeouts: int = 0
    connects: int = 0


@dataclass(frozen=True, slots=True)
class Notification:
    """What ptp4l pushed. ``data``: the data set, as octets when this program has no definition of it.

    ``received_ns``: CLOCK_MONOTONIC when we read it, which may be later than it came.
    """

    data: DataSet | Management
    source: PortIdentity
    sequence_id: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class Question:
    """One message that wants an answer."""

    port: int
    sequence_id: int
    management_id: int


class Inbox:
    """Sorts datagrams. :attr:`notifications` and :attr:`counters` fill; answers come back from :meth:`accept`."""

    def __init__(self, identity: ClockIdentity) -> None:
        self.identity = identity
        self.counters = Counters()
        self.notifications: deque[Notification] = deque()
        self._waiting: frozenset[Question] = frozenset()
        self._last: int | None = None

    def expect(self, questions: Iterable[Question]) -> None:
        """From now on only answers to these are wanted."""
        self._waiting = frozenset(questions)

    def new_series(self) -> None:
        """ptp4l counts its notifications from 0 again: it is another one, or a new subscription."""
        self._last = None

    def accept(self, datagram: bytes, now_ns: int) -> Message | None:
        """Look at one datagram; returns it if it answers a question that was expected, else None. Never raises."""
        try:
            message = decode(datagram)
            if message.target.clock != self.identity:
                self.counters.foreign += 1
                return None
            if message.action != Action.RESPONSE:
                raise WireError(f"action {message.action} from ptp4l")
            if self._pushed(message):
                self._notify(message, now_ns)
                return None
        except WireError:
            self.counters.malformed += 1
            return None
        if Question(message.target.port, message.sequence_id, message.body.management_id) not in self._waiting:
            self.counters.late += 1
            return None
        self.counters.answers += 1
        return message

    @staticmethod
    def _pushed(message: Message) -> bool:
        """The events port is only ever sent notifications, and the answers to its own subscription."""
        return message.target.port == EVENTS_PORT and message.body.management_id != SubscribeEventsNp.MANAGEMENT_ID

    def _notify(self, message: Message, now_ns: int) -> None:
        if isinstance(message.body, ErrorStatus):
            raise WireError(f"a refusal of {name_of(message.body.management_id)} that nobody asked for")
        kind = DATA_SETS.get(message.body.management_id)
        data = decode_data(kind, message.body.data) if kind is not None else message.body
        self.counters.notifications += 1
        gap = 0 if self._last is None else (message.sequence_id - self._last - 1) % _SEQUENCES
        if gap < _SEQUENCES // 2:  # more is a number that went back: a series that began anew
            self.counters.missed += gap
        self._last = message.sequence_id
        if len(self.notifications) >= MAX_WAITING:
            self.notifications.popleft()
            self.counters.dropped += 1
        self.notifications.append(Notification(data, message.source, message.sequence_id, now_ns))

    def snapshot(self) -> Counters:
        """The counters as they are now."""
        return replace(self.counters)
