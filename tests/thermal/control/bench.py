"""Readings made by hand for the law's tests, and a law that is stepped once a second."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from thermal.control import ControlState, Settings, caps, step
from thermal.judge import Hot, Readings
from thermal.types import Command, Failed, Fault, Fresh, Reading

NS = 1_000_000_000
SETTINGS = Settings()


def readings(hot_c: float | None, at_ns: int, source: str = "tj", **others: Any) -> Readings:
    """A board that works, at this temperature."""
    tj: Reading = Failed(0, "EIO") if hot_c is None or source != "tj" else Fresh(hot_c, at_ns)
    found = Readings(
        at_ns=at_ns,
        hot=Hot(hot_c, "blind" if hot_c is None else source),  # type: ignore[arg-type]
        zones={"tj": tj},
        gated=frozenset(),
        fan_rpm=Fresh(1500.0, at_ns),
        duty_pct=Fresh(50.0, at_ns),
        power_w=None,
        rails={},
        clock_hz={},
        ambient_c=None,
    )
    return replace(found, **others)


class Running:
    """The law, stepped once a second; fan and clocks obey unless told otherwise."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.settings, self.state, self.at_s = settings, ControlState(), 1000.0
        self.faults: tuple[Fault, ...] = ()
        self.command = Command(100.0, 0)

    def tick(self, hot_c: float | None, source: str = "tj", *, after_s: float = 1.0, **others: Any) -> Command:
        self.at_s += after_s
        now_ns = round(self.at_s * NS)
        duty_pct = self.command.duty_pct
        obeyed: dict[str, Any] = {
            "fan_rpm": Fresh(29.0 * duty_pct, now_ns),
            "duty_pct": Fresh(duty_pct, now_ns),
            "clock_hz": {name: Fresh(hz, now_ns) for name, hz in caps(self.settings, self.command.cap_level).items()},
        }
        seen = readings(hot_c, now_ns, source, **{**obeyed, **others})
        self.state, self.command, self.faults = step(self.settings, self.state, seen, now_ns)
        return self.command

    def run(self, seconds: int, hot_c: float | None, source: str = "tj", **others: Any) -> Command:
        for _ in range(seconds):
            self.tick(hot_c, source, **others)
        return self.command

    @property
    def codes(self) -> set[str]:
        return {fault.code for fault in self.faults}

    def now_ns(self) -> int:
        return round(self.at_s * NS)
