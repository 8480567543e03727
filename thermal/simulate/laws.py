"""Laws that can be run on a board: ours, the asked line alone, full speed. A law sees samples, never the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from thermal.control import ControlState, Settings, caps, step
from thermal.judge import JudgeState, judge
from thermal.types import Command, Domain, Fault, Sample

LINE_LOW_C: Final = 55.0  # THM-1: 30 % there
LINE_LOW_PCT: Final = 30.0
LINE_FULL_C: Final = 70.0  # 100 % there


@dataclass(frozen=True, slots=True)
class Order:
    """What a law wants now. ``cap_hz``: empty for no cap."""

    command: Command
    cap_hz: Mapping[Domain, float] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


class Law(Protocol):
    """A fan law. ``name`` is shown; ``period_s``: how often it looks."""

    name: str
    period_s: float

    def order(self, sample: Sample, now_ns: int) -> Order: ...


def asked_line_pct(tj_c: float, shift_c: float = 0.0) -> float:
    """The line of THM-1, %; ``shift_c`` moves it to lower temperatures."""
    share = (tj_c + shift_c - LINE_LOW_C) / (LINE_FULL_C - LINE_LOW_C)
    return LINE_LOW_PCT + (100.0 - LINE_LOW_PCT) * min(max(share, 0.0), 1.0)


def tj_of(sample: Sample) -> float | None:
    """What a simple law reads: tj, or nothing when that read failed."""
    raw = sample.zones_c.get("tj")
    return None if raw is None else raw.value


class OurLaw:
    """Judge and control of this room, as the service runs them."""

    name = "ours"

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.period_s = self.settings.period_ns / 1e9
        self._seen, self._mind = JudgeState(), ControlState()

    def order(self, sample: Sample, now_ns: int) -> Order:
        """One tick."""
        self._seen, readings = judge(self.settings, self._seen, sample, now_ns)
        self._mind, command, faults = step(self.settings, self._mind, readings, now_ns)
        return Order(command, caps(self.settings, command.cap_level), tuple(faults))


class LineLaw:
    """The asked line alone, as it was asked for: a line, once a second. A failed read leaves the fan as it is."""

    period_s = 1.0

    def __init__(self, shift_c: float = 0.0) -> None:
        self.name = "line" if shift_c == 0.0 else f"line {-shift_c:+.2f} K"
        self._shift_c = shift_c
        self._duty_pct = LINE_LOW_PCT

    def order(self, sample: Sample, now_ns: int) -> Order:
        """One tick."""
        tj_c = tj_of(sample)
        if tj_c is not None:
            self._duty_pct = asked_line_pct(tj_c, self._shift_c)
        return Order(Command(self._duty_pct, 0))


class FullLaw:
    """The fan at full speed, clocks free: what the fan could hold at all."""

    name = "full"
    period_s = 1.0

    def order(self, sample: Sample, now_ns: int) -> Order:
        """One tick."""
        return Order(Command(100.0, 0))


LAWS: Final[tuple[str, ...]] = ("ours", "line", "full")


def law_of(name: str, settings: Settings | None = None) -> Law:
    """The law of this name (one of ``LAWS``)."""
    if name == "ours":
        return OurLaw(settings)
    return LineLaw() if name == "line" else FullLaw()
