"""What the parent says of the node's clock: the worst stamp that a camera gets, why it is unlocked, no old readings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from agent.clock.mapping import Mapping
from agent.clock.page import NO_EPOCH
from agent.parent import clock as clock_module
from agent.parent.clock import SILENT_NS, ClockView, NodeClock
from tests.agent.clock.test_page import PTP_NS, S, mapping, write
from tests.agent.parent.helpers import node_config
from touchline.timeline import ClockState, Timebase, monotonic_ns

SAID: dict[str, Any] = {
    "state": "locked", "bound_ns": 80, "epoch": 9, "ptp_ns": 5, "source": "ptp", "limit_ns": 7, "offset_ns": -12,
    "path_delay_ns": 1500, "residual_ns": 30.5, "grandmaster": "001122.fffe.334455", "port_state": "SLAVE",
    "servo": "locked", "timescale": "PTP", "trouble": "", "steps": [{"ptp_ns": 1, "text": "a step"}],
    "mappings": {"tsc": {}},
}  # fmt: skip
MONOTONIC, TSC = Timebase.MONOTONIC, Timebase.TSC


def look(folder: Path, *timebases: Timebase, **clock: Any) -> ClockView:
    return NodeClock(node_config(folder, source="ptp", **clock)).look(set(timebases))


def spoken(folder: Path, *mappings: Mapping, age_ns: int = 0, **changes: Any) -> None:
    write(folder, *mappings, written_ns=monotonic_ns() - age_ns, **{**SAID, **changes})


def test_the_system_clock_is_no_trouble_and_says_its_source(tmp_path: Path):
    view = NodeClock(node_config(tmp_path)).look({MONOTONIC})
    assert view.says == {"source": "system", "limit_ns": 2_000_000_000}
    assert (view.stamp.state, view.trouble) == (ClockState.UNLOCKED, "")


def test_before_the_clock_process_has_spoken(tmp_path: Path):
    view = look(tmp_path)
    assert view.says["source"] == "ptp"
    assert view.says["limit_ns"] == 1000
    assert view.stamp.epoch == NO_EPOCH
    assert view.trouble.startswith("clock unlocked: bound 1 s exceeds the limit 1 µs (the clock process has not spoken")


def test_what_it_says_goes_on_with_the_present_stamp_and_without_its_mappings(tmp_path: Path):
    spoken(tmp_path, mapping())
    begun_ns = monotonic_ns()
    view = look(tmp_path, MONOTONIC)
    assert view.stamp.state is ClockState.LOCKED
    assert view.stamp.epoch == 3
    assert begun_ns <= view.stamp.ptp_ns - PTP_NS <= monotonic_ns()
    assert view.trouble == ""
    assert "mappings" not in view.says
    assert view.says["grandmaster"] == "001122.fffe.334455"
    assert (view.says["offset_ns"], view.says["limit_ns"]) == (-12, 1000)


def test_the_worst_of_the_cameras_clocks_counts_and_only_those(tmp_path: Path):
    wide = mapping(bound_ns=3_099.0)
    good = mapping(TSC, ptp_ns=wide.ptp_ns)
    spoken(tmp_path, good, wide, mapping(Timebase.MONOTONIC_RAW, ptp_ns=wide.ptp_ns, locked=False))
    assert look(tmp_path, TSC).stamp.state is ClockState.LOCKED
    assert look(tmp_path, TSC, Timebase.MONOTONIC_RAW).stamp.state is ClockState.HOLDOVER
    view = look(tmp_path, TSC, MONOTONIC)
    assert view.stamp.state is ClockState.UNLOCKED
    assert re.fullmatch(r"clock unlocked: bound 3\.1\d* µs exceeds the limit 1 µs", view.trouble)


def test_a_camera_on_a_clock_that_nothing_maps_is_unlocked_and_why(tmp_path: Path):
    spoken(tmp_path, mapping())
    view = look(tmp_path, TSC)
    assert view.stamp.state is ClockState.UNLOCKED
    assert view.stamp.bound_ns > S
    assert view.trouble == "clock unlocked: nothing maps the TSC to PTP time yet"


def test_a_clock_that_maps_nothing_yet_says_why(tmp_path: Path):
    spoken(tmp_path, trouble="no ptp4l answers")
    assert look(tmp_path, bound_limit_us=5e6).trouble == (
        "clock unlocked: nothing maps this machine's clocks to PTP time yet (no ptp4l answers)"
    )


def test_a_silent_clock_process_measures_nothing(tmp_path: Path):
    spoken(tmp_path, mapping(age_ns=20 * S), age_ns=20 * S)
    view = look(tmp_path, MONOTONIC)
    for name in ("offset_ns", "path_delay_ns", "residual_ns"):
        assert view.says[name] is None
    assert view.says["grandmaster"] == "001122.fffe.334455", "the time that is held over is still that one's"
    assert re.fullmatch(r"not locked: the clock process has been silent for 2\d(\.\d+)? s", view.says["servo"])
    assert view.says["port_state"] == ""
    assert view.stamp.state is ClockState.UNLOCKED
    assert "silent for 2" in view.trouble


def test_it_may_be_late_by_a_few_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    late_ns = monotonic_ns() + SILENT_NS - S
    spoken(tmp_path, mapping())
    monkeypatch.setattr(clock_module, "monotonic_ns", lambda: late_ns)
    assert look(tmp_path, MONOTONIC).says["offset_ns"] == -12
