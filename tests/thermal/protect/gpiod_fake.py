"""A stand-in for the package ``gpiod`` over a JSON file of chips: the names and calls of libgpiod 2's Python API.

The file (``$FAKE_GPIO``): {path: {"label": ..., "lines": {name: consumer or null}}}. What is driven is appended to the
file beside it, ``.log``, a line each, with fdatasync, so that strace and a killed process leave evidence. Loaded as
``gpiod`` where its folder is on the path under that name (see test_process.py), or handed to ``sys.modules``.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Value(Enum):
    INACTIVE = 0
    ACTIVE = 1


class Direction(Enum):
    AS_IS = 1
    INPUT = 2
    OUTPUT = 3


line = SimpleNamespace(Value=Value, Direction=Direction)


@dataclass
class LineSettings:
    direction: Direction = Direction.AS_IS
    active_low: bool = False
    output_value: Value = Value.INACTIVE


def _table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(os.environ["FAKE_GPIO"]).read_text())
    return found


def driven(name: str, active: bool, what: str = "set") -> None:
    """Note what a line was driven to."""
    fd = os.open(os.environ["FAKE_GPIO"] + ".log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, f"{what} {name} {int(active)}\n".encode())
    os.close(fd)


def is_gpiochip_device(path: str) -> bool:
    return path in _table()


class Request:
    def __init__(self, row: dict[str, Any], config: dict[int, LineSettings]) -> None:
        self._names, self._config = list(row["lines"]), config
        self._values = {offset: one.output_value for offset, one in config.items()}
        for offset, value in self._values.items():
            self._drive(offset, value, "request")

    def _drive(self, offset: int, value: Value, what: str = "set") -> None:
        level = (value is Value.ACTIVE) != self._config[offset].active_low
        driven(self._names[offset], level, what)

    def set_value(self, offset: int, value: Value) -> None:
        if os.environ.get("FAKE_GPIO_BROKEN"):
            raise OSError(errno.ENODEV, "No such device")
        self._values[offset] = value
        self._drive(offset, value)

    def get_value(self, offset: int) -> Value:
        stuck = os.environ.get("FAKE_GPIO_STUCK")
        return Value(int(stuck)) if stuck else self._values[offset]

    def release(self) -> None:
        for offset in self._values:
            driven(self._names[offset], False, "release")


class Chip:
    def __init__(self, path: str) -> None:
        self._row = _table()[path]

    def __enter__(self) -> Chip:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def get_info(self) -> Any:
        return SimpleNamespace(name="gpiochip", label=self._row["label"], num_lines=len(self._row["lines"]))

    def line_offset_from_id(self, name: str) -> int:
        if name not in self._row["lines"]:
            raise OSError(errno.ENOENT, "No such line")
        return list(self._row["lines"]).index(name)

    def get_line_info(self, offset: int) -> Any:
        consumer = list(self._row["lines"].values())[offset]
        return SimpleNamespace(used=consumer not in (None, "fast"), consumer=consumer or "")

    def request_lines(self, config: dict[int, LineSettings], consumer: str) -> Request:
        assert consumer == "touchline-protect"
        (offset,) = config
        assert config[offset].direction is Direction.OUTPUT
        if list(self._row["lines"].values())[offset] == "fast":  # taken between the look and the request
            raise OSError(errno.EBUSY, "Device or resource busy")
        return Request(self._row, config)
