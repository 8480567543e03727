"""The process over a real pseudo-terminal that is read at 1 Mbaud: everything fits, overruns and losses are counted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent import control
from agent.processes.child import Child
from agent.processes.spec import ChildSpec, Role
from agent.processes.uart import LineMaker, run_uart
from agent.uart.feed import Feed, Shot, Sight
from agent.uart.line import Box, LineFlag, decode
from agent.uart.scan import Anew, Bad, Tally
from tests.agent.parent.helpers import node_config
from tests.agent.uart.values import People
from tests.agent.uart.wire import FarEnd
from touchline.config import NodeConfig
from touchline.timeline import ClockState, Stamp, SystemClock, monotonic_ns, sleep_until

MS = 1_000_000
BOX = Box(4, 0.5, 10.0, 20.0, 30.0, 60.0)
PEOPLE = People([(4, 0, (10.0, 20.0, 40.0, 80.0)), (5, -1, (0.0, 0.0, 9.0, 9.0)), (6, -1, (0.0, 0.0, 9.0, 9.0))])


def sight(frame: int, camera: int = 1, **changes: Any) -> Sight:
    stamp = Stamp(10**18 + frame, 100, 0, ClockState.LOCKED)
    return Sight(camera, frame, stamp, True, 3, BOX, monotonic_ns())._replace(**changes)


def never_old() -> int:
    """When a frame was seen that is never too old for the line, however long this machine takes."""
    return monotonic_ns() + 10**12


class Line:
    """A process of the serial line in a thread, its port a PTY; inference's and parent's ends are here."""

    def __init__(self, folder: Path, port: Path, **uart: Any) -> None:
        config = node_config(folder).model_dump()
        self.config = NodeConfig.model_validate({**config, "uart": {"port": str(port), "queue_lines": 256, **uart}})
        self.near, link = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.feed = Feed(self.near)
        self.parent, end = control.pair()
        self.child = Child.__new__(Child)
        self.child.config = self.config
        self.child.spec = ChildSpec(Role.UART, "node.toml", -1, "00" * 16, link_fd=link.detach())
        self.child.counters, self.child.stages, self.child.extra = {}, {}, {}
        self.child.control, self.child.inbox = end, []
        self.child.stopping, self.child._reported_ns = False, 0
        end.setblocking(False)
        self.thread = threading.Thread(target=run_uart, args=(self.child,), name="uart")

    def start(self) -> None:
        self.thread.start()

    def tell(self, frame: int, camera: int = 1, seen_ns: int | None = None) -> bool:
        """A frame comes through the pipeline."""
        shot = Shot(camera, frame, sight(frame).stamp, True, monotonic_ns() if seen_ns is None else seen_ns)
        return self.feed.tell(shot, PEOPLE, np.array([0.5], np.float32))

    def said(self) -> dict[str, Any]:
        """What it says of itself now."""
        return dict(self.child.extra.get("uart", {}))

    def until(self, **wanted: Any) -> None:
        deadline_ns = monotonic_ns() + 60_000 * MS
        while not all(self.said().get(name) == value for name, value in wanted.items()):
            assert monotonic_ns() < deadline_ns, f"{wanted} did not come: {self.said()}"
            sleep_until(monotonic_ns() + 5 * MS)

    def settled(self, offered: int) -> bool:
        """Whether each of so many lines is out or dropped."""
        said = self.said()
        return offered == sum(int(said[name]) for name in ("lines", "dropped_queue", "dropped_old", "dropped_port"))

    def await_settled(self, offered: int) -> None:
        deadline_ns = monotonic_ns() + 60_000 * MS
        while not self.settled(offered):
            assert monotonic_ns() < deadline_ns, f"of {offered} lines: {self.said()}"
            sleep_until(monotonic_ns() + 5 * MS)

    def stop(self) -> None:
        if self.thread.is_alive():
            control.send(self.parent, {"type": "stop"})
            self.thread.join(60.0)
        assert not self.thread.is_alive()

    def close(self) -> None:
        self.stop()
        for end in (self.near, self.parent, self.child.control):
            end.close()


@pytest.fixture
def far() -> Iterator[FarEnd]:
    with FarEnd() as end:
        yield end


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    made: list[Line] = []

    def line(port: Path, **uart: Any) -> Line:
        made.append(Line(tmp_path, port, **uart))
        made[-1].start()
        return made[-1]

    yield line
    for one in made:
        one.close()


def test_two_cameras_at_120_over_one_mbaud(start: Any, far: FarEnd):
    """A second and a half of match: each line arrives whole, in order, once."""
    line = start(far.path)
    line.until(open=True)
    began_ns = monotonic_ns()
    for frame in range(180):
        sleep_until(began_ns + frame * 1_000_000_000 // 120)
        assert line.tell(frame, 1) and line.tell(frame, 2)
    tally = Tally()
    line.await_settled(360)
    line.stop()
    dropped = line.said()["dropped_old"] + line.said()["dropped_queue"]  # none, unless the test's machine stalls
    far.await_lines(360 - dropped)
    for one in far.found():
        tally.take(one)
    assert not tally.bad and tally.edge_bytes == 0
    assert tally.lines + dropped == 360 and tally.lost <= dropped
    assert line.child.counters["uart_lines"] == tally.lines
    assert sorted(tally.cameras) == [1, 2]
    for camera in tally.cameras.values():  # what was dropped before its first line or behind its last is no hole
        assert 180 - dropped <= camera.lines + camera.missing <= 180


def test_a_reader_that_stops_costs_lines_and_never_the_pipeline(start: Any, far: FarEnd):
    """The wire fills up: the newest wait, what is dropped is counted, and nothing is torn when it goes on."""
    line = start(far.path, queue_lines=16)
    line.until(open=True)
    far.paused.set()
    offered, deadline_ns = 0, monotonic_ns() + 30_000 * MS
    while line.said()["dropped_queue"] < 50 and monotonic_ns() < deadline_ns:
        offered += line.tell(offered)
        sleep_until(monotonic_ns() + 2 * MS)  # fewer than the pace lets through: it is the wire that is full
    assert line.said()["dropped_queue"] >= 50
    far.paused.clear()
    line.await_settled(offered)
    line.stop()
    said = line.said()
    lines = far.await_lines(said["lines"])
    assert offered == said["lines"] + said["dropped_queue"] + said["dropped_old"] + said["dropped_port"]
    assert not [one for one in far.found() if isinstance(one, Bad)]
    assert len(lines) == said["lines"]
    tally = Tally()
    for one in far.found():
        tally.take(one)
    assert tally.missing <= offered - said["lines"]
    assert line.child.counters["dropped_uart_queue"] == said["dropped_queue"]


def test_an_adapter_is_unplugged_and_plugged_in(start: Any, tmp_path: Path):
    """Its other end closes: trouble and counted drops; another one under the same name: lines again."""
    name = tmp_path / "ttyUSB0"
    first = FarEnd()
    with first:
        name.symlink_to(first.path)
        line = Line(tmp_path, Path("/dev/ttyUSB0"))
        line.config = line.config.model_copy(update={"uart": line.config.uart.model_copy(update={"port": str(name)})})  # type: ignore[union-attr]
        line.child.config = line.config
        line.start()
        line.until(open=True)
        assert line.tell(1, seen_ns=never_old())
        first.await_lines(1)
        line.until(lines=1)
        name.unlink()  # the kernel may give the number of its terminal to somebody else
    line.until(open=False)
    assert any(word in line.said()["trouble"] for word in ("gone", "lost", "is not there"))
    line.tell(2, seen_ns=never_old())
    line.until(dropped_port=1)
    with FarEnd() as second:
        name.symlink_to(second.path)
        line.until(open=True)
        line.tell(3, seen_ns=never_old())
        (told,) = second.await_lines(1)
        assert told.frame == 3
        assert isinstance(second.found()[0], Anew)
        line.until(lines=2)
        line.close()
    assert line.said()["times_lost"] == 1 and line.said()["dropped_port"] == 1


def test_without_a_port_it_lives_and_says_why(start: Any):
    line = start(Path("/dev/tty-that-is-not-there"))
    why = "/dev/tty-that-is-not-there is not there: No such file or directory — plug it in, or mend [uart] port"
    line.until(open=False, trouble=why)
    line.tell(1)
    line.until(dropped_port=1)
    line.stop()
    assert line.child.counters["dropped_uart_port"] == 1


def test_the_role_is_told(start: Any, far: FarEnd):
    line = start(far.path)
    line.until(open=True)
    line.tell(1, seen_ns=never_old())
    far.await_lines(1)
    control.send(line.parent, {"type": "role", "role": "standby", "epoch": 2})
    deadline_ns, frame = monotonic_ns() + 60_000 * MS, 2
    while not any(LineFlag.STANDBY in one.flags for one in far.lines()) and monotonic_ns() < deadline_ns:
        line.tell(frame)
        frame += 1
        sleep_until(monotonic_ns() + 20 * MS)
    flags = [LineFlag.STANDBY in one.flags for one in far.lines()]
    assert flags[0] is False and flags[-1] is True and flags == sorted(flags)


def test_what_a_line_says_of_a_frame():
    maker = LineMaker(SystemClock())
    told = decode(maker.line(sight(7)))
    assert (told.count, told.camera, told.frame, told.people, told.box) == (0, 1, 7, 3, BOX)
    assert told.flags == LineFlag.LOCKED | LineFlag.CLOCK_IN_BOUND
    bad = Stamp(5, 2**40, 9, ClockState.UNLOCKED)
    told = decode(maker.line(sight(8, stamp=bad, in_bound=False, box=BOX._replace(score=None))))
    assert (told.count, told.flags, told.raw) == (1, LineFlag.PREDICTED, None)
    maker.standby = True
    held = sight(9, stamp=replace(bad, state=ClockState.HOLDOVER), in_bound=False, box=None)
    assert decode(maker.line(held)).flags == LineFlag.STANDBY | LineFlag.HOLDOVER


def test_a_backlog_of_a_dead_life_is_not_sent(tmp_path: Path, far: FarEnd):
    """What the pair kept while no process was there is old when the next one begins."""
    line = Line(tmp_path, far.path)
    for frame in range(50):
        assert line.tell(frame, seen_ns=monotonic_ns() - 10**9)
    line.start()
    line.until(open=True)
    line.tell(50, seen_ns=never_old())
    assert [one.frame for one in far.await_lines(1)] == [50]
    line.await_settled(51)
    line.close()
    assert line.said()["dropped_old"] + line.said()["dropped_port"] == 50


def test_what_it_was_told_before_its_end_is_written_or_counted(tmp_path: Path, far: FarEnd):
    """However much that is: its last turns come late on a busy machine."""
    line = Line(tmp_path, far.path)
    offered = sum(line.tell(frame, seen_ns=never_old()) for frame in range(250))
    assert offered > 150
    control.send(line.parent, {"type": "stop"})
    line.start()
    line.close()
    assert line.settled(offered), line.said()


def test_a_desk_gives_its_port_back(tmp_path: Path, far: FarEnd):
    line = Line(tmp_path, far.path)
    line.start()
    line.until(open=True)
    line.close()
    again = Line(tmp_path, far.path)
    again.start()
    again.until(open=True, trouble="")
    again.close()
