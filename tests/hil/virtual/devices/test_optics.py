"""The handle of the shared optics: one document for all nodes, ahead of time."""

from __future__ import annotations

import pytest

from hil.virtual.devices.optics import FILE, Optics
from hil.virtual.scene import RATE_HZ, Scene, from_json, scene_at
from tests.hil.virtual.devices.fakes import FakeGuest
from touchline.errors import ConfigError, HardwareError

NOW_S = 1_795_000_000.0


class Node(FakeGuest):
    """Keeps the last document; each takes ``took_s`` of the pretended clock."""

    def __init__(self, time: Time, took_s: float = 0.1) -> None:
        super().__init__()
        self.time, self.took_s, self.documents = time, took_s, list[bytes]()

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        assert (path, mode) == (FILE, 0o644)
        self.time.now_s += self.took_s
        self.documents.append(data)


class Time:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


def test_every_node_is_told_the_same_ahead_of_time(time: Time):
    nodes = [Node(time), Node(time)]
    optics = Optics(lambda: nodes, time)
    frame = optics.cover(lead_s=0.5)
    assert frame == pytest.approx((NOW_S + 0.5) * RATE_HZ, abs=1)
    assert nodes[0].documents == nodes[1].documents
    changes = from_json(nodes[0].documents[-1])
    assert [scene_at(changes, at).covered for at in (frame - 1, frame)] == [False, True]


def test_a_change_keeps_what_is_seen_until_then(time: Time):
    node = Node(time)
    optics = Optics(lambda: [node], time)
    optics.show(seed=7, people=3)
    time.now_s += 5.0
    covered = optics.cover()
    dark_no_more = optics.uncover(lead_s=2.0)
    assert optics.scene == Scene(7, 3)
    changes = from_json(node.documents[-1])
    seen = [scene_at(changes, at) for at in (covered - 1, covered, dark_no_more - 1, dark_no_more)]
    assert seen == [Scene(7, 3), Scene(7, 3, True), Scene(7, 3, True), Scene(7, 3)]
    time.now_s += 5.0
    optics.show(people=4)
    assert len(from_json(node.documents[-1])) == 2, "what is over is forgotten"


def test_a_change_that_came_too_late_is_no_success(time: Time):
    with pytest.raises(HardwareError, match=r"took the change after the frame.*0.5 s ahead"):
        Optics(lambda: [Node(time, took_s=0.6)], time).cover(lead_s=0.5)


def test_a_node_that_was_off_is_told_again(time: Time):
    nodes = [Node(time)]
    optics = Optics(lambda: nodes, time)
    optics.show(people=2)
    nodes.append(Node(time))
    optics.refresh()
    assert nodes[0].documents[-1] == nodes[1].documents[-1]


def test_people_have_a_range(time: Time):
    with pytest.raises(ConfigError, match="people: 25 patches"):
        Optics(list, time).show(people=25)
