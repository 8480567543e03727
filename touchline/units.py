"""Quantities in configuration and on the command line: written with their unit, held as numbers in one unit each."""

from __future__ import annotations

import re

from touchline.errors import ConfigError

_NUMBER_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
BYTES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def parse_bytes(text: str | int) -> int:
    """Return bytes from ``"512MiB"``, ``"2GB"`` or a plain number; ValueError for anything else."""
    if isinstance(text, int):
        return text
    match = _NUMBER_UNIT.fullmatch(text)
    if match is None or match[2] not in BYTES:
        raise ValueError(f"{text!r} is no size: write a number and one of {', '.join(u for u in BYTES if u)}")
    return int(float(match[1]) * BYTES[match[2]])


def format_bytes(count: int) -> str:
    """Return ``count`` as a person reads it: ``1.11 GB``, ``104 B``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"


def parse_size_px(text: str) -> tuple[int, int]:
    """Return (width, height) from ``"1280x720"``."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None or "0" in (match[1], match[2]):
        raise ConfigError(f"{text!r} is no picture size", hint="write WIDTHxHEIGHT in pixels, for example 1280x720")
    return int(match[1]), int(match[2])


def ms(duration_ns: float) -> float:
    """Nanoseconds to milliseconds."""
    return duration_ns / 1e6


_DURATIONS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))


def unit_of_duration(ns: float) -> tuple[float, str]:
    """The unit in which a duration is written: its size in ns and its name."""
    return next((size, unit) for size, unit in _DURATIONS if abs(ns) >= size * 0.9995 or size == 1.0)


def format_duration(ns: float) -> str:
    """Return a duration to three digits as a person reads it: ``84 ns``, ``1.25 µs``, ``-9.2 ms``, ``3,200 s``."""
    size, unit = unit_of_duration(ns)
    value = ns / size
    return f"{value:,.0f} {unit}" if abs(value) >= 999.5 else f"{value:.3g} {unit}"
