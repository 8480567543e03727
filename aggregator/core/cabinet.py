"""The power of a cabinet against its budget (THM-4). A node that does not tell counts with its share, never with 0.

A share is the budget, less what stands there and never tells, divided by the nodes. So nodes that are all silent fill
the budget and ring no alarm by it; a cabinet in which the others draw more than their shares does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from thermal.power import HoldState, Limit, hold

HOLD_NS: Final = 10_000_000_000  # kick-off, a node that starts: a breaker bears that too
CLEAR_SHARE: Final = 0.97  # of the budget: the alarm ends below it
ROUNDING_W: Final = 0.01  # shares that fill the budget are not above it


@dataclass(frozen=True, slots=True)
class Cabinet:
    """One cabinet. ``other_w``: what else draws there: switch, cameras by PoE, losses of supplies."""

    name: str
    nodes: tuple[str, ...]
    budget_w: float = 1200.0
    other_w: float = 0.0

    @property
    def share_w(self) -> float:
        """What a node that does not tell counts with."""
        return (self.budget_w - self.other_w) / len(self.nodes)

    @property
    def limit(self) -> Limit:
        """When its alarm begins and ends."""
        return Limit(self.budget_w + ROUNDING_W, self.budget_w * CLEAR_SHARE, HOLD_NS)


@dataclass(frozen=True, slots=True)
class Load:
    """What a cabinet draws: by nodes (None: unknown), and ``counted_w`` with shares for the unknown and the rest."""

    nodes_w: Mapping[str, float | None]
    known_w: float
    counted_w: float

    @property
    def unknown(self) -> tuple[str, ...]:
        """Nodes that do not tell."""
        return tuple(name for name, watts in self.nodes_w.items() if watts is None)


def load_of(cabinet: Cabinet, powers_w: Mapping[str, float | None]) -> Load:
    """Sum it up; ``powers_w`` by node, where it is known now."""
    nodes = {name: powers_w.get(name) for name in cabinet.nodes}
    known = sum(watts for watts in nodes.values() if watts is not None)
    silent = sum(watts is None for watts in nodes.values())
    return Load(nodes, known, known + silent * cabinet.share_w + cabinet.other_w)


class CabinetWatch:
    """All cabinets of a rack."""

    def __init__(self, cabinets: Iterable[Cabinet]) -> None:
        self.cabinets = tuple(cabinets)
        self._loads = {one.name: load_of(one, {}) for one in self.cabinets}
        self._states = {one.name: HoldState() for one in self.cabinets}

    def review(self, powers_w: Mapping[str, float | None], now_ns: int) -> list[tuple[bool, str]]:
        """Take the present powers; return what changed: whether it is an alarm, and its words."""
        news = []
        for one in self.cabinets:
            load = self._loads[one.name] = load_of(one, powers_w)
            before = self._states[one.name]
            at_most_w = None if load.unknown else load.counted_w  # a node that falls silent ends no alarm
            state = self._states[one.name] = hold(one.limit, before, (load.counted_w, at_most_w), now_ns)
            if state.alarm and not before.alarm:
                news.append((True, f"cabinet {one.name} is over its power budget: {_words(one, load)}"))
            elif before.alarm and not state.alarm:
                news.append((False, f"cabinet {one.name} is within its power budget again: {_words(one, load)}"))
        return news

    def rows(self, now_ns: int) -> list[dict[str, Any]]:
        """One row per cabinet as plain values."""
        return [self._row(one, now_ns) for one in self.cabinets]

    def _row(self, one: Cabinet, now_ns: int) -> dict[str, Any]:
        load, state = self._loads[one.name], self._states[one.name]
        lasts_s = (now_ns - state.since_ns) / 1e9 if state.alarm and state.since_ns is not None else None
        return {
            "cabinet": one.name,
            "budget_w": one.budget_w,
            "known_w": round(load.known_w, 1),
            "counted_w": round(load.counted_w, 1),
            "share_w": round(one.share_w, 1),
            "other_w": one.other_w,
            "alarm": state.alarm,
            "alarm_s": None if lasts_s is None else round(lasts_s, 1),
            "unknown": list(load.unknown),
            "nodes_w": {name: None if watts is None else round(watts, 1) for name, watts in load.nodes_w.items()},
        }


def _words(cabinet: Cabinet, load: Load) -> str:
    parts = [f"{load.counted_w:.0f} W of {cabinet.budget_w:g}"]
    if load.unknown:
        parts.append(f"of it {cabinet.share_w:.0f} W each for {', '.join(load.unknown)}, unknown")
    if cabinet.other_w:
        parts.append(f"{cabinet.other_w:g} W for what does not tell")
    return "; ".join(parts)
