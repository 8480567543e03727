"""A value that stands still, to the bit, while what must move it moves: frozen. For zones and for the tachometer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from thermal.judge.plain import believe
from thermal.judge.rules import NS_PER_S
from thermal.judge.state import Memory, Span, Still
from thermal.types import Reading, Stale


@dataclass(frozen=True, slots=True)
class Movers:
    """What must move a value: each one's value now (None: unknown) and how far is far; the patience; their name."""

    values: tuple[tuple[float | None, float], ...]
    after_ns: int
    name: str


def stand(known: Still, value: float, movers: Movers, at_ns: int) -> Still:
    """Keep account of what moved while this value did not."""
    same = value == known.same
    before = known.spans if same and len(known.spans) == len(movers.values) else (None,) * len(movers.values)
    spans = tuple(_widen(span, one) for span, (one, _) in zip(before, movers.values, strict=True))
    moved = any(_width(span) >= far for span, (_, far) in zip(spans, movers.values, strict=True))
    since_ns = known.moved_ns if same and known.moved_ns is not None else at_ns
    return Still(value, spans, since_ns if moved else None)


def believe_moving(known: Still, memory: Memory, movers: Movers, when: tuple[int, int]) -> tuple[Memory, Reading]:
    """A value that is good but may be frozen: then it is stale since the others moved. ``when``: the look, and now."""
    (at_ns, now_ns), value, moved_ns = when, known.same, known.moved_ns
    assert value is not None  # stand() has just set it
    if moved_ns is None or at_ns - moved_ns < movers.after_ns:
        return believe(value, at_ns)
    memory = replace(memory, failed_ns=now_ns if memory.failed_ns is None else memory.failed_ns)
    why = f"frozen at {value:g}: {movers.name} moved {(at_ns - moved_ns) / NS_PER_S:.0f} s ago, it did not"
    return memory, Stale(value, moved_ns, why)


def _widen(span: Span | None, value: float | None) -> Span | None:
    if value is None:
        return span
    return (value, value) if span is None else (min(span[0], value), max(span[1], value))


def _width(span: Span | None) -> float:
    return 0.0 if span is None else span[1] - span[0]
