"""What may break on the simulated node, and when. Data: a profile carries a list of these."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

Kind = Literal[
    "zone_errno",  # the zone's read fails with ``value`` (an errno; EIO)
    "zone_gone",  # the zone is not there
    "zone_frozen",  # it keeps the value it had
    "zone_zero",  # it reads 0 C, as a missing zone did elsewhere
    "zone_offset",  # it reads ``value`` K too much
    "fan_stalled",  # the rotor stands
    "fan_weak",  # it reaches only ``value`` (a share) of its speed
    "tach_errno",  # the tachometer's read fails with ``value``
    "tach_zero",  # it reads 0 while the fan turns
    "tach_frozen",  # it keeps the value it had
    "write_refused",  # the PWM takes no value
    "foreign_duty",  # somebody else writes ``value`` percent after each of our writes
    "caps_ignored",  # the write succeeds and the clocks stay
    "rails_errno",  # the power monitors fail
    "ambient_errno",  # the box's own sensor fails
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
ALL: Final = "*"
_RANGES: Final[Mapping[str, tuple[float, float]]] = {"fan_weak": (0.0, 1.0), "foreign_duty": (0.0, 100.0)}


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is broken from ``at_s`` for ``for_s``. ``what``: zone names, or all of them."""

    kind: Kind
    at_s: float
    for_s: float
    what: tuple[str, ...] = (ALL,)
    value: float = float(errno.EIO)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is no trouble; there are {', '.join(KINDS)}")
        if not (self.at_s >= 0 and self.for_s > 0):
            raise ValueError(f"{self.kind}: at_s {self.at_s:g} must be 0 or more and for_s {self.for_s:g} positive")
        low, high = (1.0, 4095.0) if self.kind.endswith("_errno") else _RANGES.get(self.kind, (-1e3, 1e3))
        if not low <= self.value <= high:
            raise ValueError(f"{self.kind}: value {self.value:g} must be {low:g} to {high:g}")

    def active(self, at_s: float) -> bool:
        """Whether it is broken at this time of the profile."""
        return self.at_s <= at_s < self.at_s + self.for_s

    def hits(self, name: str) -> bool:
        """Whether it concerns the zone of this name."""
        return ALL in self.what or name in self.what


def trouble_of(document: Mapping[str, Any]) -> Trouble:
    """One entry of a profile's file. Raises ValueError, TypeError or KeyError for what does not fit."""
    what = document.get("what", [ALL])
    if not isinstance(what, list) or not all(isinstance(name, str) for name in what):
        raise ValueError("what must be a list of names")
    value = float(document.get("value", errno.EIO))
    return Trouble(document["kind"], float(document["at_s"]), float(document["for_s"]), tuple(what), value)


def active(troubles: Iterable[Trouble], at_s: float) -> list[Trouble]:
    """Those that are broken now."""
    return [one for one in troubles if one.active(at_s)]


def first(troubles: Sequence[Trouble], *kinds: Kind) -> Trouble | None:
    """The first of these kinds among those that are broken now."""
    return next((one for one in troubles if one.kind in kinds), None)


def of_zone(troubles: Sequence[Trouble], name: str) -> Iterator[Trouble]:
    """Those that concern a zone."""
    return (one for one in troubles if one.kind.startswith("zone_") and one.hits(name))
