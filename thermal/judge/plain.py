"""Readings that need no physics: errno, range and age. Also how a value that is not believed is said."""

from __future__ import annotations

import errno
import math
from dataclasses import replace

from thermal.judge.rules import NS_PER_S, Rules
from thermal.judge.state import Memory, Span
from thermal.types import Failed, Fresh, Raw, Reading, Stale


def why_not(raw: Raw | None, span: Span) -> str:
    """Return why a raw value is no value at all; empty when it is one."""
    if raw is None:
        return "missing"
    if raw.value is None:
        return errno.errorcode.get(raw.errno, f"errno {raw.errno}")
    if not math.isfinite(raw.value):
        return f"reads {raw.value}"
    if not span[0] <= raw.value <= span[1]:
        return f"reads {raw.value:g}, outside {span[0]:g} to {span[1]:g}"
    return ""


def why_not_now(rules: Rules, at_ns: int, now_ns: int) -> str:
    """Return why a look at ``at_ns`` says nothing about now; empty when it does."""
    if at_ns > now_ns:
        return "read in the future"
    if now_ns - at_ns > rules.stale_ns:
        return f"read {(now_ns - at_ns) / NS_PER_S:.1f} s ago"
    return ""


def believe(value: float, at_ns: int) -> tuple[Memory, Reading]:
    """A good value."""
    fresh = Fresh(value, at_ns)
    return Memory(fresh), fresh


def doubt(rules: Rules, memory: Memory, why: str, now_ns: int) -> tuple[Memory, Reading]:
    """No good value: the last one as stale while it is young enough, then failed."""
    since_ns = now_ns if memory.failed_ns is None else memory.failed_ns
    memory = replace(memory, failed_ns=since_ns)
    last = memory.last
    if last is not None and 0 <= now_ns - last.at_ns <= rules.stale_ns:
        return memory, Stale(last.value, last.at_ns, why)
    return memory, Failed(since_ns, why)


def plain(rules: Rules, memory: Memory, raw: Raw | None, span: Span, when: tuple[int, int]) -> tuple[Memory, Reading]:
    """Judge one value by errno, range and age. ``when``: of the look, and now."""
    at_ns, now_ns = when
    why = why_not(raw, span) or why_not_now(rules, at_ns, now_ns)
    if why or raw is None or raw.value is None:
        return doubt(rules, memory, why, now_ns)
    return believe(raw.value, at_ns)
