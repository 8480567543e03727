"""What a node says of its temperature and power, checked: each value is of its type and in its range, or None.

Only the word of a node that speaks now counts, and only while its fan service does: see :meth:`HeatWord.silenced`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aggregator.core.validate import number_of, text_of

MAX_POWER_W: Final = 10_000.0
_MAX_NAMES: Final = 16
_MAX_NAME: Final = 32
_MAX_TEXT: Final = 160
_COLDEST_C: Final = -60.0
_HOTTEST_C: Final = 200.0


@dataclass(frozen=True, slots=True)
class FaultWord:
    """One fault of a node: ``severity`` is warning or alarm."""

    code: str
    what: str
    severity: str
    text: str


@dataclass(frozen=True, slots=True)
class HeatWord:
    """The part ``thermal`` of a health document. ``good``: its fan service speaks; ``why`` not. ``hot`` is the default.

    ``power_w``: sum of the rails, below the wall's; a node that runs draws more than 0.
    """

    good: bool = False
    why: str = ""
    hot: bool = True
    temp_c: float | int | None = None
    duty_pct: float | int | None = None
    rpm: float | int | None = None
    power_w: float | int | None = None
    rails_w: Mapping[str, float] = field(default_factory=dict)
    budget_w: float | int | None = None
    cap_level: int | None = None
    cap_levels: int | None = None
    faults: tuple[FaultWord, ...] = ()

    @staticmethod
    def silenced(why: str) -> HeatWord:
        """The word of a node that no longer speaks: old numbers are none."""
        return HeatWord(why=why)


def heat_word(health: Mapping[str, Any]) -> HeatWord | None:
    """Read a health document; None for a node that says nothing of it. Never raises, whatever the values."""
    said = health.get("thermal")
    if not isinstance(said, dict):
        return None
    power = said.get("power_w")
    power = power if isinstance(power, dict) else {}
    good = said.get("good") is True
    why = text_of(said.get("why"), _MAX_TEXT)
    if not good:
        return HeatWord.silenced(why or "its fan service says nothing")
    return HeatWord(
        good=True,
        hot=said.get("hot") is not False,
        temp_c=_within(said.get("temp_c"), _COLDEST_C, _HOTTEST_C),
        duty_pct=_within(said.get("duty_pct"), 0.0, 100.0),
        rpm=_within(said.get("rpm"), 0.0, 100_000.0),
        power_w=_drawn(power.get("total")),
        rails_w=_rails(power.get("rails")),
        budget_w=_drawn(said.get("budget_w")),
        cap_level=_level(said.get("cap_level")),
        cap_levels=_level(said.get("cap_levels")),
        faults=_faults(said.get("faults")),
    )


def _within(value: object, low: float, high: float) -> float | int | None:
    number = number_of(value)
    return number if number is not None and low <= number <= high else None


def _drawn(value: object) -> float | int | None:
    number = _within(value, 0.0, MAX_POWER_W)
    return number or None


def _level(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 99 else None


def _rails(value: object) -> dict[str, float]:
    items = list(value.items())[:_MAX_NAMES] if isinstance(value, dict) else []
    known = ((text_of(name, _MAX_NAME), number_of(watts)) for name, watts in items)
    return {name: float(watts) for name, watts in known if watts is not None and abs(watts) <= MAX_POWER_W}


def _faults(value: object) -> tuple[FaultWord, ...]:
    found = [one for one in value[:_MAX_NAMES] if isinstance(one, dict)] if isinstance(value, list) else []
    return tuple(
        FaultWord(
            text_of(one.get("code"), _MAX_NAME) or "fault",
            text_of(one.get("what"), _MAX_NAME),
            "warning" if one.get("severity") == "warning" else "alarm",
            text_of(one.get("text"), _MAX_TEXT),
        )
        for one in found
    )
