"""The fan service: a tick every period until SIGTERM, its status, its history, its watchdog; and the fan given back.

The watchdog is fed only by a tick that was done in time. However this ends, the fan is safe: a clean end gives it back
here, and whatever else happens, systemd runs :mod:`thermal.safe` afterwards.
"""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from thermal.control import Settings
from thermal.service.guard import Guard
from thermal.service.loop import Aides, Loop, Tick
from thermal.service.retake import BackgroundRetaker
from thermal.status import ThermalStatus, write_status
from thermal.types import Board, Command, Failed, Fault, Fresh, Raw, Reading, Sample, Severity
from touchline.notify import notify
from touchline.timeline import monotonic_ns, sleep_until, utc_text

_LOG: Final = logging.getLogger("thermal")
_LEVELS: Final = {Severity.WARNING: logging.WARNING, Severity.ALARM: logging.ERROR}


class History(Protocol):
    """Takes what each tick saw; never waits."""

    def add(self, sample: Sample, command: Command) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Setup:
    """Who this is and where it tells what it does. ``history``: None keeps none; ``mode_trouble``: see Aides."""

    node: str
    status: Path
    history: History | None = None
    mode_trouble: Callable[[int], str | None] = lambda _now_ns: None


class ThermalService:
    """See the module. :meth:`run` serves until SIGTERM; :meth:`turn` is one turn, for tests that hold the clock."""

    def __init__(self, settings: Settings, board: Board, setup: Setup, clock: Callable[[], int] = monotonic_ns) -> None:
        self._board = board
        self._setup = setup
        self._clock = clock
        self._settings = settings
        self._loop = Loop(settings, board, Aides(BackgroundRetaker(board.take), setup.mode_trouble), clock)
        self._known: dict[tuple[str, str], Fault] = {}
        self._unwritten = 0

    def run(self) -> None:
        """Take the fan, serve until SIGTERM or SIGINT, give the fan back, whatever happens."""
        stopping: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _frame: stopping.append(number))
        try:
            self._say("taking the fan", self._board.take())
            guard = Guard(lambda: self._board.set_duty(100.0), self._settings.deadline_ns / 1e9)
            try:
                self._serve(guard, stopping)
            finally:
                guard.close()
        finally:
            notify("STOPPING=1")
            self._say("giving the fan back", self._board.give_back())
            self._board.close()
            if self._setup.history is not None:
                self._setup.history.close()

    def _serve(self, guard: Guard, stopping: list[int]) -> None:
        planned_ns = self._clock()
        ready = False
        while not stopping:
            tick = self.turn()
            guard.alive()
            words = [line(tick)] if ready else ["READY=1", line(tick)]
            ready = True
            notify(*words, *([] if tick.late else ["WATCHDOG=1"]))
            planned_ns = max(planned_ns + self._settings.period_ns, self._clock())  # what was missed is not made up for
            sleep_until(planned_ns)

    def turn(self) -> Tick:
        """One tick and all that is told of it."""
        tick = self._loop.tick()
        self._note(tick.faults)
        self._tell(tick)
        if self._setup.history is not None:
            self._setup.history.add(tick.sample, tick.command)
        return tick

    def _tell(self, tick: Tick) -> None:
        try:
            write_status(self._setup.status, self.status(tick))
        except (OSError, ValueError) as error:
            self._unwritten += 1
            if self._unwritten == 1:
                _LOG.error("status: %s; whoever reads it takes this node for hot", error)
        else:
            self._unwritten = 0

    def status(self, tick: Tick) -> ThermalStatus:
        """The tick as its readers see it."""
        readings = tick.readings
        return ThermalStatus(
            node=self._setup.node,
            at=utc_text(),
            at_ns=self._clock(),
            period_s=self._settings.period_ns / 1e9,
            ticks=self._loop.ticks,
            late_ticks=self._loop.late_ticks,
            hot=tick.hot,
            tj=readings.zones.get("tj", Failed(readings.at_ns, "missing")),
            zones=dict(readings.zones),
            duty_pct=tick.command.duty_pct,
            duty_read=readings.duty_pct,
            rpm=readings.fan_rpm,
            cap_level=tick.command.cap_level,
            cap_levels=self._settings.lowest,
            clock_hz={str(name): one for name, one in readings.clock_hz.items()},
            power_w=dict(readings.rails),
            oc_events=_counts(tick.sample.oc_events),
            faults=tick.faults,
            budget_w=self._settings.budget_w,
            oc_counted=dict(tick.oc_counted),
        )

    def _note(self, faults: tuple[Fault, ...]) -> None:
        """Log what begins and what ends, once each."""
        now = {(fault.code, fault.what): fault for fault in faults}
        for key in now.keys() - self._known.keys():
            _LOG.log(_LEVELS[now[key].severity], "%s %s: %s", *key, now[key].text)
        for key in self._known.keys() - now.keys():
            _LOG.info("%s %s: over", *key)
        self._known = now

    def _say(self, what: str, trouble: str | None) -> None:
        if trouble is not None:
            _LOG.error("%s: %s", what, trouble)


def line(tick: Tick) -> str:
    """The tick as systemctl status shows it."""
    alarms = sum(fault.severity is Severity.ALARM for fault in tick.faults)
    caps = f", clocks capped, rung {tick.command.cap_level}" if tick.command.cap_level else ""
    tj, rpm = _number(tick.readings.zones.get("tj"), "C"), _number(tick.readings.fan_rpm, "rpm")
    wrong = f"; {alarms} alarms" if alarms else f"; {len(tick.faults)} warnings" if tick.faults else ""
    return f"STATUS=tj {tj}, fan {tick.command.duty_pct:.0f} % at {rpm}{caps}{wrong}"


def _counts(raws: Mapping[str, Raw]) -> dict[str, int]:
    return {n: int(raw.value) for n, raw in raws.items() if raw.value is not None and math.isfinite(raw.value)}


def _number(reading: Reading | None, unit: str) -> str:
    return f"{reading.value:.0f} {unit}" if isinstance(reading, Fresh) else "unknown"
