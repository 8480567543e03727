"""The clock's page: one small file in ``node.run_dir`` through which the clock process tells all others the time.

It is replaced whole (write beside, rename), so a reader has either the old or the new one and needs no lock. What it
holds grows stale by itself: see :mod:`agent.clock.mapping`. ``touchline clock status`` reads the same file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping as Table
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from agent.clock.mapping import Mapping, mapping_of
from touchline.errors import HardwareError, InputError
from touchline.timeline import (
    ClockState,
    Stamp,
    SystemClock,
    Timebase,
    asleep_ns,
    clock_id,
    monotonic_ns,
    read_clock_ns,
    tie,
)

PAGE_FILE: Final = "clock.json"
MAX_PAGE_BYTES: Final = 64 * 1024
NO_EPOCH: Final = 0
"""Epoch of stamps that no mapping made; those of mappings begin at 1. The system clock counts its own steps, which mean
something else, so its number is not passed on."""
_LOOK_EVERY_NS: Final = 20_000_000
SLEPT_NS: Final = 1_000_000  # more than two readings of the clocks can be apart
_VERSION: Final = 1
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_SLEW: Final = 5e-4  # of each other: the frequency of adjtimex(2) bends CLOCK_MONOTONIC by 500 ppm at most


@dataclass(frozen=True, slots=True)
class Page:
    """``mappings`` by timebase; ``status`` is for people and the rack: plain values, no reader of stamps needs it."""

    pid: int
    written_ns: int  # CLOCK_MONOTONIC
    mappings: Table[Timebase, Mapping]
    status: Table[str, Any] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """The newest epoch that any stamp of this page carries; 0 when it maps nothing."""
        return max((mapping.epoch for mapping in self.mappings.values()), default=0)


def page_file(run_dir: Path) -> Path:
    """Where the clock process of an agent with this ``node.run_dir`` writes its page."""
    return run_dir / PAGE_FILE


def write_page(run_dir: Path, page: Page) -> None:
    """Replace the page; OSError when the folder cannot be written."""
    path = page_file(run_dir)
    fresh = path.with_suffix(".new")
    document = {
        "version": _VERSION,
        "kernel_boot": _kernel_boot(),
        "asleep_ns": asleep_ns(),
        "pid": page.pid,
        "written_ns": page.written_ns,
        "mappings": [mapping.document() for mapping in page.mappings.values()],
        "status": _finite(dict(page.status)),
    }
    fresh.write_text(json.dumps(document, allow_nan=False))
    fresh.replace(path)


def _finite(value: Any) -> Any:
    """``value`` with None for every number that is none: the status goes on to the rack, whose JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_page(run_dir: Path) -> Page:
    """Read the page. Raises InputError when there is none, or it is damaged or of another version."""
    path = page_file(run_dir)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_PAGE_BYTES + 1)
    except OSError as error:
        hint = 'start the agent with [clock] source = "ptp"; it writes this file'
        raise InputError(f"{path}: {error.strerror}", hint=hint) from error
    try:
        if len(raw) > MAX_PAGE_BYTES:
            raise ValueError(f"it is larger than {MAX_PAGE_BYTES} bytes")
        document = json.loads(raw, parse_constant=_no_number)
        if document["version"] != _VERSION:
            raise ValueError(f"version {document['version']!r}, this program reads {_VERSION}")
        if document["kernel_boot"] != _kernel_boot():
            raise ValueError("it was written before this machine booted: its clocks started anew")
        if abs(document["asleep_ns"] - asleep_ns()) > SLEPT_NS:
            raise ValueError("it was written before this machine was suspended: its clocks stood still")
        mappings = [mapping_of(one) for one in document["mappings"]]
        status = document["status"]
        if not isinstance(status, dict):
            raise ValueError("status is no table")
        return Page(int(document["pid"]), int(document["written_ns"]), {m.timebase: m for m in mappings}, status)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, InputError) as error:
        told = isinstance(error, InputError) or type(error) is ValueError
        why = str(error.args[0]) if told else f"it is damaged ({error!r})"
        raise InputError(f"{path} is of no use: {why}", hint="restart the agent: it writes a new one") from error


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


@cache
def _kernel_boot() -> str:
    return _BOOT_ID.read_text().strip()


class PageClock:
    """A :class:`touchline.timeline.Clock` that follows the page of the clock process.

    Without a page, or for readings of a clock that the page does not map, it answers with the system clock: a second
    of bound, unlocked, epoch 0. The file is looked at every 20 ms at most, and read only when it is another one.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._file = page_file(run_dir)
        self._system = SystemClock()
        self._page: Page | None = None
        self._seen: tuple[int, int, int] | None = None
        self._looked_ns = -_LOOK_EVERY_NS
        self._asleep_ns = 0

    def now(self) -> Stamp:
        """Return the present moment."""
        return self.at(monotonic_ns())

    def at(self, base_ns: int, timebase: Timebase = Timebase.MONOTONIC) -> Stamp:
        """Return the PTP time of a reading. Raises HardwareError for TSC readings while nothing maps them."""
        page = self.page()
        mapping = page.mappings.get(timebase) if page is not None else None
        if mapping is not None:
            return mapping.at(base_ns)
        if timebase is Timebase.TSC:
            raise _unmapped()
        known = _narrowest(page)
        if known is None:
            return replace(self._system.at(base_ns, timebase), epoch=NO_EPOCH)
        link = tie(timebase, known.timebase)
        apart_ns = abs(read_clock_ns(clock_id(timebase)) - base_ns) * _SLEW  # what the two went apart since the reading
        stamp = known.at(base_ns + link.difference_ns)
        bound_ns = stamp.bound_ns + link.half_ns + int(apart_ns)
        state = ClockState.UNLOCKED if bound_ns > known.limit_ns else stamp.state
        return replace(stamp, bound_ns=bound_ns, state=state)

    def now_on(self, timebase: Timebase) -> Stamp:
        """Return the present moment as a stamp made from a reading of ``timebase`` has it; raises as :meth:`at`.

        For looking at the TSC, which cannot be read here: its reading is counted back from the present PTP time.
        """
        if timebase is not Timebase.TSC:
            return self.at(read_clock_ns(clock_id(timebase)), timebase)
        page = self.page()
        mapping = page.mappings.get(timebase) if page is not None else None
        if page is None or mapping is None:
            raise _unmapped()
        known = _narrowest(page)
        if known is None:
            return mapping.at(mapping.newest_ns + monotonic_ns() - page.written_ns)
        return mapping.at(mapping.base_at(known.ptp_at(read_clock_ns(clock_id(known.timebase)))))

    def page(self) -> Page | None:
        """The newest readable page; a damaged one leaves the last good one, which grows stale by itself."""
        now_ns = monotonic_ns()
        if now_ns - self._looked_ns >= _LOOK_EVERY_NS:
            self._looked_ns = now_ns
            try:
                facts = self._file.stat()
                seen = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
                if self._seen is not None and abs(asleep_ns() - self._asleep_ns) > SLEPT_NS:
                    self._page = self._seen = None
                if seen != self._seen:
                    self._asleep_ns = asleep_ns()
                    self._page = read_page(self._run_dir)
                    self._seen = seen
            except (OSError, InputError):
                pass
        return self._page


def _narrowest(page: Page | None) -> Mapping | None:
    """Of the mappings whose clocks the kernel can read, the one with the smallest bound."""
    known = [] if page is None else [one for one in page.mappings.values() if one.timebase is not Timebase.TSC]
    return min(known, key=lambda one: one.bound_ns, default=None)


def _unmapped() -> HardwareError:
    hint = "see touchline clock status: pairs come from /dev/nvpps0, or by the kernel's offset of the TSC"
    return HardwareError("nothing maps the TSC to PTP time yet", hint=hint)
