"""The kernel's list of CPUs: ``0-3,8``."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LIST = re.compile(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*")


def parse_cpus(text: str) -> frozenset[int]:
    """CPUs of a kernel's list; an empty line is no CPU. Raises ValueError for anything else."""
    text = text.strip()
    if not text:
        return frozenset()
    if not _LIST.fullmatch(text):
        raise ValueError(f"{text!r} is no list of CPUs such as 0-3,8")
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if int(last or first) < int(first):
            raise ValueError(f"{text!r} is no list of CPUs such as 0-3,8")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)


def format_cpus(cpus: Iterable[int]) -> str:
    """The list as the kernel itself writes it: sorted, runs joined."""
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
