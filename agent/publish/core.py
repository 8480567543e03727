"""When to dial, when to give a connection up, how much may be under way. Pure: events and time in, decisions out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from agent.publish.segment import Entry

_NS: Final = 1_000_000_000


class Phase(str, Enum):
    """Where the connection stands."""

    WAITING = "waiting"  # until the next attempt
    DIALLING = "dialling"  # TCP and TLS, beside the loop
    GREETING = "greeting"  # CONNECT sent, CONNACK awaited
    LISTENING = "listening"  # connected; no sink has said yet that it is subscribed
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class LinkPolicy:
    """Times in seconds. Attempts are ``first_retry_s`` apart, doubling to ``max_retry_s``, each shortened at random to
    between half and all of it, so that forty nodes do not return at the same instant."""

    first_retry_s: float = 0.1
    max_retry_s: float = 5.0
    greeting_timeout_s: float = 5.0
    ack_timeout_s: float = 10.0


class LinkCore:
    """The connection's life. ``random`` gives 0..1 and is called once per failure."""

    def __init__(self, policy: LinkPolicy, now_ns: int, random: Callable[[], float]) -> None:
        self.phase = Phase.WAITING
        self.connects = 0
        self._policy = policy
        self._random = random
        self._failures = 0
        self._until_ns = now_ns
        self._greeted_ns: int | None = None

    @property
    def wake_ns(self) -> int | None:
        """When time alone will change something; None in the phases that end by an event."""
        return self._until_ns if self.phase in (Phase.WAITING, Phase.GREETING) else None

    @property
    def reconnects(self) -> int:
        """Connections after the first."""
        return max(0, self.connects - 1)

    def should_dial(self, now_ns: int) -> bool:
        """Whether to start an attempt now; the phase then is DIALLING."""
        if self.phase is not Phase.WAITING or now_ns < self._until_ns:
            return False
        self.phase = Phase.DIALLING
        return True

    def dialled(self, now_ns: int) -> None:
        """TCP and TLS are up."""
        self.phase = Phase.GREETING
        self._until_ns = now_ns + int(self._policy.greeting_timeout_s * _NS)

    def greeted(self, now_ns: int, *, wait_for_sink: bool) -> None:
        """The broker accepted us."""
        self.phase = Phase.LISTENING if wait_for_sink else Phase.OPEN
        self.connects += 1
        self._greeted_ns = now_ns

    def progressed(self) -> None:
        """A batch was acknowledged: the link works, so the next failure starts counting anew."""
        self._failures = 0

    def sink_heard(self) -> None:
        """A sink is subscribed."""
        if self.phase is Phase.LISTENING:
            self.phase = Phase.OPEN

    def sink_gone(self) -> None:
        """The sink says goodbye, or the broker found no subscriber."""
        if self.phase is Phase.OPEN:
            self.phase = Phase.LISTENING

    def greeting_overdue(self, now_ns: int) -> bool:
        """Whether CONNACK is later than it may be."""
        return self.phase is Phase.GREETING and now_ns >= self._until_ns

    def failed(self, now_ns: int) -> None:
        """The attempt or the connection ended; the next attempt is set. One that held for long counts as a success."""
        if self._greeted_ns is not None and now_ns - self._greeted_ns > 2 * self._policy.max_retry_s * _NS:
            self._failures = 0
        self._greeted_ns = None
        delay_s = min(self._policy.max_retry_s, self._policy.first_retry_s * 2.0 ** min(self._failures, 20))
        self._failures += 1
        self._until_ns = now_ns + int(delay_s * (0.5 + 0.5 * self._random()) * _NS)
        self.phase = Phase.WAITING


@dataclass(frozen=True, slots=True)
class FlowPolicy:
    """How much may be under way: batches and bytes without PUBACK, and bytes/s while a backlog drains (0: no limit)."""

    max_in_flight: int = 64
    max_in_flight_bytes: int = 4 << 20
    drain_bytes_per_s: float = 16e6


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch under way."""

    entry: Entry
    at_ns: int


class FlowCore:
    """The in-flight window and the pace. The pace is a token bucket holding a quarter second, one batch at least."""

    def __init__(self, policy: FlowPolicy, now_ns: int) -> None:
        self._policy = policy
        self._limit = policy.max_in_flight
        self._bytes = 0
        self._sent: dict[int, Sent] = {}
        self._capacity = policy.drain_bytes_per_s / 4.0
        self._tokens = self._capacity
        self._filled_ns = now_ns

    def __len__(self) -> int:
        return len(self._sent)

    def may_send(self, now_ns: int) -> bool:
        """Whether the window and the pace have room for one more batch."""
        if len(self._sent) >= self._limit or self._bytes >= self._policy.max_in_flight_bytes:
            return False
        self._fill(now_ns)
        return self._policy.drain_bytes_per_s <= 0 or self._tokens > 0

    def pace_ns(self, now_ns: int) -> int:
        """How long until the pace allows a batch; 0 when it does now."""
        self._fill(now_ns)
        if self._policy.drain_bytes_per_s <= 0 or self._tokens > 0:
            return 0
        return int(-self._tokens / self._policy.drain_bytes_per_s * _NS) + 1_000

    def sent(self, mid: int, entry: Entry, now_ns: int) -> None:
        """A batch left with message id ``mid``."""
        self._sent[mid] = Sent(entry, now_ns)
        self._bytes += entry.size
        self._tokens -= entry.size

    def acknowledged(self, mid: int) -> Sent | None:
        """PUBACK for ``mid``; None when it is none of ours."""
        sent = self._sent.pop(mid, None)
        if sent is not None:
            self._bytes -= sent.entry.size
        return sent

    def overdue(self, now_ns: int, ack_timeout_s: float) -> bool:
        """Whether the oldest batch under way has waited too long for its PUBACK."""
        oldest = next(iter(self._sent.values()), None)
        return oldest is not None and now_ns - oldest.at_ns > ack_timeout_s * _NS

    def reset(self, receive_maximum: int | None = None) -> None:
        """A new connection: nothing is under way. MQTT 5 brokers may lower the window."""
        self._sent.clear()
        self._bytes = 0
        self._limit = min(self._policy.max_in_flight, receive_maximum or self._policy.max_in_flight)

    def _fill(self, now_ns: int) -> None:
        gained = max(0, now_ns - self._filled_ns) * self._policy.drain_bytes_per_s / _NS
        self._tokens = min(self._capacity, self._tokens + gained)
        self._filled_ns = now_ns
