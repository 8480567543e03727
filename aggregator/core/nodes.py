"""What each node last said about itself, with the age of every statement: old health is not health."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from aggregator.core.validate import Document
from touchline.record import BatchHeader

_MAX_EVENTS: Final = 200
_MAX_NODES: Final = 256
_MAX_TEXT: Final = 200
SEVERITIES: Final = ("info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, on the rack (``node`` empty) or on a node."""

    ptp_ns: int
    node: str
    severity: str
    code: str
    text: str


@dataclass(slots=True)
class NodeView:
    """One node as the rack sees it; ``*_ns`` are monotonic, 0 = never."""

    health: dict[str, Any] = field(default_factory=dict)
    health_ns: int = 0
    clock: dict[str, Any] = field(default_factory=dict)
    clock_ns: int = 0
    batch_ns: int = 0
    epoch: int | None = None
    boot_id: str = ""
    batches: int = 0


class NodeBoard:
    """All nodes and the latest events."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeView] = {}
        self.events: deque[Event] = deque(maxlen=_MAX_EVENTS)

    def batch(self, header: BatchHeader, now_ns: int) -> None:
        """Note that a node's batch came."""
        view = self._view(header.node)
        if view is not None:
            view.batch_ns, view.epoch, view.boot_id = now_ns, header.epoch, header.boot_id.hex()
            view.batches += 1

    def document(self, document: Document, now_ns: int, ptp_ns: int) -> Event | None:
        """Take a health, clock or event document; an event is returned, to be stored."""
        view = self._view(document.node)
        if view is None:
            return None
        if document.kind == "health":
            view.health, view.health_ns = document.value, now_ns
        elif document.kind == "clock":
            view.clock, view.clock_ns = document.value, now_ns
        else:
            return self.say(event_of(document, ptp_ns))
        return None

    def say(self, event: Event) -> Event:
        """Add an event to the log."""
        self.events.append(event)
        return event

    def _view(self, node: str) -> NodeView | None:
        view = self.nodes.get(node)
        if view is None and len(self.nodes) < _MAX_NODES:
            view = self.nodes[node] = NodeView()
        return view

    def rows(self, now_ns: int) -> list[dict[str, Any]]:
        """One row per node as plain values; ages in seconds, None = never heard."""
        return [_row(name, view, now_ns) for name, view in sorted(self.nodes.items())]


def _row(name: str, view: NodeView, now_ns: int) -> dict[str, Any]:
    epoch = view.epoch if view.epoch is not None else _number(view.health.get("epoch"))
    return {
        "node": name,
        "state": _text(view.health.get("state"), 24) or "unknown",
        "reason": _text(view.health.get("reason"), _MAX_TEXT),
        "epoch": epoch,
        "boot_id": view.boot_id,
        "batches": view.batches,
        "batch_age_s": _age(view.batch_ns, now_ns),
        "health_age_s": _age(view.health_ns, now_ns),
        "fps": _figures(view.health.get("fps")),
        "spool_depth": _spool(view.health),
        "dropped": _total(view.health.get("dropped")),
        "temps_c": _figures(view.health.get("temps_c")),
        "clock": {
            "state": _text(view.clock.get("state"), 24) or "unknown",
            "bound_ns": _number(view.clock.get("bound_ns")),
            "offset_ns": _number(view.clock.get("offset_ns")),
            "age_s": _age(view.clock_ns, now_ns),
        },
    }


def event_of(document: Document, ptp_ns: int) -> Event:
    """Read an event document; what is missing gets a neutral value, the time the rack's own."""
    value = document.value
    severity = _text(value.get("severity"), 12)
    stamp = value.get("ptp_ns")
    good_stamp = isinstance(stamp, int) and 0 < stamp < 2**62
    return Event(
        ptp_ns=stamp if good_stamp and isinstance(stamp, int) else ptp_ns,
        node=document.node,
        severity=severity if severity in SEVERITIES else "info",
        code=_text(value.get("code"), 48) or "event",
        text=_text(value.get("text"), _MAX_TEXT),
    )


def _text(value: object, most: int) -> str:
    return value[:most] if isinstance(value, str) else ""


def _number(value: object) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 2**63 else None


def _figures(value: object) -> dict[str, float]:
    """A number, or a small table of numbers, as a table."""
    if isinstance(value, dict):
        items = list(value.items())[:32]
        return {str(k)[:24]: float(v) for k, v in items if _number(v) is not None}
    number = _number(value)
    return {} if number is None else {"": float(number)}


def _total(value: object) -> float | None:
    figures = _figures(value)
    return sum(figures.values()) if figures else None


def _spool(health: dict[str, Any]) -> float | int | None:
    spool = health.get("spool")
    if not isinstance(spool, dict):
        return _number(health.get("spool_depth"))
    return _number(spool.get("depth", spool.get("records")))


def _age(heard_ns: int, now_ns: int) -> float | None:
    return round((now_ns - heard_ns) / 1e9, 2) if heard_ns else None
