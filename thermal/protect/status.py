"""What the protect service says of itself: a JSON file, replaced twice a second. Older than ``STALE_NS``: no status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thermal.whole import write_whole

FILE: Final = "protect.json"
SOCKET: Final = "protect.sock"
VERSION: Final = 1
STALE_NS: Final = 5_000_000_000
MAX_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Told:
    """What a reader may believe. ``why``: what is wrong with the file itself; ``document``: empty when unreadable."""

    document: Mapping[str, Any]
    why: str = ""

    @property
    def good(self) -> bool:
        """Whether the service is alive."""
        return bool(self.document) and not self.why


def write_status(path: Path, document: Mapping[str, Any]) -> None:
    """Replace the file in one step, readable by all. Raises OSError."""
    write_whole(path, json.dumps({"version": VERSION, **document}, allow_nan=False).encode() + b"\n")


def read_status(path: Path, now_ns: int) -> Told:
    """Read it and judge its age at ``now_ns`` (CLOCK_MONOTONIC). Never raises for the file."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Told({}, f"{path} is not there: the protect service does not run")
    except OSError as error:
        return Told({}, f"{path}: {error.strerror}")
    try:
        found = json.loads(raw) if len(raw) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("version") != VERSION or not isinstance(found.get("at_ns"), int):
        return Told({}, f"{path} is damaged")
    age_ns = now_ns - found["at_ns"]
    if not 0 <= age_ns <= STALE_NS:
        return Told(found, f"the status is {age_ns / 1e9:.1f} s old: the protect service hangs or is gone")
    return Told(found)
