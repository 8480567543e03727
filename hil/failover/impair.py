"""What a bad link does to frames: loss, bursts of it, delay, jitter, duplication, reordering, a cut. Pure, seeded.

One :class:`Lane` is one direction. It says of each frame when copies of it are to be sent on; the relay does it.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Impairment:
    """Of one direction; the default changes nothing.

    ``burst``: mean number of frames lost in a row; 1 is independent loss. ``reorder_pct`` of the frames are held back
    by ``reorder_ms`` more, so that others pass them. ``peer``: a MAC address; only frames from or to it are touched.
    """

    cut: bool = False
    loss_pct: float = 0.0
    burst: float = 1.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    duplicate_pct: float = 0.0
    reorder_pct: float = 0.0
    reorder_ms: float = 2.0
    peer: str = ""

    def __post_init__(self) -> None:
        for name in ("loss_pct", "duplicate_pct", "reorder_pct"):
            if not 0.0 <= getattr(self, name) <= 100.0:
                raise ValueError(f"{name} {getattr(self, name):g} is not between 0 and 100")
        if min(self.delay_ms, self.jitter_ms, self.reorder_ms) < 0 or self.burst < 1:
            raise ValueError("delays are 0 or more, burst 1 or more")
        if self.peer:
            mac_bytes(self.peer)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Impairment:
        """From a control message; raises ValueError for what is unknown or out of range."""
        unknown = set(value) - {one.name for one in fields(cls)}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        return cls(**value)


@dataclass(slots=True)
class Counters:
    """Of one direction, frames."""

    seen: int = 0
    sent: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    refused: int = 0  # by the interface: it was down, or full

    def as_dict(self) -> dict[str, int]:
        """Plain numbers."""
        return asdict(self)


@dataclass(slots=True)
class Lane:
    """One direction of a link: a frame comes, the moments at which copies of it leave come back.

    Delay and jitter keep the order of frames, as a queue does; only ``reorder_pct`` changes it.
    """

    seed: int
    impairment: Impairment = field(default_factory=Impairment)
    counters: Counters = field(default_factory=Counters)
    _random: random.Random = field(init=False)
    _peer: bytes = b""
    _losing: bool = False
    _last_due_ns: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.set(self.impairment)

    def set(self, impairment: Impairment) -> None:
        """Change what happens from here on; what has been delayed stays delayed."""
        self.impairment = impairment
        self._peer = mac_bytes(impairment.peer) if impairment.peer else b""
        self._losing = False

    def change(self, **changes: Any) -> None:
        """Change some of it."""
        self.set(replace(self.impairment, **changes))

    def offer(self, now_ns: int, frame: bytes) -> tuple[int, ...]:
        """When copies of this frame leave: none (lost), one, or two."""
        state, counters = self.impairment, self.counters
        counters.seen += 1
        if self._peer and self._peer not in (frame[:6], frame[6:12]):
            return (now_ns,)
        if state.cut or (state.loss_pct and self._lose(state)):
            counters.lost += 1
            return ()
        due_ns = self._due(state, now_ns)
        if state.duplicate_pct and self._chance(state.duplicate_pct):
            counters.duplicated += 1
            return due_ns, due_ns
        return (due_ns,)

    def _lose(self, state: Impairment) -> bool:
        """Two states: while losing the run goes on with 1 - 1/burst; it begins so that the mean is loss_pct."""
        share = state.loss_pct / 100.0
        if share >= 1.0:
            return True
        begin = share if state.burst == 1.0 else share / (state.burst * (1.0 - share))
        stay = share if state.burst == 1.0 else 1.0 - 1.0 / state.burst
        self._losing = self._random.random() < (stay if self._losing else min(1.0, begin))
        return self._losing

    def _due(self, state: Impairment, now_ns: int) -> int:
        wait_ms = state.delay_ms
        if state.jitter_ms:
            wait_ms = max(0.0, wait_ms + self._random.uniform(-state.jitter_ms, state.jitter_ms))
        due_ns = now_ns + round(wait_ms * NS_PER_MS)
        if state.reorder_pct and self._chance(state.reorder_pct):
            self.counters.reordered += 1
            return due_ns + round(state.reorder_ms * NS_PER_MS)
        self._last_due_ns = max(self._last_due_ns, due_ns)
        return self._last_due_ns

    def _chance(self, percent: float) -> bool:
        return self._random.random() * 100.0 < percent


def mac_bytes(text: str) -> bytes:
    """``02:00:00:00:00:01`` as six bytes; ValueError for anything else."""
    value = bytes.fromhex(text.replace(":", ""))
    if len(value) != 6:
        raise ValueError(f'"{text}" is no MAC address')
    return value
