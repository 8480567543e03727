"""Answers of real ptp4l processes (``capture.py``), by version and data set."""

from __future__ import annotations

import json
from pathlib import Path

from agent.clock.management import DATA_SETS, DataSet

BY_NAME: dict[str, type[DataSet]] = {kind.NAME: kind for kind in DATA_SETS.values()}
ANSWERS: list[tuple[str, str, bytes, dict[str, str]]] = [
    (version, name, bytes.fromhex(one["datagram"]), one["pmc"])
    for version, answers in json.loads(Path(__file__).with_name("golden.json").read_text()).items()
    for name, one in answers.items()
]
DATAGRAMS: list[bytes] = [datagram for _, _, datagram, _ in ANSWERS]


def golden(name: str, version: str = "4.2") -> bytes:
    """One datagram."""
    return next(datagram for v, n, datagram, _ in ANSWERS if (v, n) == (version, name))
