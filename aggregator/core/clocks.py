"""What a node says of its clock, checked: each value is bounded and of its type, or None ("" for a text)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aggregator.core.validate import MAX_NUMBER, number_of, text_of

ALIVE_S: Final = 5.0  # a node speaks every half second or second; ten words missed are no jitter
_IDENTITY: Final = re.compile(r"[0-9a-f][0-9a-f.:-]{3,22}[0-9a-f]")  # IEEE 1588 clock identity: 001122.fffe.334455
_MAX_WORD: Final = 24
_MAX_STEP: Final = 120


@dataclass(frozen=True, slots=True)
class ClockWord:
    """A clock document as far as the rack uses it; durations in ns, ``last_step`` is the text of the newest step.

    ``bound_ns``: the node's stamps are true within +- this. ``limit_ns``: beyond it the node calls them unlocked.
    ``offset_ns``, ``path_delay_ns``: ptp4l's. ``residual_ns``: rms of the camera's mapping. ``source``: ptp or system.
    """

    state: str = "unknown"
    bound_ns: float | int | None = None
    epoch: int | None = None
    source: str = ""
    limit_ns: float | int | None = None
    offset_ns: float | int | None = None
    path_delay_ns: float | int | None = None
    residual_ns: float | int | None = None
    grandmaster: str = ""
    port_state: str = ""
    timescale: str = ""
    last_step: str = ""


def clock_word(document: Mapping[str, Any]) -> ClockWord:
    """Read a clock document; never raises, whatever the values."""
    return ClockWord(
        state=text_of(document.get("state"), _MAX_WORD) or "unknown",
        bound_ns=_size(document.get("bound_ns")),
        epoch=_count(document.get("epoch")),
        source=text_of(document.get("source"), _MAX_WORD),
        limit_ns=_size(document.get("limit_ns")),
        offset_ns=number_of(document.get("offset_ns")),
        path_delay_ns=number_of(document.get("path_delay_ns")),
        residual_ns=_size(document.get("residual_ns")),
        grandmaster=_identity(document.get("grandmaster")),
        port_state=text_of(document.get("port_state"), _MAX_WORD),
        timescale=text_of(document.get("timescale"), _MAX_WORD),
        last_step=_last_step(document.get("steps")),
    )


def _size(value: object) -> float | int | None:
    number = number_of(value)
    return number if number is not None and number >= 0 else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_NUMBER else None


def _identity(value: object) -> str:
    text = value.lower() if isinstance(value, str) and len(value) <= _MAX_WORD else ""
    return text if _IDENTITY.fullmatch(text) else ""


def _last_step(steps: object) -> str:
    newest = steps[-1] if isinstance(steps, list) and steps else None
    return text_of(newest.get("text"), _MAX_STEP) if isinstance(newest, dict) else ""
