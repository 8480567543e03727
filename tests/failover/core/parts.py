"""What bench, world and their tests share: a fit node, links, a small witness, a node's life, a hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from failover.core.step import State
from failover.core.types import NS_PER_MS, AskWitness, Health

MS = NS_PER_MS
FIT = Health(cameras=2, clock_ok=True, publishing=True)  # as its publisher says


class BrokenRule(AssertionError):
    """What must never be, was."""


@dataclass
class Link:
    """One direction. Each message takes ``delay`` and up to ``jitter`` more, so jitter above the spacing reorders."""

    delay_ns: int = MS // 4
    jitter_ns: int = MS // 10
    loss: float = 0.0
    double: float = 0.0
    up: bool = True


Answer = Callable[[bool, int, str, int], None]


@dataclass(frozen=True)
class Asked:
    """A question as it comes to the witness. ``given``: the epoch that the asker's twin gave back, in which session."""

    node: str
    session: int
    what: AskWitness
    given: tuple[int, int] = (0, 0)


class LeaseService(Protocol):
    """What answers at the rack; times are of the witness's clock."""

    def ask(self, asked: Asked, now_ns: int, answer: Answer) -> None:
        """Call ``answer`` with granted, epoch, holder, and lease or wait in ns; once, or again when it may be had."""
        ...


@dataclass
class TinyWitness:
    """The lease rules of the plan and nothing else. ``file``: the epoch that outlives it; None: it never granted."""

    lease_ns: int
    file: list[int]
    opens_ns: int
    holder: str = ""
    session: int = 0
    until_ns: int = 0

    def ask(self, asked: Asked, now_ns: int, answer: Answer) -> None:
        answer(*self.judge(asked, now_ns))

    def judge(self, asked: Asked, now_ns: int) -> tuple[bool, int, str, int]:
        node, session, ask = asked.node, asked.session, asked.what
        epoch = self.file[-1] if self.file else 0
        if self.holder and now_ns >= self.until_ns:  # a lapsed lease may be renewed by its holder under its epoch
            mine_again = self.holder == node and self.session == session and ask.what == "claim"
            self.holder = self.holder if mine_again else ""
        ours = self.holder == node and self.session == session
        if ask.what == "release" and ours and ask.epoch == epoch:
            self.holder, ours = "", False
        if ask.what == "claim" and self.holder not in ("", node) and asked.given == (epoch, self.session):
            self.holder = ""
        if ask.what == "claim" and now_ns >= self.opens_ns and (not self.holder or self.holder == node):
            if not ours:
                epoch = max(epoch, ask.epoch) + 1
                self.file.append(epoch)
            self.holder, self.session, self.until_ns = node, session, now_ns + self.lease_ns
            return True, epoch, node, self.lease_ns
        return False, epoch, self.holder, max(0, self.until_ns - now_ns) if self.holder else 0


@dataclass
class Life:
    """One start of a node's service."""

    session: int
    state: State
    twin_session: int = 0
    twin_numbers: set[int] = field(default_factory=set)
    inbox: list[Callable[[], None]] = field(default_factory=list)
    asked: int = 0
    gave: int = 0  # the highest epoch that this node gave back
    given: tuple[int, int] = (0, 0)  # and its twin, in which session


@dataclass
class Held:
    """A hold of the exclusive things; ``until_ns`` in true time."""

    node: str
    session: int
    epoch: int
    until_ns: int
