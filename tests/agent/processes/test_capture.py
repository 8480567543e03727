"""Frames that nobody took between two lives of a capture, from time and rate, over an epoch's change by the landing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from agent.camera.pattern import PatternCamera
from agent.camera.port import Frame
from agent.processes.capture import _Landing
from agent.processes.child import Child
from agent.ring import RingWriter, layout
from tests.agent.parent.helpers import node_config
from tests.agent.ring.helpers import small_ring
from touchline.timeline import ClockState, Stamp, SystemClock, Timebase

S = 1_000_000_000
LANDED_NS = 50 * S
CAMERA_DROPS = layout.word_of(layout.WRITER, "camera_drops", layout.WRITER_OFFSET)


class At:
    """PTP time stands still in epoch 4."""

    def now(self) -> Stamp:
        return self.at(0)

    def at(self, base_ns: int, timebase: Timebase = Timebase.MONOTONIC) -> Stamp:
        return Stamp(1_000 * S, 100, 4, ClockState.LOCKED)


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch):
    """A ring with one frame of an earlier life, exposed at 990 s of epoch 4, landed at 50 s."""
    ring = small_ring()
    writer = RingWriter(ring)
    writer.acquire()
    monkeypatch.setattr("agent.ring.writer.monotonic_ns", lambda: LANDED_NS)
    writer.commit(7, Stamp(990 * S, 100, 4, ClockState.LOCKED))
    yield writer
    ring.close()


def landing(writer: RingWriter, folder: Path) -> tuple[_Landing, dict[str, list[float]]]:
    took: dict[str, list[float]] = {}
    child = Child.__new__(Child)
    cast(Any, child).took = lambda stage, ms: took.setdefault(stage, []).append(ms)
    camera = PatternCamera(node_config(folder).camera[0], SystemClock())
    return _Landing(child, camera, writer, At()), took


def test_the_last_frame_of_any_writer_is_known(writer: RingWriter):
    assert writer.last_landed() == (Stamp(990 * S, 100, 4, ClockState.LOCKED), LANDED_NS)
    empty = small_ring()
    assert RingWriter(empty).last_landed() is None
    empty.close()


@pytest.mark.parametrize("case", [(4, 1_000, 99, 1199), (5, 5_000_000, 10, 1199), (5, 3, 0, 0)], ids=str)
def test_an_outage_counts_its_frames(writer: RingWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case):
    """Ten seconds at 120 frames/s, by the stamps of one epoch or by the landings of two."""
    epoch, ptp_s, passed_s, missing = case
    one, took = landing(writer, tmp_path)
    monkeypatch.setattr("agent.processes.capture.monotonic_ns", lambda: LANDED_NS + passed_s * S)
    writer.acquire()
    one._commit(Frame(0, Stamp(ptp_s * S, 100, epoch, ClockState.LOCKED)))
    assert writer._words[CAMERA_DROPS] == missing
    assert ("land" in took) == (epoch == 4), "times of two epochs are not subtracted"
