"""A recorder's voice: its first picture under a role at once, the rest ten times a second, and nobody waited for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.processes import voice as module
from agent.processes.voice import AT_LEAST_NS, Voice
from agent.record.fragment import Fragment, Mark
from agent.record.moof import Moof, Sample
from failover.core.types import Role
from failover.link_recorder import RecorderPort, recorder_socket_path
from touchline.timeline import ClockState

MS = 1_000_000


class World:
    """A service that listens, a clock that is turned by hand, a disk that may be full."""

    def __init__(self, folder: Path) -> None:
        self.now_ns, self.writes = 1_000 * MS, True
        self.port = RecorderPort(recorder_socket_path(folder))
        self.behind_ns = 0
        self.voice = Voice(folder, 3, lambda: self.writes, lambda: self.behind_ns)

    def written(self, ptp_ns: int, active: bool, epoch: int) -> None:
        marks = (Mark(ptp_ns, 1, 0, 1, ClockState.LOCKED),)
        self.voice.put(Fragment(1, active, epoch, marks, Moof(0, (Sample(4, 8_333, True),)), b"data"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    one = World(tmp_path)
    monkeypatch.setattr(module, "monotonic_ns", lambda: one.now_ns)
    yield one
    one.voice.close()
    one.port.close()


def test_the_first_picture_under_a_role_is_told_at_once(world: World) -> None:
    world.voice.pump("starting", "", 0)
    assert [(word.camera, word.role, word.state) for word in world.port.receive()] == [(3, Role.STANDBY, "starting")]
    world.written(5_000, active=False, epoch=0)
    world.written(5_008, active=False, epoch=0)
    world.port.receive()
    world.now_ns += 10 * MS
    world.voice.role(True, 8)
    world.written(5_016, active=False, epoch=0)  # it was under way: of the role before
    assert all(word.first_ns == 0 for word in world.port.receive())
    world.now_ns += 2 * MS
    world.written(5_025, active=True, epoch=8)
    (word,) = world.port.receive()
    assert (word.role, word.epoch, word.state, word.told_ns) == (Role.ACTIVE, 8, "recording", 1_010 * MS)
    assert (word.first_ptp_ns, word.first_ns, word.before_ptp_ns) == (5_025, 1_012 * MS, 5_016)
    world.written(5_033, active=True, epoch=8)
    assert world.port.receive() == [], "the next ones are told in time"


def test_behind_a_stopped_standby_the_mirrored_tail_is_the_picture_before(world: World) -> None:
    world.voice.pump("standing", "", 4_990)
    world.voice.role(True, 8)
    world.behind_ns = 4_992
    world.written(5_000, active=True, epoch=8)
    word = world.port.receive()[-1]
    assert (word.before_ptp_ns, word.twin_ptp_ns) == (4_992, 4_990)


def test_what_the_disk_does_not_take_is_no_picture(world: World) -> None:
    world.voice.role(True, 8)
    world.writes = False
    world.written(5_000, active=True, epoch=8)
    world.voice.pump("disk", "no space", 0)
    word = world.port.receive()[-1]
    assert (word.state, word.trouble, word.first_ns, word.last_ptp_ns) == ("disk", "no space", 0, 0)


def test_it_speaks_at_a_change_and_ten_times_a_second(world: World) -> None:
    heard = []
    for _ in range(100):
        world.voice.pump("recording", "", 0)
        heard += world.port.receive()
        world.now_ns += 5 * MS
    assert len(heard) == 5 * 10**8 // AT_LEAST_NS
    world.voice.pump("waiting", "ffmpeg: exit code 1", 0)
    assert [word.trouble for word in world.port.receive()] == ["ffmpeg: exit code 1"]


def test_without_a_service_it_goes_on_and_a_new_one_hears_where_it_is(world: World, tmp_path: Path) -> None:
    world.voice.pump("recording", "", 0)
    world.port.close()
    world.voice.role(True, 8)
    world.written(5_000, active=True, epoch=8)
    world.now_ns += 1_000 * MS
    world.port = RecorderPort(recorder_socket_path(tmp_path))
    world.voice.pump("recording", "", 0)
    assert [(word.epoch, word.first_ptp_ns) for word in world.port.receive()] == [(8, 5_000)]
