"""One demo from start to figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from calibration.camera_model import CameraCalibration
from hil.demo.plan import DemoPlan
from hil.demo.result import Stored, read_store, result_of
from hil.demo.stage import Stage
from hil.venue.players import Venue
from hil.venue.scoring import position_error
from touchline.errors import GateError, TouchlineError
from touchline.timeline import monotonic_ns, sleep_until

LOOK_NS: Final = 250_000_000
SETTLE_S: Final = 30.0

Watcher = Callable[[Stage, float], None]


def run_demo(plan: DemoPlan, folder: Path, watch: Watcher) -> dict[str, Any]:
    """Run the demo and return its result document; ``watch`` is called a few times a second with the elapsed time."""
    with Stage(plan, folder) as stage:
        stage.await_frames()
        begin_ns = monotonic_ns()
        end_ns = begin_ns + int(plan.seconds * 1e9)
        while (now_ns := monotonic_ns()) < end_ns:
            stage.check_alive()
            watch(stage, (now_ns - begin_ns) / 1e9)
            sleep_until(min(end_ns, now_ns + LOOK_NS))
        code = stage.stop_agent()
        seconds = (monotonic_ns() - begin_ns) / 1e9
        if code != 0:
            raise TouchlineError(f"the agent ended with code {code}:\n  " + "\n  ".join(stage.log("agent")[-8:]))
        status = stage.status()
        _await_records(stage, status.get("queued", 0))  # what reached the spool; the rest is lost and will show
        stage.stop_aggregator()
        stored = read_store(stage.database)
    return result_of(status, stored, _error(plan, stored), seconds)


def _await_records(stage: Stage, expected: int) -> None:
    """Wait until the aggregator has stored what was acknowledged, or for the settling time; the figures tell which."""
    deadline_ns = monotonic_ns() + int(SETTLE_S * 1e9)
    while monotonic_ns() < deadline_ns:
        if stage.stats().get("records", {}).get("unique", 0) >= expected:
            return
        sleep_until(monotonic_ns() + LOOK_NS // 5)


def _error(plan: DemoPlan, stored: Stored) -> dict[str, float | None] | None:
    """Agreement with the truth; None without one. ``matched_share`` of the records stand within 2 m of a person,
    ``found_share`` of the people in view have a record: errors alone would hide ghosts and misses."""
    if not plan.simulated or not len(stored.records):
        return None
    cameras = {camera.number: CameraCalibration.load(camera.calibration) for camera in plan.cameras}
    found = position_error(stored.records, Venue(plan.seed), cameras)
    figures = {**found.as_dict(), "matched_share": found.matched_share, "found_share": found.found_share}
    return {key: round(value, 4) if math.isfinite(value) else None for key, value in figures.items()}


def judge(result: dict[str, Any]) -> None:
    """Raise GateError when the run broke its promise: nothing lost, nothing doubled, something received."""
    records = result["records"]
    if records["lost"] != 0 or records["duplicated"] or not records["received"]:
        raise GateError(
            f"{records['lost']} records lost, {records['duplicated']} duplicated, {records['received']} received",
            hint="run again with --keep DIR and look at agent.log and aggregator.log there",
        )
