"""The words of the thermal room: what was read, what is wanted, what is wrong. Times in CLOCK_MONOTONIC ns.

A reading is never a bare number: it is fresh, stale or failed, and only ``Fresh`` may calm anything down. There is no
value that stands for "unknown" (a missing zone that reads 0 C is how fans stop).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, Protocol

Domain = Literal["cpu", "gpu"]  # what has clocks that can be capped


@dataclass(frozen=True, slots=True)
class Fresh:
    """Read just now and believable. ``at_ns``: when it was read."""

    value: float
    at_ns: int


@dataclass(frozen=True, slots=True)
class Stale:
    """The last believable value, too old to act on as good news, or unchanged for longer than physics allows."""

    value: float
    at_ns: int  # when ``value`` was believable last
    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """No value. ``since_ns``: when it failed first; ``why`` names the errno or the rule that threw the value out."""

    since_ns: int
    why: str


Reading = Fresh | Stale | Failed


@dataclass(frozen=True, slots=True)
class Raw:
    """What one read of one file gave: a number in the unit of the name it stands under, or an errno. Not yet judged."""

    value: float | None
    errno: int = 0

    def __post_init__(self) -> None:
        if (self.value is None) != (self.errno != 0):
            raise ValueError("a raw reading has either a value or an errno")


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the board. Missing names are as bad as failed ones: the judge knows what must be there.

    ``zones_c``: by canonical name ("tj", "cpu", "gpu", "soc0", "cv0" ...). ``duty_pct``: the PWM register read back,
    0 when the output is disabled. ``power_w``: by rail label. ``clock_hz``: what each domain may run at most now, or
    runs at where that is more, read back. ``oc_events``: cumulative over-current counters by name. ``ambient_c``: a
    sensor of the box, if there is one.
    """

    at_ns: int
    zones_c: Mapping[str, Raw]
    fan_rpm: Raw
    duty_pct: Raw
    power_w: Mapping[str, Raw] = field(default_factory=dict)
    clock_hz: Mapping[Domain, Raw] = field(default_factory=dict)
    oc_events: Mapping[str, Raw] = field(default_factory=dict)
    ambient_c: Raw | None = None


class Severity(str, Enum):
    """How bad: ``warning`` is shown; ``alarm`` is shown, and published as hot but for :data:`thermal.power.NOT_HOT`."""

    WARNING = "warning"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong that lasts. ``code`` is for machines (``sensor``, ``fan_stalled``), ``what`` names the part."""

    code: str
    what: str
    severity: Severity
    text: str
    since_ns: int


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be done now. ``duty_pct`` 0..100; ``cap_level``: 0 is no cap, n the n-th rung of the ladder."""

    duty_pct: float
    cap_level: int


class Board(Protocol):
    """The node's fan, sensors and clocks. Backends: sysfs (real), plant (simulated with physics), replay.

    Nothing here raises for a device that fails: a read that fails is a :class:`Raw` with its errno, a write that fails
    is returned as text (None: done). ``sample`` looks devices up anew when their numbers have moved.
    """

    def sample(self, now_ns: int) -> Sample: ...

    def set_duty(self, duty_pct: float) -> str | None: ...

    def set_caps(self, cap_hz: Mapping[Domain, float]) -> str | None: ...

    def take(self) -> str | None:
        """Stop the vendor's fan daemon and switch the PWM to us, duty first; the fan is never off on the way."""
        ...

    def give_back(self) -> str | None:
        """Give the fan back to the vendor's daemon, or leave it at full speed."""
        ...

    def close(self) -> None: ...
