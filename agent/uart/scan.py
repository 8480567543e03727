"""Lines out of a stream of bytes that may begin anywhere and be damaged anyhow; and what is missing. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from agent.uart.line import COUNTS, FRAMES, LINE_CHARS, Line, LineError, decode

_MARK: Final = re.compile(rb"[$\n]")
_MOST_JUNK: Final = 4 * LINE_CHARS


@dataclass(frozen=True, slots=True)
class Bad:
    """Bytes that are no line. ``reason``: see :class:`agent.uart.line.LineError`."""

    data: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Edge:
    """Bytes before the first line end, or after the last: the stream was joined, or left, in the midst of a line."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Anew:
    """Empty lines: the writer began anew, its count too."""


Found: TypeAlias = Line | Bad | Edge | Anew


class Scanner:
    """Takes bytes as they come. A line counts as soon as its checksum fits, wherever it begins."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._junk = bytearray()
        self._joined = False  # a line or a line end was seen
        self._at_start = self._said_anew = False

    def feed(self, data: bytes) -> list[Found]:
        """Return what these bytes completed."""
        self._held += data
        found: list[Found] = []
        while self._step(found):
            pass
        return found

    def end(self) -> list[Found]:
        """Return what is left when nothing follows."""
        rest = bytes(self._junk + self._held).strip(b"\r")
        self._junk.clear()
        self._held.clear()
        return [Edge(rest)] if rest else []

    def _step(self, found: list[Found]) -> bool:
        mark = _MARK.search(self._held)
        self._discard(len(self._held) if mark is None else mark.start(), found)
        if mark is None:
            return False
        if self._held[0] == ord("\n"):
            self._newline(found)
            return True
        piece = bytes(self._held[:LINE_CHARS])
        if b"\n" not in piece:
            if len(piece) < LINE_CHARS:
                return False
            try:
                line = decode(piece)
            except LineError:
                pass
            else:
                self._flush(found)
                found.append(line)
                del self._held[:LINE_CHARS]
                self._joined, self._at_start, self._said_anew = True, False, False
                return True
        self._discard(1, found)
        return True

    def _discard(self, count: int, found: list[Found]) -> None:
        self._junk += self._held[:count]
        del self._held[:count]
        if len(self._junk) > _MOST_JUNK:
            self._flush(found)

    def _newline(self, found: list[Found]) -> None:
        del self._held[:1]
        if not self._flush(found) and self._at_start and not self._said_anew:
            found.append(Anew())
            self._said_anew = True
        self._joined = self._at_start = True

    def _flush(self, found: list[Found]) -> bool:
        """Give out what is no line, if there is any."""
        junk = bytes(self._junk).strip(b"\r")
        self._junk.clear()
        if junk:
            self._said_anew = False
            found.append(Bad(junk, _reason(junk)) if self._joined else Edge(junk))
        return bool(junk)


def _reason(junk: bytes) -> str:
    try:
        decode(junk)
    except LineError as error:
        return error.reason
    return "noise"


@dataclass
class CameraTally:
    """One camera's lines. ``missing``: frames between its lines that had none. ``restarts``: its numbers went back."""

    lines: int = 0
    missing: int = 0
    restarts: int = 0
    frame: int = -1

    def take(self, frame: int) -> int:
        """Count a line; return how many frames are missing before it."""
        ahead = (frame - self.frame) % FRAMES if self.frame >= 0 else 1
        missing = 0
        if 0 < ahead < FRAMES // 2:
            missing = ahead - 1
        else:
            self.restarts += 1
        self.lines, self.missing, self.frame = self.lines + 1, self.missing + missing, frame
        return missing


@dataclass
class Tally:
    """What a stream held. ``lost``: lines that were made and are not here, by their count: dropped, or damaged."""

    lines: int = 0
    lost: int = 0
    begun: int = 0
    edge_bytes: int = 0
    bad_bytes: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    cameras: dict[int, CameraTally] = field(default_factory=dict)
    _count: int | None = None

    @property
    def missing(self) -> int:
        """Frames without a line, over all cameras."""
        return sum(one.missing for one in self.cameras.values())

    def take(self, found: Found) -> None:
        """Count one thing that was found."""
        if isinstance(found, Line):
            self.lines += 1
            self.lost += 0 if self._count is None else (found.count - self._count - 1) % COUNTS
            self._count = found.count
            self.cameras.setdefault(found.camera, CameraTally()).take(found.frame)
        elif isinstance(found, Bad):
            self.bad[found.reason] += 1
            self.bad_bytes += len(found.data)
        elif isinstance(found, Edge):
            self.edge_bytes += len(found.data)
        else:
            self.begun += 1
            self._count = None

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "lines": self.lines,
            "bad": dict(self.bad),
            "bad_bytes": self.bad_bytes,
            "edge_bytes": self.edge_bytes,
            "lost_lines": self.lost,
            "missing_frames": self.missing,
            "begun_anew": self.begun,
            "cameras": {
                str(number): {"lines": one.lines, "missing_frames": one.missing, "restarts": one.restarts}
                for number, one in sorted(self.cameras.items())
            },
        }
