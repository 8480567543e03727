"""Who answered for an address, and when: the observer's log in spans. Pure.

A span is a run of answers of one hardware address with no longer pause than ``SILENCE_NS`` between two. Its first line
is written when it begins, so that whoever reads the log sees a switch at once; the second when it ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

SILENCE_NS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """Answers of one node, monotonic ns; ``last_ns`` None: it goes on. ``sent_first_ns``: when its first probe left."""

    mac: str
    first_ns: int
    sent_first_ns: int
    last_ns: int | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Claimed:
    """A node announced the address: gratuitous ARP or unsolicited neighbour advertisement."""

    mac: str
    at_ns: int
    kind: str


@dataclass(frozen=True, slots=True)
class Carrying:
    """A node's kernel got the address, or lost it."""

    node: str
    at_ns: int
    on: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """A whole log."""

    spans: tuple[Span, ...]
    claims: tuple[Claimed, ...]
    carrying: tuple[Carrying, ...]


@dataclass(slots=True)
class AnswerLog:
    """Turns answers into lines. Answers come in the order in which they arrived."""

    lines: list[str] = field(default_factory=list)
    _open: Span | None = None
    _last_ns: int = 0
    _count: int = 0
    _carrying: dict[str, bool] = field(default_factory=dict)

    def answer(self, at_ns: int, sent_ns: int, mac: str) -> None:
        """An answer arrived to the probe of ``sent_ns``."""
        if self._open is not None and (self._open.mac != mac or at_ns - self._last_ns > SILENCE_NS):
            self._end()
        if self._open is None:
            self._open, self._count = Span(mac, at_ns, sent_ns), 0
            self.lines.append(_line("begin", at_ns=at_ns, sent_ns=sent_ns, mac=mac))
        self._last_ns = at_ns
        self._count += 1

    def tick(self, now_ns: int) -> None:
        """Time passes; a silence is said once."""
        if self._open is not None and now_ns - self._last_ns > SILENCE_NS:
            self._end()

    def claim(self, at_ns: int, mac: str, kind: str) -> None:
        """An announcement was heard."""
        self.lines.append(_line("claim", at_ns=at_ns, mac=mac, how=kind))

    def carries(self, at_ns: int, node: str, on: bool) -> None:
        """A node's kernel said that it has the address, or has it no more; a renewal is no news."""
        if self._carrying.get(node, False) != on:
            self._carrying[node] = on
            self.lines.append(_line("carry", at_ns=at_ns, node=node, on=on))

    def close(self) -> None:
        """The end of the log."""
        if self._open is not None:
            self._end()

    def take(self) -> str:
        """The new lines."""
        text = "".join(line + "\n" for line in self.lines)
        self.lines.clear()
        return text

    def _end(self) -> None:
        assert self._open is not None
        self.lines.append(_line("end", at_ns=self._last_ns, mac=self._open.mac, count=self._count))
        self._open = None


def read_answers(lines: Iterable[str]) -> Heard:
    """A log; a last line that is not whole yet is passed over."""
    spans: list[Span] = []
    claims: list[Claimed] = []
    carrying: list[Carrying] = []
    for line in lines:
        try:
            value: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        if value["kind"] == "begin":
            spans.append(Span(value["mac"], value["at_ns"], value["sent_ns"]))
        elif value["kind"] == "end":
            spans[-1] = Span(value["mac"], spans[-1].first_ns, spans[-1].sent_first_ns, value["at_ns"], value["count"])
        elif value["kind"] == "claim":
            claims.append(Claimed(value["mac"], value["at_ns"], value["how"]))
        else:
            carrying.append(Carrying(value["node"], value["at_ns"], value["on"]))
    return Heard(tuple(spans), tuple(claims), tuple(carrying))


def _line(kind: str, **values: Any) -> str:
    return json.dumps({"kind": kind, **values})
