"""The sum of the rails, and how much of it is known. Watts.

The monitors of AGX Orin see four rails and no input, so the sum reads below the wall. Where a monitor sees the module's
input (``VDD_IN`` of Orin NX and Orin Nano, whose other rails are parts of it), that is the total and nothing is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from thermal.types import Fresh, Reading

INPUT: Final = "VDD_IN"
BELOW_THE_WALL: Final = f"sum of the rails, below the wall's: no {INPUT} here"


@dataclass(frozen=True, slots=True)
class Total:
    """``low_w``: what is drawn at least, by the rails that can be read. ``whole``: all of them can."""

    low_w: float
    whole: bool
    of_input: bool = False

    @property
    def watts(self) -> float | None:
        """The total; None while a part of it is unknown."""
        return self.low_w if self.whole else None

    @property
    def meaning(self) -> str:
        """What this total is, in words."""
        return INPUT if self.of_input else BELOW_THE_WALL


def total(rails: Mapping[str, Reading]) -> Total | None:
    """Sum the rails; None for a board that has none. Only what is fresh counts."""
    if not rails:
        return None
    known = {name: one.value for name, one in rails.items() if isinstance(one, Fresh)}
    if INPUT in known:
        return Total(known[INPUT], True, of_input=True)
    return Total(sum(known.values()), len(known) == len(rails), of_input=INPUT in rails)
