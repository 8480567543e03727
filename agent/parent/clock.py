"""The node's clock as the parent sees it: the stamps that its cameras get at present, and what the clock process says.

What the clock process measured is told only while it speaks: the rack must not take an old reading for a present one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from agent.clock.open import open_clock
from agent.clock.page import Page, PageClock
from touchline.config import NodeConfig
from touchline.errors import HardwareError
from touchline.timeline import UNSYNCHRONISED_BOUND_NS, Clock, ClockState, Stamp, Timebase, monotonic_ns
from touchline.units import format_duration

SILENT_NS: Final = 3_000_000_000  # the clock process writes four times a second
_MEASURED: Final = ("offset_ns", "path_delay_ns", "residual_ns")
_RANK: Final = {ClockState.LOCKED: 0, ClockState.HOLDOVER: 1, ClockState.UNLOCKED: 2}


@dataclass(frozen=True, slots=True)
class ClockView:
    """``stamp``: the present moment, with epoch, bound and state of the worst that a camera of this node gets now.

    ``says``: the rest of the clock document. ``trouble``: why the clock is unlocked, where it could be locked; else "".
    """

    stamp: Stamp
    says: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""


class NodeClock:
    """Looks at the clock that a configuration asks for."""

    def __init__(self, config: NodeConfig, clock: Clock | None = None) -> None:
        self._clock = open_clock(config) if clock is None else clock
        self._source, self._limit_ns = config.clock.source, config.clock.bound_limit_ns

    def now(self) -> Stamp:
        """Return the present moment."""
        return self._clock.now()

    def look(self, timebases: Collection[Timebase]) -> ClockView:
        """Look; ``timebases``: those that the node's cameras stamp with, as far as they are known."""
        clock, now, mapped = self._clock, self._clock.now(), {"source": self._source, "limit_ns": self._limit_ns}
        if not isinstance(clock, PageClock):
            return ClockView(now, mapped)
        stamps = [_on(clock, timebase) for timebase in sorted(timebases) or [Timebase.MONOTONIC]]
        worst = max((stamp for stamp, _ in stamps), key=lambda stamp: (_RANK[stamp.state], stamp.bound_ns))
        says = {**_said(clock.page(), monotonic_ns()), **mapped}
        unmapped = next((why for _, why in stamps if why), "")
        trouble = ""
        if worst.state is ClockState.UNLOCKED:
            trouble = f"clock unlocked: {unmapped or self._too_wide(worst)}"
            trouble += f" ({says['trouble']})" if says.get("trouble") else ""
        return ClockView(replace(worst, ptp_ns=now.ptp_ns), says, trouble)

    def _too_wide(self, stamp: Stamp) -> str:
        if stamp.bound_ns <= self._limit_ns:
            return "nothing maps this machine's clocks to PTP time yet"
        return f"bound {format_duration(stamp.bound_ns)} exceeds the limit {format_duration(self._limit_ns)}"


def _on(clock: PageClock, timebase: Timebase) -> tuple[Stamp, str]:
    """A present stamp on a timebase, and why there is none: such frames are stamped by their arrival."""
    try:
        return clock.now_on(timebase), ""
    except HardwareError as error:
        now = clock.now()
        bound_ns = now.bound_ns + UNSYNCHRONISED_BOUND_NS
        return replace(now, bound_ns=bound_ns, state=ClockState.UNLOCKED), error.message


def _said(page: Page | None, now_ns: int) -> dict[str, Any]:
    """What the clock process says, without what is of use on this node alone, and without old readings."""
    if page is None:
        return {"trouble": "the clock process has not spoken yet"}
    says = {name: value for name, value in page.status.items() if name != "mappings"}
    silent_ns = now_ns - page.written_ns
    if silent_ns > SILENT_NS:
        trouble = f"the clock process has been silent for {format_duration(silent_ns)}"
        says |= {**dict.fromkeys(_MEASURED), "port_state": "", "servo": f"not locked: {trouble}", "trouble": trouble}
    return says
