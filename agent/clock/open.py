"""The clock that a node's configuration asks for: one factory for every process of the agent."""

from __future__ import annotations

from agent.clock.page import PageClock
from touchline.config import NodeConfig
from touchline.timeline import Clock, SystemClock


def open_clock(config: NodeConfig) -> Clock:
    """Return the clock of ``[clock] source``; it needs no closing. ``ptp`` follows the clock process by its page."""
    return PageClock(config.node.run_dir) if config.clock.source == "ptp" else SystemClock()
