"""Whether the clocks are those of the power mode: nvpmodel may report success and apply nothing, or half of it.

Reads what nvpmodel wrote down (its mode) and what its table says that mode is, and compares with the clocks'
own limits. Nothing is run or changed: another mode may need a reboot, and that is a person's decision.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from thermal.aside import Aside
from thermal.sysfs.files import Files, read_number, read_word

STATUS: Final = "/var/lib/nvpmodel/status"  # "pmode:0002" and, on some releases, more words
TABLE: Final = "/etc/nvpmodel.conf"
AGAIN_NS: Final = 60_000_000_000
TOLERANCE: Final = 0.01
_HEAD: Final = re.compile(r"<\s*(PARAM|POWER_MODEL)\s+(.*?)\s*>")
_PAIR: Final = re.compile(r"(\w+)=(\S+)")


@dataclass(frozen=True, slots=True)
class Mode:
    """A power mode: its name, and the highest value of each limit's file (kHz for CPUs, Hz for the GPU)."""

    name: str
    most: dict[str, int]


def modes_of(text: str) -> dict[int, Mode]:
    """The modes of nvpmodel's table by id. A limit of -1 is none."""
    paths: dict[str, str] = {}
    found: dict[int, Mode] = {}
    for kind, head, words in _rows(text):
        if kind == "PARAM" and words[0] == "MAX_FREQ" and len(words) > 1:
            paths[head.get("NAME", "")] = words[1]
        elif kind == "POWER_MODEL" and head.get("ID", "").isdigit():
            mode = found.setdefault(int(head["ID"]), Mode(head.get("NAME", "?"), {}))
            if len(words) > 2 and words[1] == "MAX_FREQ" and words[2].isdigit() and words[0] in paths:
                mode.most[paths[words[0]]] = int(words[2])
    return found


def _rows(text: str) -> Iterator[tuple[str, dict[str, str], list[str]]]:
    """Each line with the kind and the words of the heading above it."""
    kind, head = "", {}
    for line in text.splitlines():
        match = _HEAD.match(line.strip())
        if match is not None:
            kind, head = match[1], dict(_PAIR.findall(match[2]))
        elif line.strip() and not line.lstrip().startswith("#"):
            yield kind, head, line.split()


def mode_trouble(files: Files) -> str | None:
    """What differs from the power mode; None while all fits, and where there is no nvpmodel. Not while capped."""
    match = re.search(r"pmode:(\d+)", read_word(files, STATUS) or "")
    mode = modes_of(_table(files)).get(int(match[1])) if match is not None else None
    if mode is None:
        return None
    wrong = []
    for path, most in mode.most.items():
        now = read_number(files, path).value
        if now is not None and abs(now - most) > TOLERANCE * most:
            wrong.append(f"{path} is {now:.0f}, not {most}")
    return f"nvpmodel says {mode.name}, but {'; '.join(wrong)}" if wrong else None


def _table(files: Files) -> str:
    try:
        return files.read_all(TABLE).decode("utf-8", errors="replace")
    except OSError:
        return ""


@dataclass(slots=True)
class PowerMode:
    """The check, asked for at most once a minute and never waited for: nvpmodel's files lie on a disk."""

    look: Aside[str | None]
    _next_ns: int = 0

    def trouble(self, now_ns: int) -> str | None:
        """What the last look that ended found."""
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + AGAIN_NS
            self.look.ask()
        return self.look.last
