"""Over-current events from counters that only grow: differences, never the count itself.

The first look is a beginning, no event: the counter has counted since boot. It wraps at 32 bits. One that falls, or
leaps further than the hardware can count, is another counter (driver loaded anew, devices renumbered) or the same one
begun anew: a new beginning, and said, since what was missed is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from thermal.types import Raw

NS_PER_S: Final = 1_000_000_000
SHOWN_NS: Final = 60 * NS_PER_S  # an event is a fault for so long
MAX_COUNTERS: Final = 16  # AGX Orin has three
WRAP: Final = 1 << 32  # the driver counts in an unsigned int
MOST_PER_S: Final = 100_000  # judgement: an event throttles the clocks for longer than 10 us
LONGEST_S: Final = 60.0  # of a gap; longer, and a counter that began anew could pass for one that wrapped


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter. ``events``: since the first look; ``burst``: since ``first_ns``, as long as it is a fault.

    ``reset_ns``: when it began anew last. ``unread_ns``: since when it cannot be read.
    """

    last: int | None = None
    at_ns: int = 0
    events: int = 0
    burst: int = 0
    first_ns: int | None = None
    event_ns: int = 0
    reset_ns: int | None = None
    reset_from: int = 0
    unread_ns: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class CounterState:
    """Every counter ever seen, by name."""

    counters: Mapping[str, Counter] = field(default_factory=dict)

    @property
    def events(self) -> dict[str, int]:
        """Events by counter since the first look."""
        return {name: one.events for name, one in self.counters.items()}


def count(state: CounterState, raws: Mapping[str, Raw], now_ns: int) -> CounterState:
    """Take one look. A counter that cannot be read keeps its last count: the next difference has it all."""
    names = list(dict.fromkeys([*state.counters, *raws]))[:MAX_COUNTERS]
    return CounterState({n: _one(_aged(state.counters.get(n, Counter()), now_ns), raws.get(n), now_ns) for n in names})


def _aged(counter: Counter, now_ns: int) -> Counter:
    """What is over: a burst, and the news of a reset."""
    if counter.first_ns is not None and now_ns - counter.event_ns > SHOWN_NS:
        counter = replace(counter, first_ns=None, burst=0)
    if counter.reset_ns is not None and now_ns - counter.reset_ns > SHOWN_NS:
        counter = replace(counter, reset_ns=None)
    return counter


def _one(counter: Counter, raw: Raw | None, now_ns: int) -> Counter:
    value, why = _whole(raw)
    if value is None:
        unread_ns = now_ns if counter.unread_ns is None else counter.unread_ns
        return replace(counter, unread_ns=unread_ns, why=why)
    read = replace(counter, last=value, at_ns=now_ns, unread_ns=None, why="")
    if counter.last is None:
        return read
    step = (value - counter.last) % WRAP if counter.last < WRAP else value - counter.last
    most = MOST_PER_S * min(max(1.0, (now_ns - counter.at_ns) / NS_PER_S), LONGEST_S)
    if not 0 <= step <= most:
        return replace(read, reset_ns=now_ns, reset_from=counter.last)
    if not step:
        return read
    first_ns = now_ns if counter.first_ns is None else counter.first_ns
    burst, events = counter.burst + step, counter.events + step
    return replace(read, events=events, burst=burst, first_ns=first_ns, event_ns=now_ns)


def _whole(raw: Raw | None) -> tuple[int | None, str]:
    if raw is None:
        return None, "missing"
    if raw.value is None:
        return None, f"errno {raw.errno}"
    if not math.isfinite(raw.value) or raw.value < 0 or raw.value != int(raw.value):
        return None, f"reads {raw.value:g}"
    return int(raw.value), ""
