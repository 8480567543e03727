"""How fast CPU and GPU may run: limits of cpufreq and devfreq, capped, read back, and put back as they were found.

A limit that somebody else changed (nvpmodel, a person) is the new one to return to; the kernel's throttling is not.
While anything is capped, what stood there before lies in a file beside the status, so that a service that was killed
does not take its own caps for the machine's limits at its next start.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from thermal.sysfs.files import Files, read_number, why, write_number
from thermal.sysfs.table import CPUFREQ_FOLDER, DEVFREQ_FOLDER, GPU
from thermal.types import Domain, Raw
from thermal.whole import write_whole

_HZ: Final[dict[Domain, float]] = {"cpu": 1000.0, "gpu": 1.0}  # of one step of the file: cpufreq speaks kHz


class SysfsClocks:
    """See the module. ``memory``: where limits are kept while they are lowered; None keeps them in this object only."""

    def __init__(self, files: Files, memory: Path | None = None) -> None:
        self._files = files
        self._memory = memory
        remembered = _remembered(memory)
        self._before = {path: before for path, (before, _) in remembered.items()}  # limit before the first cap
        self._written = {path: written for path, (_, written) in remembered.items()}  # what the file read after ours

    def limits(self) -> dict[Domain, Raw]:
        """The highest limit of each domain, Hz, or the highest clock where one runs above it. Or an errno.

        So a cap that one cluster did not take shows, and one that was written and does not hold.
        """
        found: dict[Domain, Raw] = {}
        for domain, path in self._paths():
            running = read_number(self._files, path.removesuffix("max_freq") + "cur_freq", _HZ[domain])
            found[domain] = _higher(found.get(domain), read_number(self._files, path, _HZ[domain]))
            if running.errno != errno.ENOENT:
                found[domain] = _higher(found[domain], running)
        return found

    def set_caps(self, cap_hz: Mapping[Domain, float]) -> str | None:
        """Cap these domains and give the others back. None when every file took its value."""
        troubles = []
        there = set()
        for domain, path in list(self._paths()):
            there.add(domain)
            cap = cap_hz.get(domain)
            troubles.append(self._release(path) if cap is None else self._cap(path, int(cap / _HZ[domain])))
        self._remember()
        troubles += [f"no {domain} clock to cap here" for domain in sorted(set(cap_hz) - there)]
        return "; ".join(trouble for trouble in troubles if trouble is not None) or None

    def _paths(self) -> Iterator[tuple[Domain, str]]:
        for name in self._files.names(CPUFREQ_FOLDER):
            if name.startswith("policy"):
                yield "cpu", f"{CPUFREQ_FOLDER}/{name}/scaling_max_freq"
        names = frozenset[str]().union(*(row.names for row in GPU))
        for name in self._files.names(DEVFREQ_FOLDER):
            if name.lower() in names:
                yield "gpu", f"{DEVFREQ_FOLDER}/{name}/max_freq"

    def _cap(self, path: str, wanted: int) -> str | None:
        raw = read_number(self._files, path)
        if raw.value is None:
            return f"{path}: {why(raw)}"
        now = int(raw.value)
        fresh = path not in self._before or self._theirs(path, now)
        if fresh:
            self._before[path] = now
            self._written[path] = min(wanted, now)
            self._remember()  # before it is lowered
        return self._write(path, min(wanted, self._before[path]), -1 if fresh else now)

    def _release(self, path: str) -> str | None:
        before = self._before.get(path)
        if before is None:
            return None
        raw = read_number(self._files, path)
        if raw.value is None:
            return f"{path}: {why(raw)}"
        now = int(raw.value)
        trouble = self._write(path, now if self._theirs(path, now) else before, -1)
        if trouble is None:
            del self._before[path]
            self._written.pop(path, None)
        return trouble

    def _theirs(self, path: str, now: int) -> bool:
        """Whether somebody else set this limit since we did: it is higher, or lower and ours takes when written again.

        A lower one where ours does not take is the kernel's own throttling, which passes and is nobody's limit.
        """
        ours = self._written.get(path, now)
        if now >= ours:
            return now > ours
        return write_number(self._files, path, ours) is None and read_number(self._files, path).value == ours

    def _write(self, path: str, value: int, now: int) -> str | None:
        self._written[path] = value
        if value == now:
            return None
        trouble = write_number(self._files, path, value)
        after = read_number(self._files, path).value
        if trouble is None and after is not None:
            self._written[path] = max(value, int(after))  # the kernel may take the next step of a table
        return trouble

    def _remember(self) -> None:
        """Keep what stood there in the file, or remove the file. A disk that refuses costs only the memory."""
        if self._memory is None:
            return
        try:
            if self._before:
                kept = {path: [one, self._written.get(path, one)] for path, one in self._before.items()}
                write_whole(self._memory, json.dumps(kept).encode())
            else:
                self._memory.unlink(missing_ok=True)
        except OSError:
            return


def _remembered(memory: Path | None) -> dict[str, tuple[int, int]]:
    """Limits that an earlier run lowered, and to what; only files of cpufreq and devfreq, whoever wrote it."""
    try:
        document: Any = json.loads(memory.read_text()) if memory is not None else {}
    except (OSError, ValueError):
        return {}
    roots = (f"{CPUFREQ_FOLDER}/policy", f"{DEVFREQ_FOLDER}/")
    return {
        path: (pair[0], pair[1])
        for path, pair in (document.items() if isinstance(document, dict) else ())
        if isinstance(pair, list) and [type(one) for one in pair] == [int, int]
        if path.startswith(roots) and ".." not in path
    }


def _higher(one: Raw | None, other: Raw) -> Raw:
    if one is None or one.value is None or other.value is None:
        return other if one is None or one.value is not None else one
    return one if one.value >= other.value else other
