"""Health, clock and events: small retained JSON beside the records, at a bounded rate. Pure."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MAX_DOCUMENT_BYTES: Final = 64 << 10
_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class DocumentPolicy:
    """At most one document per topic and ``interval_s``; ``max_events`` wait, ``events_per_s`` leave."""

    interval_s: float = 0.5
    max_events: int = 256
    events_per_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish, retained."""

    topic: str
    payload: bytes
    is_event: bool


class Documents:
    """Of a state only the newest matters: it replaces what waits. Events queue up and are sent until acknowledged."""

    def __init__(self, policy: DocumentPolicy) -> None:
        self._policy = policy
        self._states: dict[str, bytes] = {}  # topic -> newest, kept for the next connection
        self._unsent: dict[str, int] = {}  # topic -> earliest time it may leave
        self._sent_ns: dict[str, int] = {}
        self._events: deque[Outgoing] = deque()
        self._flying: dict[int, Outgoing] = {}
        self._event_ns = 0
        self.events_dropped = 0

    def set_state(self, topic: str, document: Mapping[str, Any], now_ns: int) -> None:
        """Replace the document of a topic."""
        self._states[topic] = encode(document)
        earliest_ns = self._sent_ns.get(topic, -(1 << 62)) + int(self._policy.interval_s * _NS)
        self._unsent[topic] = max(now_ns, earliest_ns)

    def replace_last(self, topic: str, changes: Mapping[str, Any], now_ns: int) -> None:
        """Send a topic's newest document once more with some keys changed, at once."""
        last = json.loads(self._states.get(topic, b"{}"))
        self._states[topic] = encode({**last, **changes})
        self._unsent[topic] = now_ns

    @property
    def pending(self) -> bool:
        """Whether a state waits to be sent or to be acknowledged."""
        return bool(self._unsent) or any(not message.is_event for message in self._flying.values())

    @property
    def flying(self) -> int:
        """Messages without PUBACK."""
        return len(self._flying)

    def add_event(self, topic: str, document: Mapping[str, Any]) -> None:
        """Queue an event; the oldest waiting one goes when there are too many."""
        if len(self._events) >= self._policy.max_events:
            self._events.popleft()
            self.events_dropped += 1
        self._events.append(Outgoing(topic, encode(document), True))

    def due_ns(self) -> int | None:
        """When :meth:`next` will have something; None when nothing waits."""
        times = list(self._unsent.values()) + ([self._event_ns] if self._events else [])
        return min(times, default=None)

    def next(self, now_ns: int) -> Outgoing | None:
        """Take the next message that may leave now."""
        for topic, due_ns in self._unsent.items():
            if due_ns <= now_ns:
                del self._unsent[topic]
                self._sent_ns[topic] = now_ns
                return Outgoing(topic, self._states[topic], False)
        if self._events and self._event_ns <= now_ns:
            self._event_ns = now_ns + int(_NS / self._policy.events_per_s)
            return self._events.popleft()
        return None

    def sent(self, mid: int, message: Outgoing) -> None:
        """A message left; an event comes back if the connection ends before its PUBACK, a state is told anew."""
        self._flying[mid] = message

    def put_back(self, message: Outgoing) -> None:
        """The connection ended while this was being sent; a state is told anew by :meth:`reset`."""
        if message.is_event:
            self._events.appendleft(message)

    def acknowledged(self, mid: int) -> None:
        """PUBACK."""
        self._flying.pop(mid, None)

    def reset(self, now_ns: int) -> None:
        """The connection ended: events under way wait again, and every state is told anew."""
        self._events.extendleft(reversed([message for message in self._flying.values() if message.is_event]))
        self._flying.clear()
        self._unsent = dict.fromkeys(self._states, now_ns)


def encode(document: Mapping[str, Any]) -> bytes:
    """Compact JSON; non-finite numbers and oversized documents are mistakes of ours (ValueError)."""
    payload = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    if len(payload) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"document of {len(payload)} bytes; at most {MAX_DOCUMENT_BYTES}")
    return payload
