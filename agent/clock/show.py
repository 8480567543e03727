"""The clock's page as a document and as text for a person. Pure but for the look at the present.

A page's ``status`` is the clock process's last word. What counts now is computed anew from its mappings: a process
that died leaves a bound that grows, not a good old one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping as Table
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from agent.clock.mapping import Mapping
from agent.clock.page import Page, PageClock
from touchline.errors import HardwareError
from touchline.timeline import TAI_MINUS_UTC_S, KernelTime, Stamp, Timebase
from touchline.units import format_duration

SILENT_S: Final = 3.0  # the clock process writes four times a second
_NAMES: Final = {
    Timebase.TSC: "cameras (TSC)",
    Timebase.MONOTONIC_RAW: "monotonic_raw",
    Timebase.MONOTONIC: "monotonic",
    Timebase.REALTIME: "realtime",
}
_FIRST_NS: Final = 10**15  # 1970-01-12: a smaller time is one that nobody has set
_MAX_TEXT: Final = 200


@dataclass(frozen=True, slots=True)
class Writer:
    """The process that wrote the page: ``lives``, and ``age_s`` since it did."""

    pid: int
    lives: bool
    age_s: float

    @property
    def running(self) -> bool:
        """Whether the page can be said to be kept."""
        return self.lives and self.age_s <= SILENT_S

    def words(self) -> str:
        """One line for a person."""
        age = age_text(self.age_s)
        if not self.lives:
            return f"pid {self.pid} is GONE: what it said is {age} old, and the bound grows"
        if not self.running:
            return f"pid {self.pid} is SILENT: what it said is {age} old, and the bound grows"
        return f"pid {self.pid}, page {age} old"


def writer_of(page: Page, now_ns: int) -> Writer:
    """Look whether the page's writer lives; ``now_ns``: CLOCK_MONOTONIC."""
    return Writer(page.pid, _lives(page.pid), max(0.0, (now_ns - page.written_ns) * 1e-9))


def present(page: Page, clock: PageClock) -> Stamp:
    """Return the present stamp as a camera's would be: by the TSC where that is mapped, else by CLOCK_MONOTONIC."""
    if Timebase.TSC in page.mappings:
        try:
            return clock.now_on(Timebase.TSC)
        except HardwareError:  # a newer page has lost it
            pass
    return clock.now()


def page_document(node: str, page: Page, stamp: Stamp, now_ns: int, limit_ns: int) -> dict[str, Any]:
    """Everything that is known; ``stamp``: the present one, ``limit_ns``: of the configuration."""
    writer, said = writer_of(page, now_ns), dict(page.status)
    known = said.get("mappings")
    known = known if isinstance(known, dict) else {}
    arbitrary = said.get("timescale") == "ARB"
    first = {
        "node": node,
        "running": writer.running,
        "writer": {"pid": writer.pid, "lives": writer.lives, "page_age_s": round(writer.age_s, 3)},
        "source": "ptp",
        **stamp_document(stamp),
        "limit_ns": said["limit_ns"] if _number(said.get("limit_ns")) else limit_ns,
        "utc": "" if arbitrary else utc_text(stamp.ptp_ns, _number(said.get("utc_offset_s"))),
        "mapped": bool(page.mappings),
        "mappings": {
            timebase.value: _mapping_document(page, mapping, known.get(timebase.value), now_ns)
            for timebase, mapping in page.mappings.items()
        },
    }
    return {**first, **{name: value for name, value in said.items() if name not in first}}


def system_document(node: str, stamp: Stamp, kernel: KernelTime, limit_ns: int) -> dict[str, Any]:
    """The same for ``source = "system"``, where there is neither page nor process."""
    words = "the system clock, which no NTP or PTP keeps: it may be a second off, and it is never locked"
    if kernel.synchronised:
        words = (
            f"the system clock, which the kernel calls synchronised (NTP): by its own word within "
            f"{format_duration(kernel.max_error_us * 1e3)} of UTC; it is never locked"
        )
    return {
        "node": node,
        "running": True,
        "source": "system",
        "limit_ns": limit_ns,
        **stamp_document(stamp),
        "utc": utc_text(stamp.ptp_ns, kernel.tai_offset_s or TAI_MINUS_UTC_S),
        "synchronised": kernel.synchronised,
        "describe": words,
    }


def stamp_document(stamp: Stamp) -> dict[str, Any]:
    """A stamp as plain values."""
    return {"state": stamp.state.value, "bound_ns": stamp.bound_ns, "epoch": stamp.epoch, "ptp_ns": stamp.ptp_ns}


def head_line(document: Table[str, Any]) -> str:
    """State, bound beside limit, epoch: what matters, in one line."""
    bound, limit = format_duration(document["bound_ns"]), format_duration(document["limit_ns"])
    over = " EXCEEDS" if document["bound_ns"] > document["limit_ns"] else " of"
    return f"{document['state'].upper()}  ± {bound}{over} the {limit} allowed, epoch {document['epoch']}"


def plain_line(document: Table[str, Any]) -> str:
    """One look as a line, for a log or a pipe."""
    parts = [
        document["utc"] or f"ptp {document['ptp_ns']}",
        document["state"],
        f"± {format_duration(document['bound_ns'])}",
    ]
    for name in ("offset", "path_delay"):
        value = _number(document.get(f"{name}_ns"))
        parts += [] if value is None else [f"{name.replace('_', ' ')} {format_duration(value)}"]
    parts += [f"epoch {document['epoch']}", _text(document.get("port_state")), _text(document.get("trouble"))]
    parts += [] if document["running"] else [_writer(document).words()]
    return ", ".join(part for part in parts if part)


def status_text(document: Table[str, Any]) -> str:
    """The document for a person, one fact a line."""
    rows = [("time", _time_text(document))]
    if document["source"] == "system":
        rows.append(("clock", document["describe"]))
    else:
        rows += _facts(document)
    lines = [f"node {document['node']}: {head_line(document)}"]
    lines += [f"  {name:<12} {text}" for name, text in rows if text]
    lines += _mapping_lines(document.get("mappings") or {})
    lines += _step_lines(document)
    return "\n".join(lines)


def age_text(seconds: float) -> str:
    """A time span for a person: ``0.4 s``, ``3 min 20 s``, ``5 h 02 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02d} min"


def utc_of(ptp_ns: int, utc_offset_s: float | None = None) -> datetime | None:
    """UTC of a time on the PTP scale; None for one that no calendar reaches or nobody has set."""
    offset_s = TAI_MINUS_UTC_S if utc_offset_s is None else utc_offset_s
    if ptp_ns < _FIRST_NS:
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=ptp_ns // 1_000, seconds=-offset_s)
    except (OverflowError, ValueError):
        return None


def utc_text(ptp_ns: int, utc_offset_s: float | None = None) -> str:
    """As ``2026-11-21 10:00:00.123 UTC``; "" where :func:`utc_of` has none."""
    moment = utc_of(ptp_ns, utc_offset_s)
    return "" if moment is None else moment.isoformat(" ", "milliseconds").replace("+00:00", " UTC")


# --- inside ---


def _facts(document: Table[str, Any]) -> list[tuple[str, str]]:
    writer, server = _writer(document), document.get("ptp4l")
    socket = _text(server.get("socket")) if isinstance(server, dict) else ""
    method, device = _text(document.get("method")), _text(document.get("phc"))
    describe = _text(document.get("describe")) or " ".join(part for part in (device, method) if part)
    return [
        ("process", writer.words()),
        ("TROUBLE", _text(document.get("trouble"))),
        ("grandmaster", _text(document.get("grandmaster")) or "none"),
        ("port", ", ".join(part for part in (_text(document.get("port_state")) or "unknown", socket) if part)),
        ("servo", _text(document.get("servo"))),
        ("offset", _duration(document.get("offset_ns")) or "not measured"),
        ("path delay", _path(document)),
        ("PHC to system", _to_system(document)),
        ("pairs", describe or "no source of pairs"),
        ("counters", _counters(document.get("counters"))),
        ("mappings", "" if document.get("mapped") else "none yet: the system clock stands in"),
    ]


def _path(document: Table[str, Any]) -> str:
    """The mean delay, and what of the bound is due to it."""
    delay, doubt = _duration(document.get("path_delay_ns")), _duration(document.get("path_doubt_ns"))
    if not delay:
        return "not measured"
    return f"{delay}; {doubt} of the bound, for what the ways there and back may differ" if doubt else delay


def _to_system(document: Table[str, Any]) -> str:
    """PTP time less the system clock as TAI."""
    ahead, bound = _duration(document.get("phc_to_system_ns")), _duration(document.get("phc_to_system_bound_ns"))
    return f"{ahead} ± {bound}, PTP time less the system clock" if ahead and bound else "not known"


def _mapping_lines(mappings: Table[str, Any]) -> list[str]:
    if not mappings:
        return []
    widths = (15, 13, 11, 11, 11, 6, 18)
    head = ("to PTP from", "rate ppm", "residual", "bound", "newest", "pairs", "model")
    lines = ["  " + _columns(head, widths) + "state"]
    order = [timebase.value for timebase in _NAMES]
    for name in sorted(mappings, key=order.index):
        one = mappings[name]
        pairs, residual = _number(one.get("pairs")), _duration(one.get("residual_ns"))
        cells = (
            _NAMES[Timebase(name)],
            f"{one['rate_ppb'] * 1e-3:+.4f}",
            residual or "-",
            f"± {format_duration(one['bound_ns'])}",
            f"{age_text(one['age_s'])}",
            "-" if pairs is None else f"{pairs:.0f}",
            _text(one.get("model")) or "-",
        )
        lines.append("  " + _columns(cells, widths) + one["state"])
    return lines


def _columns(cells: tuple[str, ...], widths: tuple[int, ...]) -> str:
    """The first and the last column to the left, numbers to the right."""
    last = len(cells) - 1
    parts = [
        f"{cell:<{width}}" if place in {0, last} else f"{cell:>{width}}"
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "".join(parts[:last]) + "  " + parts[last]


def _step_lines(document: Table[str, Any]) -> list[str]:
    steps = document.get("steps")
    steps = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    if document["source"] != "ptp":
        return []
    if not steps:
        return ["  no step since the clock process started"]
    offset_s = _number(document.get("utc_offset_s"))
    lines = ["  last steps"]
    for step in steps:
        ptp_ns = step.get("ptp_ns")
        when = utc_text(ptp_ns, offset_s) if isinstance(ptp_ns, int) and document["utc"] else ""
        lines.append(f"    {when or 'time unknown'}  {_text(step.get('text'))}")
    return lines


def _counters(counters: object) -> str:
    if not isinstance(counters, dict):
        return ""
    management = counters.get("management")
    flat = {**counters, **(management if isinstance(management, dict) else {})}
    numbers = {name: _number(value) for name, value in flat.items()}
    return ", ".join(f"{_text(name)} {value:,.0f}" for name, value in numbers.items() if value is not None)


def _time_text(document: Table[str, Any]) -> str:
    if document["utc"]:
        return str(document["utc"])
    scale = "the grandmaster's own, no UTC" if document.get("timescale") == "ARB" else "not set"
    return f"{document['ptp_ns'] * 1e-9:,.3f} s ({scale})"


def _writer(document: Table[str, Any]) -> Writer:
    writer = document["writer"]
    return Writer(writer["pid"], writer["lives"], writer["page_age_s"])


def _mapping_document(page: Page, mapping: Mapping, said: object, now_ns: int) -> dict[str, Any]:
    age_ns = _age_ns(page, mapping, now_ns)
    stamp = mapping.at(mapping.newest_ns + age_ns)
    return {
        **(said if isinstance(said, dict) else {}),
        "rate_ppb": mapping.rate_ppb,
        "age_s": round(age_ns * 1e-9, 3),
        "bound_ns": stamp.bound_ns,
        "state": stamp.state.value,
        "epoch": mapping.epoch,
    }


def _age_ns(page: Page, mapping: Mapping, now_ns: int) -> int:
    """How old a mapping's newest pair is: exact for MONOTONIC, else as its writer said, and the page's age."""
    if mapping.timebase is Timebase.MONOTONIC:
        return max(0, now_ns - mapping.newest_ns)
    known = page.status.get("mappings")
    said = known.get(mapping.timebase.value) if isinstance(known, dict) else None
    age_s = _number(said.get("age_s")) if isinstance(said, dict) else None
    return max(0, now_ns - page.written_ns) + round(max(0.0, age_s or 0.0) * 1e9)


def _lives(pid: int) -> bool:
    if pid <= 0:  # to kill(2) these are groups of processes
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's process: it exists
        return True
    return True


def _duration(value: object) -> str:
    number = _number(value)
    return "" if number is None else format_duration(number)


def _number(value: object) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18
    return float(value) if good and isinstance(value, int | float) else None


def _text(value: object) -> str:
    """Text without what could move a terminal's cursor."""
    return "".join(letter for letter in value[:_MAX_TEXT] if letter.isprintable()) if isinstance(value, str) else ""
