"""Wait for a condition in an emulated node, with a deadline and with its own words in the failure."""

from __future__ import annotations

from collections.abc import Callable

from hil.virtual.node import VirtualNode
from touchline.timeline import monotonic_ns, sleep_until

_POLL_NS = 200_000_000


def until(condition: Callable[[], bool], what: str, node: VirtualNode, timeout_s: float = 120.0) -> float:
    """Return the seconds it took; the agent's status is in the failure, its journal in the report."""
    began_ns = monotonic_ns()
    while not condition():
        node.machine.check()
        waited_s = (monotonic_ns() - began_ns) / 1e9
        assert waited_s < timeout_s, f"no {what} within {timeout_s:g} s; the agent says {node.agent_status()}"
        sleep_until(monotonic_ns() + _POLL_NS)
    return (monotonic_ns() - began_ns) / 1e9


def pause(seconds: float) -> None:
    """Let a fault last: real time, since the guest's own clock runs on it."""
    sleep_until(monotonic_ns() + int(seconds * 1e9))
