"""What each node last said about itself, with the age of every statement: old health is not health.

The broker keeps each node's last document and hands it to whoever subscribes, so its arrival says nothing about its
age: that is counted from the time at which the node made it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from aggregator.core.clocks import ALIVE_S, ClockWord, clock_word
from aggregator.core.heat import HeatWord, heat_word
from aggregator.core.validate import Document, number_of, stamp_of, text_of
from touchline.record import BatchHeader

_MAX_EVENTS: Final = 200
_MAX_NODES: Final = 256
_MAX_TEXT: Final = 200
GONE: Final = frozenset({"offline", "stopped"})  # the last will, and a node's own goodbye
_EPOCH_TOLD_NS: Final = 1_000_000_000  # changes of a node's clock epoch that follow closer are told as one
_LIVE_STEP_NS: Final = (100_000_000, 5_000_000_000)  # closer words may come out of a queue; ALIVE_S apart is no flow
SEVERITIES: Final = ("info", "warning", "error")
ROLES: Final = ("active", "standby")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, on the rack (``node`` empty) or on a node."""

    ptp_ns: int
    node: str
    severity: str
    code: str
    text: str


@dataclass(slots=True)
class Statement:
    """The last document of one kind and its age, whatever the broker kept and whatever the node's clock says.

    A document's age on arrival is the difference between our PTP time and its ``ptp_ns``, less what is known to be a
    difference of the clocks; never negative. That is known once two documents came as far apart here as they were
    made there: then the node speaks now. A single one, or a queue that is emptied, cannot show it, so there the whole
    difference is age. Without a usable ``ptp_ns`` (a last will has none) the age counts from the arrival.
    """

    value: dict[str, Any] = field(default_factory=dict)
    _heard_ns: int = 0  # monotonic, 0 = never
    _made_ptp_ns: int | None = None
    _old_ns: int = 0  # age on arrival
    _clocks_ns: int = 0  # our clock minus the node's

    def take(self, value: dict[str, Any], now_ns: int, ptp_ns: int) -> None:
        """Take a document that arrived at ``now_ns`` (monotonic) and ``ptp_ns``."""
        made_ptp_ns = stamp_of(value.get("ptp_ns"))
        self._old_ns = 0
        if made_ptp_ns is not None:
            behind_ns = ptp_ns - made_ptp_ns
            if self._made_ptp_ns is not None and self._flows(now_ns - self._heard_ns, made_ptp_ns - self._made_ptp_ns):
                self._clocks_ns = behind_ns
            self._old_ns = max(0, behind_ns - self._clocks_ns)
        self.value, self._heard_ns, self._made_ptp_ns = value, now_ns, made_ptp_ns

    @staticmethod
    def _flows(step_here_ns: int, step_there_ns: int) -> bool:
        shortest_ns, longest_ns = _LIVE_STEP_NS
        return shortest_ns <= step_here_ns <= longest_ns and abs(step_here_ns - step_there_ns) <= step_here_ns // 2

    def age_s(self, now_ns: int) -> float | None:
        """Seconds since it was made; None = never heard."""
        return round((now_ns - self._heard_ns + self._old_ns) / 1e9, 2) if self._heard_ns else None


@dataclass(slots=True)
class NodeView:
    """One node as the rack sees it; ``batch_ns`` is monotonic, 0 = never.

    ``heat``: what its health says of temperature and power; None: nothing. ``word``: what the clock statement says.
    ``clock_epoch``: the last one in the log (None: none yet), told when.
    """

    health: Statement = field(default_factory=Statement)
    clock: Statement = field(default_factory=Statement)
    word: ClockWord = field(default_factory=ClockWord)
    heat: HeatWord | None = None
    clock_epoch: int | None = None
    epoch_told_ns: int = 0
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
        """Take a health, clock or event document; an event that it is or leads to is returned, to be stored."""
        view = self._view(document.node)
        if view is None:
            return None
        if document.kind == "health":
            view.health.take(document.value, now_ns, ptp_ns)
            view.heat = heat_word(document.value)
        elif document.kind == "clock":
            view.clock.take(document.value, now_ns, ptp_ns)
            view.word = clock_word(document.value)
            text = _epoch_news(document.node, view, now_ns)
            return self.say(Event(ptp_ns, "", "warning", "clock", text)) if text else None
        else:
            return self.say(event_of(document, ptp_ns))
        return None

    def power_w(self, node: str, now_ns: int) -> float | None:
        """What a node draws now; None when nobody knows: it is silent, or its fan service or a rail is."""
        view = self.nodes.get(node)
        if view is None or view.heat is None or not _alive(view, now_ns):
            return None
        return view.heat.power_w

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
        """One row per node as plain values; ages in seconds, None = never heard.

        ``alive``: its health was made in the last ``ALIVE_S`` seconds and is neither a last will nor a goodbye.
        ``role``: in its pair, empty without failover.
        """
        return [_row(name, view, now_ns) for name, view in sorted(self.nodes.items())]


def _row(name: str, view: NodeView, now_ns: int) -> dict[str, Any]:
    health = view.health.value
    epoch = view.epoch if view.epoch is not None else number_of(health.get("epoch"))
    role, role_epoch = _part(health.get("failover"))
    return {
        "node": name,
        "state": _state(view),
        "alive": _alive(view, now_ns),
        "reason": text_of(health.get("reason"), _MAX_TEXT),
        "epoch": role_epoch if role and role_epoch is not None else epoch,
        "role": role,
        "boot_id": view.boot_id,
        "batches": view.batches,
        "batch_age_s": round((now_ns - view.batch_ns) / 1e9, 2) if view.batch_ns else None,
        "health_age_s": view.health.age_s(now_ns),
        "fps": _figures(health.get("fps")),
        "spool_depth": _spool(health),
        "dropped": _total(health.get("dropped")),
        "temps_c": _figures(health.get("temps_c")),
        "thermal": _heat(view, now_ns),
        "clock": {**asdict(view.word), "age_s": view.clock.age_s(now_ns)},
    }


def _state(view: NodeView) -> str:
    return text_of(view.health.value.get("state"), 24) or "unknown"


def _alive(view: NodeView, now_ns: int) -> bool:
    age_s = view.health.age_s(now_ns)
    return age_s is not None and age_s <= ALIVE_S and _state(view) not in GONE


def _heat(view: NodeView, now_ns: int) -> dict[str, Any] | None:
    """Temperature and power as plain values; None for a node that says nothing of them."""
    if view.heat is None:
        return None
    return asdict(view.heat if _alive(view, now_ns) else HeatWord.silenced("the node does not speak"))


def _part(failover: object) -> tuple[str, float | int | None]:
    """A node's role in its pair and the epoch of its gate; "" for one that says nothing of it."""
    if not isinstance(failover, dict) or failover.get("role") not in ROLES:
        return "", None
    return str(failover["role"]), number_of(failover.get("epoch"))


def _epoch_news(node: str, view: NodeView, now_ns: int) -> str:
    """The line for the log when a node's clock is in another epoch than the log says, else ""."""
    before, epoch = view.clock_epoch, view.word.epoch
    if epoch is None or epoch == before:
        return ""
    if before is not None and now_ns - view.epoch_told_ns < _EPOCH_TOLD_NS:
        return ""
    view.clock_epoch, view.epoch_told_ns = epoch, now_ns
    if before is None:
        return ""
    why = "it counts anew" if epoch < before else view.word.last_step
    return f"node {node}: clock epoch {before} -> {epoch}" + (f" ({why})" if why else "")


def event_of(document: Document, ptp_ns: int) -> Event:
    """Read an event document; what is missing gets a neutral value, the time the rack's own."""
    value = document.value
    severity = text_of(value.get("severity"), 12)
    return Event(
        ptp_ns=stamp_of(value.get("ptp_ns")) or ptp_ns,
        node=document.node,
        severity=severity if severity in SEVERITIES else "info",
        code=text_of(value.get("code"), 48) or "event",
        text=text_of(value.get("text"), _MAX_TEXT),
    )


def _figures(value: object) -> dict[str, float]:
    """A number, or a small table of numbers, as a table."""
    if isinstance(value, dict):
        items = list(value.items())[:32]
        return {str(k)[:24]: float(v) for k, v in items if number_of(v) is not None}
    number = number_of(value)
    return {} if number is None else {"": float(number)}


def _total(value: object) -> float | None:
    figures = _figures(value)
    return sum(figures.values()) if figures else None


def _spool(health: dict[str, Any]) -> float | int | None:
    spool = health.get("spool")
    if not isinstance(spool, dict):
        return number_of(health.get("spool_depth"))
    return number_of(spool.get("depth", spool.get("records")))
