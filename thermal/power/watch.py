"""Power of this node against its budget, and over-current: faults with their times (THM-4). Takes what the judge gives.

The alarm of a budget does not make a node hot: its twin does the same work and draws the same, so giving way helps
nobody, and a twin that counts as hot is no help when this node fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from thermal.power.counters import Counter, CounterState, count
from thermal.power.hold import HoldState, Limit, hold
from thermal.power.total import Total, total
from thermal.sysfs.table import COUNTERS
from thermal.types import Fault, Raw, Reading, Severity

HOLD_NS: Final = 5_000_000_000  # some ticks: a peak of 100 ms that one look happens to see is no alarm
CLEAR_W: Final = 2.0  # below the budget; the noise of an idle node's rails is some tenths

CODES: Final = {
    "over_budget": "power above budget_w for 5 s; not hot: the twin draws the same",
    "power_unknown": "a rail cannot be read, so power cannot be judged",
    "over_current": "the chip counted over-current or undervoltage in the last minute, and slowed itself down",
    "oc_reset": "an over-current counter began anew within the last minute; events before it are unknown",
    "oc_unread": "an over-current counter that was there cannot be read",
}
NOT_HOT: Final = frozenset({"over_budget"})


@dataclass(frozen=True, slots=True)
class PowerRules:
    """Budget, W, and how long something may be unread."""

    budget_w: float = 55.0
    stale_ns: int = 3_000_000_000

    @property
    def limit(self) -> Limit:
        """When the budget's alarm begins and ends."""
        return Limit(self.budget_w, self.budget_w - min(CLEAR_W, self.budget_w / 10), HOLD_NS)


@dataclass(frozen=True, slots=True)
class PowerState:
    """What :func:`watch` takes and gives; ``PowerState()`` before the first look."""

    budget: HoldState = field(default_factory=HoldState)
    unknown_ns: int | None = None
    counters: CounterState = field(default_factory=CounterState)


def watch(
    rules: PowerRules, state: PowerState, rails: Mapping[str, Reading], oc_events: Mapping[str, Raw], now_ns: int
) -> tuple[PowerState, tuple[Fault, ...]]:
    """Take one look: judged rails, W, and raw counters. Never raises, whatever was read."""
    sum_w = total(rails)
    budget = state.budget if sum_w is None else hold(rules.limit, state.budget, (sum_w.low_w, sum_w.watts), now_ns)
    unknown = sum_w is not None and not sum_w.whole
    unknown_ns = (now_ns if state.unknown_ns is None else state.unknown_ns) if unknown else None
    fresh = PowerState(budget, unknown_ns, count(state.counters, oc_events, now_ns))
    return fresh, (*_power(rules, fresh, sum_w, now_ns), *_counters(rules, fresh.counters, now_ns))


def _power(rules: PowerRules, state: PowerState, sum_w: Total | None, now_ns: int) -> Iterator[Fault]:
    if sum_w is None:
        return
    if state.budget.alarm and state.budget.since_ns is not None:
        least = "" if sum_w.whole else "at least "
        text = f"{least}{sum_w.low_w:.1f} W, budget {rules.budget_w:g} ({sum_w.meaning})"
        yield Fault("over_budget", "power", Severity.ALARM, text, state.budget.since_ns)
    if state.unknown_ns is not None and now_ns - state.unknown_ns > rules.stale_ns:
        text = f"a rail cannot be read: at least {sum_w.low_w:.1f} W, budget {rules.budget_w:g}"
        yield Fault("power_unknown", "power", Severity.WARNING, text, state.unknown_ns)


def _counters(rules: PowerRules, state: CounterState, now_ns: int) -> Iterator[Fault]:
    for name, one in state.counters.items():
        if one.first_ns is not None:
            text = f"{COUNTERS.get(name, 'over-current')}: {one.burst} events, {one.events} since the service began"
            yield Fault("over_current", name, Severity.WARNING, text, one.first_ns)
        if one.reset_ns is not None:
            text = f"was {one.reset_from}, began anew: driver loaded again or devices renumbered?"
            yield Fault("oc_reset", name, Severity.WARNING, text, one.reset_ns)
        if (since_ns := _unread(rules, one, now_ns)) is not None:
            yield Fault("oc_unread", name, Severity.WARNING, f"the counter cannot be read: {one.why}", since_ns)


def _unread(rules: PowerRules, one: Counter, now_ns: int) -> int | None:
    silent = one.unread_ns is not None and now_ns - one.unread_ns > rules.stale_ns
    return one.unread_ns if silent else None
