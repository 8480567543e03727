"""A clock process that does as a file says: for tests of what the other processes make of it.

``install(folder)`` gives a folder for PYTHONPATH; children started under it run this in place of the real one. Orders
stand in ``clock-orders.json`` of the node's run folder: ``bound_ns`` of the mapping (absent: nothing is mapped),
``epoch``, ``events`` (sent once for each new ``number``).
"""

from __future__ import annotations

import json
import os
import select
from pathlib import Path
from typing import Any

from agent import control
from agent.clock.mapping import Growth, Mapping
from agent.clock.page import Page, write_page
from agent.processes.child import Child
from touchline.timeline import SystemClock, Timebase, monotonic_ns

GRANDMASTER = "001122.fffe.334455"
_S = 1_000_000_000
_SITE = """
import sys, types

def run_clock(child):
    from tests.agent.stand_in_clock import run_clock
    run_clock(child)

sys.modules["agent.processes.clock"] = stand_in = types.ModuleType("agent.processes.clock")
stand_in.run_clock = run_clock
"""


def install(folder: Path) -> str:
    """Make the folder."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SITE)
    return str(folder)


def order(run_dir: Path, **orders: Any) -> None:
    """Tell it what to do from now on."""
    run_dir.mkdir(parents=True, exist_ok=True)
    fresh = run_dir / "clock-orders.new"
    fresh.write_text(json.dumps(orders))
    fresh.replace(run_dir / "clock-orders.json")


def run_clock(child: Child) -> None:
    """Write the page that is ordered, ten times a second, until the parent says stop."""
    run_dir = child.config.node.run_dir
    system, number = SystemClock(), 0
    child.ready()
    while not child.stopping:
        orders = json.loads((run_dir / "clock-orders.json").read_text())
        if orders.get("number", 0) > number:
            number = orders["number"]
            control.send(child.control, {"type": "events", "events": orders["events"]})
        now_ns = monotonic_ns()
        status = {"source": "ptp", "grandmaster": GRANDMASTER, "offset_ns": 12, "state": "as ordered"}
        write_page(run_dir, Page(os.getpid(), now_ns, _mappings(orders, now_ns, system.at(now_ns).ptp_ns), status))
        select.select([child.control], [], [], 0.1)
        child.tick()


def _mappings(orders: dict[str, Any], now_ns: int, ptp_ns: int) -> dict[Timebase, Mapping]:
    if "bound_ns" not in orders:
        return {}
    return {
        Timebase.MONOTONIC: Mapping(
            timebase=Timebase.MONOTONIC,
            base_ns=now_ns,
            ptp_ns=ptp_ns - 3600 * _S,  # another time than the system's: an hour back
            rate_ppb=0.0,
            newest_ns=now_ns,
            bound_ns=float(orders["bound_ns"]),
            growth=Growth(1.0, 10.0),
            locked=True,
            fresh_ns=3 * _S,
            limit_ns=1000,
            epoch=int(orders.get("epoch", 1)),
        )
    }
