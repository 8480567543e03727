"""What the judge remembers from look to look, and what it says. Frozen, plain values; times in CLOCK_MONOTONIC ns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from thermal.types import Domain, Failed, Fresh, Reading, Stale

Span = tuple[float, float]  # least and greatest seen


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one name: the last value believed, and since when none is."""

    last: Fresh | None = None
    failed_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Still:
    """Of a value that stands still: the value, how far each of its movers went meanwhile, since when far enough."""

    same: float | None = None
    spans: tuple[Span | None, ...] = ()
    moved_ns: int | None = None


@dataclass(frozen=True, slots=True)
class ZoneMemory:
    """Of one zone. ``base`` is the value before a jump upwards; ``still`` is beside power and neighbours."""

    memory: Memory = Memory()
    base: Fresh | None = None
    still: Still = Still()


@dataclass(frozen=True, slots=True)
class TachometerMemory:
    """Of the tachometer; ``still`` is beside the duty read back."""

    memory: Memory = Memory()
    still: Still = Still()


@dataclass(frozen=True, slots=True)
class JudgeState:
    """What :func:`thermal.judge.judge` takes and gives; ``JudgeState()`` before the first look."""

    zones: Mapping[str, ZoneMemory] = field(default_factory=dict)
    rails: Mapping[str, Memory] = field(default_factory=dict)
    clocks: Mapping[Domain, Memory] = field(default_factory=dict)
    fan_rpm: TachometerMemory = TachometerMemory()
    duty_pct: Memory = Memory()
    ambient: Memory | None = None


@dataclass(frozen=True, slots=True)
class Hot:
    """The temperature to act on. Only ``tj`` may calm anything down.

    ``tj``: fresh. ``held``: tj was silent for less than ``stale_ns``. ``stand_in``: the hottest other zone and
    a margin. ``blind``: nothing to act on, ``value_c`` is None.
    """

    value_c: float | None
    source: Literal["tj", "held", "stand_in", "blind"]


@dataclass(frozen=True, slots=True)
class Readings:
    """A judged :class:`thermal.types.Sample`.

    ``zones`` has every zone that is needed or was ever seen. ``gated`` are those among the failed that are switched off
    (EAGAIN). ``power_w`` is the sum of the rails, fresh only if each rail ever seen is; None: this board has no rails.
    """

    at_ns: int
    hot: Hot
    zones: Mapping[str, Reading]
    gated: frozenset[str]
    fan_rpm: Reading
    duty_pct: Reading
    power_w: Reading | None
    rails: Mapping[str, Reading]
    clock_hz: Mapping[Domain, Reading]
    ambient_c: Reading | None


__all__ = [
    "Failed",
    "Fresh",
    "Hot",
    "JudgeState",
    "Memory",
    "Reading",
    "Readings",
    "Span",
    "Stale",
    "Still",
    "TachometerMemory",
    "ZoneMemory",
]
