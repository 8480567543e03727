"""One tick: look at the board, judge, decide, write, say. No clock of its own: whoever calls it brings the time.

Late ticks are the law's business (full duty); they are judged at the end of the look, so a look that hangs counts. Two
things are decided here, since only here they are known: a fan that refuses to be driven takes the clocks to their
lowest rung, and a duty that somebody else wrote has the fan taken again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from thermal.control import ControlState, Settings, caps, step, undriven
from thermal.judge import JudgeState, Readings, judge
from thermal.power import NOT_HOT, PowerRules, PowerState, watch
from thermal.types import Board, Command, Fault, Fresh, Sample, Severity

NEAR_PCT: Final = 1.0  # a duty read back this much below the ordered one is that one: the register has 255 steps
TAKEN: Final = "fan_taken"  # codes of thermal.control
LATE: Final = "late"
CODES: Final = {
    "fan_refused": "the fan cannot be driven; clocks at the lowest rung unless it runs fast enough by itself",
    "caps_refused": "a clock limit could not be written",
    "power_mode": "uncapped clocks are not those of the vendor's power mode",
}


class Retaker(Protocol):
    """Takes the fan again from whoever writes it; never waits."""

    def ask(self, now_ns: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Aides:
    """Who helps the loop. ``mode_trouble``: how uncapped clocks differ from the power mode; never slow."""

    retaker: Retaker
    mode_trouble: Callable[[int], str | None] = lambda _now_ns: None


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick saw, ordered and found wrong."""

    sample: Sample
    readings: Readings
    command: Command
    cap_hz: Mapping[str, float]
    faults: tuple[Fault, ...]
    oc_counted: Mapping[str, int] = field(default_factory=dict)  # over-current events since the first tick

    @property
    def hot(self) -> bool:
        """Whether this node must shed load: any alarm but that of its power budget, which its twin would have too."""
        return any(fault.severity is Severity.ALARM and fault.code not in NOT_HOT for fault in self.faults)

    @property
    def late(self) -> bool:
        """Whether it came after its deadline."""
        return any(fault.code == LATE for fault in self.faults)


class Loop:
    """Judge and law with their memories, over a board. ``clock``: CLOCK_MONOTONIC, ns."""

    def __init__(self, settings: Settings, board: Board, aides: Aides, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._board = board
        self._retaker, self._mode_trouble = aides.retaker, aides.mode_trouble
        self._clock = clock
        self._seen = JudgeState()
        self._mind = ControlState()
        self._power = PowerState()
        self._power_rules = PowerRules(settings.budget_w, settings.stale_ns)
        self._since: dict[str, int] = {}  # our own faults, by code
        self.ticks = 0
        self.late_ticks = 0

    def tick(self) -> Tick:
        """Do one."""
        sample = self._board.sample(self._clock())
        now_ns = self._clock()
        self._seen, readings = judge(self._settings, self._seen, sample, now_ns)
        self._mind, command, faults = step(self._settings, self._mind, readings, now_ns)
        refused = self._board.set_duty(command.duty_pct)
        if refused is not None and not _driven(readings, command):
            self._mind, command = undriven(self._settings, self._mind, command, now_ns)
        cap_hz = caps(self._settings, command.cap_level)
        uncapped = self._board.set_caps(cap_hz)
        if any(fault.code == TAKEN for fault in faults):
            self._retaker.ask(now_ns)
        mode = None if cap_hz or uncapped is not None else self._mode_trouble(now_ns)
        own = self._own(now_ns, refused, uncapped, mode)
        self._power, power = watch(self._power_rules, self._power, readings.rails, sample.oc_events, now_ns)
        shown_hz, counted = {str(name): hz for name, hz in cap_hz.items()}, self._power.counters.events
        tick = Tick(sample, readings, command, shown_hz, (*faults, *own, *power), counted)
        self.ticks += 1
        self.late_ticks += tick.late
        return tick

    def _own(self, now_ns: int, refused: str | None, uncapped: str | None, mode: str | None) -> tuple[Fault, ...]:
        """What only the loop knows to be wrong, each since when."""
        rows = (
            ("fan_refused", "fan", Severity.ALARM, refused),
            ("caps_refused", "clocks", Severity.WARNING, uncapped),
            ("power_mode", "clocks", Severity.WARNING, mode),
        )
        found = [(code, what, level, text) for code, what, level, text in rows if text is not None]
        self._since = {code: self._since.get(code, now_ns) for code, *_ in found}
        return tuple(Fault(*row, self._since[row[0]]) for row in found)


def _driven(readings: Readings, command: Command) -> bool:
    """Whether the fan runs at the ordered duty or above, whatever the write said."""
    duty = readings.duty_pct
    return isinstance(duty, Fresh) and duty.value >= command.duty_pct - NEAR_PCT
