"""The line on the wire: 115 printable characters in fixed columns, then CR LF. Pure; the only definition.

What is not known is a column of dashes, never a zero. A line begins with ``$``, which stands nowhere else, and ends
with a checksum, so that a reader finds its way after any noise (:mod:`agent.uart.scan`). For receivers: docs/uart.md.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final, NamedTuple

from touchline.errors import InputError
from touchline.timeline import Timebase

VERSION: Final = 1
LINE_CHARS: Final = 115
END: Final = b"\r\n"
RESYNC: Final = END + END
"""What a writer sends first: the end of a line that it, or its former life, left torn, and an empty line: "anew"."""
TAG: Final = "$TL"
COUNTS: Final = 1000
MOST_PEOPLE: Final = 999
TRACKS: Final = 1_000_000
FRAMES: Final = 1 << 32
TIMES_NS: Final = 10**19
MOST_TENTHS: Final = 99_999
_CRC_AT: Final = LINE_CHARS - 4
_CRC_START: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Column:
    """``form``: as of :func:`format`. ``pattern``: what may stand there; ``dashes``: or dashes, not known."""

    name: str
    width: int
    form: str
    pattern: str
    meaning: str
    dashes: bool = False


COLUMNS: Final = (
    Column("tag", 4, "s", r"\$TL1", f"`{TAG}` and the version of this table, {VERSION}"),
    Column("count", 3, "03d", r"\d{3}", "counts the lines that were made; a leap: that many were dropped, modulo 1000"),
    Column("camera", 5, "05d", r"\d{5}", "camera number, unique across the site"),
    Column("frame", 10, "010d", r"\d{10}", "the camera's own frame number, modulo 2^32"),
    Column("ptp", 19, "019d", r"\d{19}", "start of exposure, PTP time (TAI), ns"),
    Column(
        "raw",
        20,
        "s",
        r"[TRM]\d{19}",
        "the same moment on the node's own clock, ns: `T` system counter (TSC), `R` CLOCK_MONOTONIC_RAW, "
        "`M` CLOCK_MONOTONIC, which is steered in rate; dashes: not known",
        True,
    ),
    Column("people", 3, "03d", r"\d{3}", f"people followed in this frame; {MOST_PEOPLE} stands for more too"),
    Column("flags", 2, "02X", r"[0-9A-F]{2}", "hexadecimal, see below"),
    Column("track", 6, "06d", r"\d{6}", "the tracker's number of the person in the box, modulo 10^6", True),
    Column(
        "score", 3, "03d", r"\d{3}", "the detector's score, 1/1000, 999 at most; dashes: not seen in this frame", True
    ),
    Column("x", 6, "+06d", r"[+-]\d{5}", "left edge of the box, 1/10 px of the camera's picture", True),
    Column("y", 6, "+06d", r"[+-]\d{5}", "upper edge, 1/10 px", True),
    Column("width", 5, "05d", r"\d{5}", "width of the box, 1/10 px", True),
    Column("height", 5, "05d", r"\d{5}", "height of the box, 1/10 px", True),
    Column("crc", 4, "04X", r"[0-9A-F]{4}", "CRC-16/CCITT-FALSE of all characters before the star, hexadecimal"),
)
_BODY: Final = COLUMNS[:-1]
_BOX: Final = ("track", "x", "y", "width", "height")
DASHES: Final = {column.name: "-" * column.width for column in COLUMNS if column.dashes}
_PATTERN: Final = re.compile(
    " ".join(f"({one.pattern}|{'-' * one.width})" if one.dashes else f"({one.pattern})" for one in _BODY), re.ASCII
)


class LineFlag(IntFlag):
    """The ``flags`` column; bits 0 to 2 as in the record. A reader ignores the bits that it does not know."""

    PREDICTED = 0x01  # the person in the box was not seen in this frame: it is where the tracker expects it
    CLOCK_IN_BOUND = 0x02
    STANDBY = 0x04
    LOCKED = 0x10
    HOLDOVER = 0x20


FLAG_MEANING: Final = {
    LineFlag.PREDICTED: "the box was not seen in this frame, it is where the tracker expects it",
    LineFlag.CLOCK_IN_BOUND: "the clock's error is within the node's limit",
    LineFlag.STANDBY: "this node is not the active one of its pair",
    LineFlag.LOCKED: "the clock is locked to its PTP master",
    LineFlag.HOLDOVER: "it was and holds over; neither: it is unlocked, ptp may be wrong by anything",
}

_LETTERS: Final = {Timebase.TSC: "T", Timebase.MONOTONIC_RAW: "R", Timebase.MONOTONIC: "M"}
_TIMEBASES: Final = {letter: timebase for timebase, letter in _LETTERS.items()}


class LineError(InputError):
    """Bytes that are no line; ``reason`` in one word: ``torn``, ``noise``, ``version``, ``checksum`` or ``columns``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Raw:
    """A reading of one of the node's own clocks."""

    timebase: Timebase
    ns: int


class Box(NamedTuple):
    """The best box, px of the camera's picture to the tenth; ``score`` None: not seen in this frame."""

    track: int
    score: float | None
    x_px: float
    y_px: float
    width_px: float
    height_px: float


@dataclass(frozen=True, slots=True)
class Line:
    """What one line says. ``raw`` and ``box`` are None where there is none."""

    count: int
    camera: int
    frame: int
    ptp_ns: int
    raw: Raw | None
    people: int
    flags: LineFlag
    box: Box | None


def checksum(body: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF, nothing reflected (0x29B1 of ``123456789``)."""
    return binascii.crc_hqx(body, _CRC_START)


def encode(line: Line) -> bytes:
    """The line's 115 characters without its end. Raises ValueError for a value that has no room: a bug."""
    body = " ".join(
        DASHES[column.name] if value is None else format(value, column.form)
        for column, value in zip(_BODY, _values(line), strict=True)
    ).encode("ascii")
    data = b"%s*%04X" % (body, checksum(body))
    if len(data) != LINE_CHARS:
        raise ValueError(f"{line} takes {len(data)} characters")
    return data


def _values(line: Line) -> tuple[Any, ...]:
    """In the order of the columns; None: dashes."""
    raw, box = line.raw, line.box
    head = (
        f"{TAG}{VERSION}",
        line.count % COUNTS,
        line.camera,
        line.frame % FRAMES,
        line.ptp_ns,
        None if raw is None else f"{_LETTERS[raw.timebase]}{raw.ns:019d}",
        min(line.people, MOST_PEOPLE),
        int(line.flags),
    )
    if box is None:
        return (*head, *(None,) * (len(_BODY) - len(head)))
    return (
        *head,
        box.track % TRACKS,
        None if box.score is None else min(round(box.score * 1000), 999),
        *(round(px * 10) for px in (box.x_px, box.y_px, box.width_px, box.height_px)),
    )


def decode(data: bytes) -> Line:
    """Read one line, given without its end. Raises LineError, whatever the bytes are."""
    if len(data) != LINE_CHARS:
        begun = bool(data) and TAG.encode().startswith(data[:3])
        raise LineError("torn" if begun else "noise", f"{len(data)} bytes; a line has {LINE_CHARS}")
    if data[:3] != TAG.encode():
        raise LineError("noise", f"a line begins with {TAG}")
    if data[3:4] != b"%d" % VERSION:
        raise LineError("version", f"line of version {data[3:4].decode('ascii', 'replace')!r}; this reads {VERSION}")
    body, tail = data[: _CRC_AT - 1], data[_CRC_AT - 1 :]
    if tail != b"*%04X" % checksum(body):
        raise LineError("checksum", "the checksum does not fit")
    found = _PATTERN.fullmatch(body.decode("ascii", "replace"))
    if found is None:
        raise LineError("columns", "the checksum fits, the columns do not")
    return _line(dict(zip((column.name for column in _BODY), found.groups(), strict=True)))


def _line(text: dict[str, str]) -> Line:
    blank = {name for name, dashes in DASHES.items() if text[name] == dashes}
    raw = None if "raw" in blank else Raw(_TIMEBASES[text["raw"][0]], int(text["raw"][1:]))
    if blank & set(_BOX) not in (set(), set(_BOX)) or ("track" in blank and "score" not in blank):
        raise LineError("columns", "half a box")
    box = None
    if "track" not in blank:
        score = None if "score" in blank else int(text["score"]) / 1000
        box = Box(int(text["track"]), score, *(int(text[name]) / 10 for name in _BOX[1:]))
    numbers = {name: int(text[name]) for name in ("count", "camera", "frame", "people")}
    return Line(ptp_ns=int(text["ptp"]), raw=raw, flags=LineFlag(int(text["flags"], 16)), box=box, **numbers)


def layout_hash() -> str:
    """SHA-256 of the columns: a change of it without a new ``VERSION`` fails a test."""
    parts = [(one.name, one.width, one.form, one.pattern, one.dashes) for one in COLUMNS]
    return hashlib.sha256(repr((parts, [(flag.name, int(flag)) for flag in LineFlag])).encode()).hexdigest()


def spec_text() -> str:
    """The table of bytes and that of flags, as Markdown."""
    rows, at = ["| bytes | column | meaning |", "|---|---|---|"], 0
    for column in COLUMNS:
        last = at + column.width - 1
        dashes = "; dashes: no box" if column.name in _BOX else ""
        rows.append(f"| {at}..{last} | {column.name} | {column.meaning}{dashes} |")
        at = last + 2
    rows.append(f"| {LINE_CHARS}..{LINE_CHARS + 1} | end | CR LF |")
    flags = ["| flag | name | meaning |", "|---|---|---|"]
    flags += [f"| {flag:02X} | {flag.name} | {words} |" for flag, words in FLAG_MEANING.items()]
    return "\n".join([*rows, "", *flags])
