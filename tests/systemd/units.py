"""Read unit files: sections with repeated keys, comments and continued lines."""

from __future__ import annotations

import shlex
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
FOLDER = REPO / "systemd"
UNITS = sorted(path for path in FOLDER.iterdir() if path.suffix in {".service", ".target", ".timer", ".socket"})


def read_unit(path: Path) -> list[tuple[str, str, str]]:
    """(section, key, value) of every line, in order."""
    rows: list[tuple[str, str, str]] = []
    section = ""
    for line in path.read_text().replace("\\\n", " ").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and line[0] not in "#;":
            key, _, value = line.partition("=")
            rows.append((section, key, value))
    return rows


def asks_for_table(path: Path, config: str) -> str:
    """The pattern with which a unit's only condition asks ``config`` for its table, as grep gets it."""
    words = shlex.split(value(path, "ExecCondition"))
    assert words[:2] == ["/bin/grep", "-Eq"]
    assert words[3:] == [config]
    return words[2]


def values(path: Path, key: str) -> list[str]:
    """All values of a key."""
    return [value for _, name, value in read_unit(path) if name == key]


def value(path: Path, key: str) -> str:
    """The only value of a key."""
    (only,) = values(path, key)
    return only
