"""What is wrong now, in words for people and codes for machines. An alarm makes the node count as hot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from thermal.control import fan
from thermal.control.caps import ignored, unseen
from thermal.control.duty import line
from thermal.control.settings import Settings
from thermal.control.state import ControlState
from thermal.judge.rules import TJ
from thermal.judge.state import Readings
from thermal.types import Failed, Fault, Fresh, Severity, Stale

ALARM: Final = Severity.ALARM
WARNING: Final = Severity.WARNING

CODES: Final = {
    "blind": "no temperature at all: full duty, lowest clocks",
    "tj_lost": "tj is not fresh, other zones stand in",
    "sensor": "a zone, rail or other sensor that was there gives nothing believable",
    "too_hot": "at or above cap_now_c",
    "fan_stalled": "driven and standing: full duty, clocks capped early",
    "fan_slow": "far fewer rpm than its duty stands for",
    "tachometer": "rpm cannot be read, or stand still while the duty moves: full duty",
    "fan_taken": "the duty register reads back something else: somebody else writes; call Board.take() again",
    "capped": "clocks are capped",
    "cap_ignored": "clocks read back above the cap",
    "cap_unseen": "clocks cannot be read back",
    "late": "this tick came after its deadline: full duty",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault is judged from: the state after this tick and what it saw."""

    settings: Settings
    state: ControlState
    readings: Readings
    late_s: float
    now_ns: int


def faults(scene: Scene) -> tuple[Fault, ...]:
    """Every fault that holds now, with the time since when it does."""
    began = {(fault.code, fault.what): fault.since_ns for fault in scene.state.faults}
    found = {(fault.code, fault.what): fault for part in _PARTS for fault in part(scene)}
    return tuple(replace(fault, since_ns=began.get(key, scene.now_ns)) for key, fault in found.items())


def _fault(code: str, what: str, severity: Severity, text: str) -> Fault:
    return Fault(code, what, severity, text, 0)


def _temperature(scene: Scene) -> Iterator[Fault]:
    hot, tj = scene.readings.hot, scene.readings.zones.get(TJ)
    why = "missing" if tj is None or isinstance(tj, Fresh) else tj.why
    if hot.source == "blind":
        yield _fault("blind", TJ, ALARM, f"no temperature: tj {why}; full duty, lowest clocks")
    elif hot.source == "stand_in":
        yield _fault("tj_lost", TJ, WARNING, f"tj {why}; acting on {hot.value_c:.1f} C from other zones")
    if hot.value_c is not None and hot.value_c >= scene.settings.cap_now_c:
        yield _fault("too_hot", TJ, ALARM, f"{hot.value_c:.1f} C, limit {scene.settings.cap_now_c:g}")


def _sensors(scene: Scene) -> Iterator[Fault]:
    """Zones that are switched off are no fault while tj is fresh; a value that is only late by a look is none yet."""
    readings = scene.readings
    calm = readings.hot.source == "tj"
    named = [(n, x) for n, x in readings.zones.items() if not (calm and n in readings.gated)]
    named += [(f"rail {n}", x) for n, x in readings.rails.items()]
    if readings.ambient_c is not None:
        named.append(("ambient", readings.ambient_c))
    named.append(("duty read back", readings.duty_pct))
    for name, reading in named:
        frozen = isinstance(reading, Stale) and scene.now_ns - reading.at_ns > scene.settings.stale_ns
        if isinstance(reading, Failed) or frozen:
            yield _fault("sensor", name, WARNING, f"{name}: {reading.why}")  # type: ignore[union-attr]


def _fan(scene: Scene) -> Iterator[Fault]:
    settings, readings, state = scene.settings, scene.readings, scene.state
    rpm, back = readings.fan_rpm, readings.duty_pct
    if state.fan.stalled:
        yield _fault("fan_stalled", "fan", ALARM, "the fan is driven and stands; full duty, clocks capped early")
    unheard = fan.unheard(settings, readings, scene.now_ns)
    if unheard:
        yield _fault("tachometer", "fan", WARNING, f"rpm: {unheard}; full duty")
    if fan.slow(state.fan, scene.now_ns) and isinstance(rpm, Fresh):
        text = f"{rpm.value:.0f} rpm, {settings.full_rpm:g} at full duty expected; dust, a bad bearing or another fan?"
        yield _fault("fan_slow", "fan", WARNING, text)
    if fan.taken(state.fan, scene.now_ns) and isinstance(back, Fresh):
        hot_c = readings.hot.value_c
        short = hot_c is None or back.value < line(settings, hot_c) - fan.DIFFERS_PCT
        text = f"duty reads back {back.value:.0f} %: somebody else writes it, nvfancontrol?"
        yield _fault("fan_taken", "fan", ALARM if short else WARNING, text)


def _clocks(scene: Scene) -> Iterator[Fault]:
    settings, readings, given = scene.settings, scene.readings, scene.state.caps
    if given.given:
        rung = f"rung {given.given} of {settings.lowest}" if given.given <= settings.lowest else "last resort"
        yield _fault("capped", "clocks", WARNING, f"clocks capped, {rung}")
    if ignored(given, scene.now_ns):
        hot_c = readings.hot.value_c
        bad = hot_c is None or hot_c > settings.cap_above_c
        text = f"rung {given.given} was not applied: clocks read back above it"
        yield _fault("cap_ignored", "clocks", ALARM if bad else WARNING, text)
    for domain in unseen(settings, given, readings):
        yield _fault("cap_unseen", domain, WARNING, f"{domain} clock cannot be read back, its cap is not verified")


def _time(scene: Scene) -> Iterator[Fault]:
    if scene.late_s:
        yield _fault("late", "tick", WARNING, f"{scene.late_s:.1f} s since the tick before; full duty for this one")


_PARTS: Final = (_temperature, _sensors, _fan, _clocks, _time)
