"""One run of ffmpeg after the other onto one shelf, also when the disk holds the first one up."""

from __future__ import annotations

import gc
import os
import signal
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.camera.port import PixelFormat
from agent.record import run as run_module
from agent.record.command import Coding, Picture, arguments
from agent.record.files import Bounds, Shelf
from agent.record.probe import Found
from agent.record.read import read_recording
from agent.record.recorder import Recorder
from agent.record.run import Plan, Run
from agent.ring import RingFrame, RingReader, RingWriter
from tests.agent.record.helpers import HEAD, PERIOD_US, PTP_NS, wait_for
from tests.agent.ring.helpers import small_ring, write
from touchline.timeline import ClockState, Stamp, monotonic_ns

PICTURE = Picture(64, 64, PixelFormat.GRAY8, 50.0)
CODING = Coding(preset="ultrafast")
DEADLINE_S = 60.0


@dataclass
class Frame:
    """What a run asks of a frame of the ring."""

    sequence: int

    @property
    def stamp(self) -> Stamp:
        return Stamp(PTP_NS + self.sequence * PERIOD_US * 1000, 250, 1, ClockState.LOCKED)

    landed_monotonic_ns = monotonic_ns()
    payload = memoryview(bytes(64 * 64))

    def still_valid(self) -> bool:
        return True


class StallingShelf(Shelf):
    """Its disk takes ``good`` writes, then holds whoever writes until ``free`` is set."""

    def __init__(self, folder: Path, good: int) -> None:
        super().__init__(folder, Bounds(1 << 30), lambda *_: None)
        self.good = good
        self.free, self.stalled = threading.Event(), threading.Event()
        self.writers: list[int] = []
        self.inside = self.most_inside = 0

    def _write(self, data: bytes) -> None:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.writers.append(threading.get_ident())
        if len(self.writers) > self.good:
            self.stalled.set()
            assert self.free.wait(DEADLINE_S)
        super()._write(data)
        self.inside -= 1


def begin(shelf: Shelf, program: str = "ffmpeg") -> Plan:
    found = Found("libx264", tuple(arguments(program, "libx264", CODING, PICTURE)))
    return Plan(HEAD, PICTURE, CODING, found, False, (shelf,))


def feed(run: Run, numbers: range) -> None:
    assert run.encoder.pump(DEADLINE_S)
    for number in numbers:
        run.offer(Frame(number))  # type: ignore[arg-type]
        assert run.encoder.pump(DEADLINE_S)


def frames_of(folder: Path) -> dict[str, list[int]]:
    """The frames in the files, by stream; each file is whole."""
    found = {}
    for path in folder.glob("*.mp4"):
        one = read_recording(path)
        assert one is not None and one.torn_bytes == one.damaged_bytes == 0
        found[one.head.stream] = one.frames["sequence"].tolist()
    return found


def test_a_recorder_that_has_not_begun_yet_works_the_ring_off_too(tmp_path):
    """Told to stop before its first run: its program came up late. A stopped standby has nothing to do there."""
    plan = begin(Shelf(tmp_path, Bounds(1 << 30), lambda *_: None))
    ring = small_ring()
    writer, reader = RingWriter(ring), RingReader(ring, 1)
    recorder, standing = (Recorder(one, reader, 6, lambda *_: None) for one in (plan, replace(plan, stopped=True)))
    assert [one.caught_up for one in (recorder, standing)] == [True, True]
    write(writer)
    assert [one.caught_up for one in (recorder, standing)] == [False, True]
    reader.close()
    ring.close()


def test_the_frame_of_these_tests_is_the_rings():
    assert {"sequence", "stamp", "landed_monotonic_ns", "payload", "still_valid"} <= set(dir(RingFrame))


@pytest.fixture
def stall(tmp_path, monkeypatch):
    """A run that the disk holds up, abandoned as the recorder does it."""
    monkeypatch.setattr(run_module, "ABANDON_S", 0.05)
    shelf = StallingShelf(tmp_path, good=5)
    plan = begin(shelf)
    first = Run(plan, lambda: (True, 7), primed=False)
    feed(first, range(60))
    assert shelf.stalled.wait(DEADLINE_S)
    code, wrong = first.abandon()
    assert code < 0 and "the disk is stuck" in wrong
    yield shelf, plan, first
    shelf.free.set()
    assert first.sink.join(DEADLINE_S)
    shelf.close()


def test_two_runs_never_write_one_shelf_however_long_the_disk_stands_still(stall, tmp_path):
    shelf, plan, first = stall
    lost = first.fed - first.sink.frames
    assert lost > 0
    stream = first.head.stream
    second = Run(plan, lambda: (True, 7), primed=False)
    feed(second, range(100, 130))
    assert not second.sink.join(0.2) and len(set(shelf.writers)) == 1
    shelf.free.set()
    assert second.finish(DEADLINE_S) == (0, "")
    assert first.sink.ended and shelf.most_inside == 1
    turns = [writer for at, writer in enumerate(shelf.writers) if writer != shelf.writers[at - 1] or not at]
    assert len(turns) == 2  # the first one's, then the second one's
    shelf.close()
    found = frames_of(tmp_path)
    assert found[second.head.stream] == list(range(100, 130))
    assert found[stream] == list(range(first.fed - lost))  # what was being written is whole, nothing came after it
    assert shelf.counters["frames"] + lost == first.fed + second.fed


def test_a_late_thread_reads_from_its_own_descriptor_and_gives_it_back(stall, tmp_path):
    """Its ffmpeg is gone and forgotten; the number of its pipe belongs to the next one."""
    shelf, plan, first = stall
    sink, output = first.sink, first.encoder.output
    del first
    gc.collect()
    second = Run(plan, lambda: (True, 7), primed=False)
    taken = {second.encoder.output, second.sink._output}
    assert output in taken or sink._output not in taken
    assert sink._output != second.encoder.output
    feed(second, range(30))
    shelf.free.set()
    assert sink.join(DEADLINE_S)
    assert second.finish(DEADLINE_S) == (0, "")
    assert frames_of(tmp_path)[second.head.stream] == list(range(30))


def test_a_run_that_was_given_up_before_its_turn_writes_nothing(stall, tmp_path):
    shelf, plan, first = stall
    second = Run(plan, lambda: (True, 7), primed=False)
    feed(second, range(100, 120))
    assert "the disk is stuck" in second.abandon()[1]
    assert second.sink.frames == 0
    shelf.free.set()
    assert first.sink.join(DEADLINE_S) and second.sink.join(DEADLINE_S)
    shelf.close()
    assert list(frames_of(tmp_path)) == [first.head.stream]


def test_output_that_a_child_of_the_program_keeps_open_holds_nobody_up(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "ABANDON_S", 0.05)
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nsleep 600 &\nexec ffmpeg "$@"\n')
    program.chmod(0o755)
    shelf = Shelf(tmp_path / "rec", Bounds(1 << 30), lambda *_: None)
    plan = begin(shelf, str(program))
    first = Run(plan, lambda: (True, 7), primed=False)
    try:
        feed(first, range(30))
        wait_for(lambda: first.sink.frames)  # so the child is there too
        assert "was not written in time" in first.abandon()[1]
        assert first.sink.join(DEADLINE_S)
        second = Run(replace(plan, found=begin(shelf).found), lambda: (True, 7), primed=False)
        feed(second, range(100, 120))
        assert second.finish(DEADLINE_S) == (0, "")
        assert shelf.counters["frames"] == first.sink.frames + 20
    finally:
        os.killpg(first.encoder.pid, signal.SIGKILL)  # the sleeping child: it has a session with ffmpeg
        shelf.close()
