"""The clock process: keeps the page of the clock, from which all others of this node make their stamps (CLK-1)."""

from __future__ import annotations

import select
from dataclasses import asdict

from agent import control
from agent.clock.core import ClockEvent
from agent.clock.service import ClockService
from agent.processes.child import Child
from touchline.timeline import monotonic_ns


def run_clock(child: Child) -> None:
    """Step until the parent says stop; a change of ptp4l's state and the parent's word wake it at once."""

    def say(events: list[ClockEvent]) -> None:
        control.send(child.control, {"type": "events", "events": [asdict(event) for event in events]})

    service = ClockService(child.config, say)
    try:
        service.open()
        child.ready()
        while not child.stopping:
            next_ns = service.step(monotonic_ns())
            wait_s = max(0.0, (next_ns - monotonic_ns()) * 1e-9)
            select.select([child.control.fileno(), service.fileno()], [], [], wait_s)
            child.tick()
    finally:
        service.close()
        child.report()
