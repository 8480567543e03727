"""The order: latch, event, relay; and what a person may do."""

from __future__ import annotations

from typing import Any

import pytest

from thermal.protect.guard import RETRY_NS, GuardPorts, GuardSettings, ShockGuard
from thermal.protect.latch import Latch
from thermal.protect.shake import Missed, ShakeSettings

MS = 1_000_000
REST, HARD = (0.0, 0.0, 1.0), (0.0, 0.0, 2.5)


class World:
    """Ports that write down, in one list, what was done to disk and relay."""

    def __init__(self, latch: Latch | None = None, **settings: Any) -> None:
        self.calls: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.sample: Any = REST
        self.kept = latch or Latch(False)
        self.disk: str | None = None  # what is wrong with it
        self.trouble: str | None = None
        self.refuses: str | None = None
        self.at: bool | None = None
        self.now_ns = 0
        ports = GuardPorts(self, self, lambda: self.sample, self, lambda: "2026-11-21T10:00:00Z")
        self.guard = ShockGuard(GuardSettings(**settings), ports)

    # log
    def put(self, event: Any) -> None:
        self.calls.append(f"put {event['kind']}")
        self.events.append(dict(event))

    def commit(self, event: Any, wait_s: float, before: Any = None) -> str | None:
        if before is not None:
            before()
        self.calls.append(f"fdatasync {event['kind']}")
        self.events.append(dict(event))
        return self.disk

    # latch
    def read(self) -> Latch:
        return self.kept

    def set(self, event: Any) -> None:
        self.calls.append("latch")
        self.kept = Latch(True, dict(event))

    def clear(self) -> None:
        self.calls.append("unlatch")
        self.kept = Latch(False)

    # relay
    def bring(self, cut: bool, now_ns: int) -> str | None:
        self.calls.append("relay off" if cut else "relay on")
        self.trouble = self.refuses
        self.at = None if self.refuses else cut
        return self.refuses

    def tend(self, now_ns: int) -> None:
        pass

    def is_cut(self) -> bool | None:
        return self.at

    def close(self) -> None:
        self.calls.append("close")

    # time
    def start(self) -> World:
        self.guard.start(self.now_ns)
        return self

    def turns(self, sample: Any, count: int) -> None:
        self.sample = sample
        for _ in range(count):
            self.now_ns += 20 * MS
            self.guard.turn(self.now_ns)

    def codes(self) -> frozenset[str]:
        return frozenset(fault.code for fault in self.guard.faults(self.now_ns))


def test_the_event_is_on_the_disk_before_the_relay_moves():
    world = World().start()
    assert world.calls == ["fdatasync start", "relay on"]
    world.turns(REST, 200)
    world.calls.clear()
    world.turns(HARD, 40)
    assert world.calls == ["latch", "fdatasync shaken", "relay off", "put cut"]
    event = next(one for one in world.events if one["kind"] == "shaken")
    assert event["lasted_ms"] == 500
    assert event["peak_g"] == 1.5
    assert event["from"] == [0.0, 0.0, 1.0]
    assert world.codes() == {"shaken"}


def test_it_is_cut_once_and_stays_so():
    world = World().start()
    world.turns(HARD, 400)
    world.turns(REST, 400)
    assert world.calls.count("relay off") == 1
    assert "relay on" not in world.calls[2:]
    assert world.kept.latched


@pytest.mark.parametrize("latch", [Latch(True, {"kind": "shaken"}), Latch(True, damage="the checksum is wrong")])
def test_the_next_life_writes_its_own_event_and_cuts(latch):
    world = World(latch).start()
    assert world.calls == ["fdatasync start_latched", "relay off"]
    assert world.events[0]["damage"] == latch.damage
    assert ("latch" in world.codes()) == bool(latch.damage)


def test_killed_between_any_two_steps_the_next_life_ends_up_cut_or_never_moved():
    for survived in range(4):
        first = World().start()
        first.turns(HARD, 40)
        done = first.calls[2:][:survived]
        latch = first.kept if "latch" in done else Latch(False)
        second = World(latch).start()
        moved = "relay off" in done
        assert (second.calls[-1] == "relay off") == ("latch" in done)
        assert not moved or "fdatasync shaken" in done


def test_a_disk_that_refuses_does_not_keep_the_relay_and_is_tried_again():
    world = World().start()
    world.disk = "the disk did not take it within 2 s"
    world.turns(HARD, 30)
    assert world.calls[-3:] == ["fdatasync shaken", "relay off", "put cut"] or "relay off" in world.calls
    assert world.codes() == {"shaken", "not_logged"}
    world.disk = None
    world.now_ns += RETRY_NS
    world.turns(REST, 1)
    assert world.calls[-2:] == ["latch", "fdatasync shaken"]
    assert world.codes() == {"shaken"}


def test_reset_is_refused_while_it_shakes_and_done_at_rest():
    world = World().start()
    world.turns(REST, 150)
    world.turns(HARD, 30)
    answer = world.guard.reset(world.now_ns)
    assert not answer.done
    assert "not at rest" in answer.text
    world.turns(REST, 150)
    world.calls.clear()
    assert world.guard.reset(world.now_ns).done
    assert world.calls == ["fdatasync reset", "unlatch", "relay on"]
    assert not world.codes()
    assert not world.guard.reset(world.now_ns).done


def test_reset_is_refused_when_the_disk_does_not_take_it():
    world = World(Latch(True, {"kind": "shaken"})).start()
    world.turns(REST, 150)
    world.disk = "No space left on device"
    answer = world.guard.reset(world.now_ns)
    assert not answer.done
    assert "No space" in answer.text
    assert world.kept.latched
    assert "relay on" not in world.calls


def test_a_refused_reset_leaves_the_latch_its_turn_on_the_disk():
    world = World().start()
    world.turns(REST, 150)
    world.disk = "Input/output error"
    world.turns(HARD, 100)
    assert world.guard.latch.latched and "not_logged" in world.codes()
    world.turns(REST, 150)
    assert not world.guard.reset(world.now_ns).done
    world.disk, world.kept = None, Latch(False)  # the disk is back, and holds no latch yet
    world.calls.clear()
    world.turns(REST, 800)
    assert world.kept.latched and world.calls[:2] == ["latch", "fdatasync shaken"]
    assert "fdatasync reset" not in world.calls and "not_logged" not in world.codes()


def test_what_is_not_cut_is_not_called_cut():
    world = World(Latch(True, {"kind": "shaken"})).start()
    assert world.guard.effect == "cut"
    world.at = False
    assert world.guard.effect == "NOT CUT: the line reads fed"
    world.trouble = "line 'relay' is held by 'somebody'"
    assert world.guard.effect == "NOT CUT: line 'relay' is held by 'somebody'"
    bare = ShockGuard(GuardSettings(), GuardPorts(world, world, None, None, lambda: ""))
    assert bare.effect.startswith("NOT CUT: no relay is configured")


def test_reset_without_a_sensor_needs_blind():
    world = World(Latch(True)).start()
    world.turns(Missed("axis x: No such device"), 150)
    assert "--blind" in world.guard.reset(world.now_ns).text
    assert world.guard.reset(world.now_ns, blind=True).done


def test_blind_does_not_reset_what_shakes():
    world = World(Latch(True)).start()
    world.turns(HARD, 60)
    assert not world.guard.reset(world.now_ns, blind=True).done


def test_a_reset_node_on_its_side_is_not_cut_again():
    world = World().start()
    world.turns(REST, 150)
    world.turns((1.0, 0.0, 0.0), 200)
    assert world.kept.latched
    assert world.guard.reset(world.now_ns).done
    world.turns((1.0, 0.0, 0.0), 300)
    assert not world.kept.latched


@pytest.mark.parametrize("cut", [False, True])
def test_a_lost_sensor_is_an_alarm_and_an_event_and_cuts_where_configured(cut):
    world = World(cut_on_loss=cut).start()
    world.turns(REST, 10)
    world.turns(Missed("axis y: Input/output error"), 150)
    assert "sensor_lost" in world.codes()
    assert world.kept.latched is cut
    assert [one for one in world.calls if "sensor_lost" in one] == [
        "fdatasync sensor_lost" if cut else "put sensor_lost"
    ]
    world.turns(REST, 5)
    assert world.calls[-1] == "put sensor_back"
    assert "sensor_lost" not in world.codes()


def test_a_frozen_sensor_is_called_so_and_cuts_where_configured():
    world = World(shake=ShakeSettings(frozen_ns=5000 * MS), cut_on_loss=True).start()
    world.turns((0.0, 0.001, 1.0), 1)
    world.turns(REST, 251)
    assert "sensor_frozen" in world.codes()
    assert "fdatasync sensor_frozen" in world.calls
    assert world.kept.latched
    assert "--blind" in world.guard.reset(world.now_ns).text
    world.turns((0.0, 0.001, 1.0), 1)
    assert world.calls[-1] == "put sensor_back"


def test_a_relay_that_refuses_is_an_alarm():
    world = World()
    world.refuses = "GPIO line 'relay' is held by 'somebody'"
    world.start().turns(HARD, 40)
    assert world.codes() == {"shaken", "relay"}
    assert next(one for one in world.events if one["kind"] == "cut")["trouble"] == world.refuses


def test_a_test_cuts_event_first_and_feeds_again():
    world = World().start()
    world.turns(REST, 10)
    world.calls.clear()
    assert world.guard.test(2.0, world.now_ns).done
    assert world.calls == ["fdatasync test", "relay off"]
    assert not world.guard.test(2.0, world.now_ns).done
    world.turns(REST, 99)
    assert world.guard.testing
    world.turns(REST, 1)
    assert world.calls[2:] == ["relay on", "put test_over"]
    assert not world.kept.latched


def test_shaking_in_a_test_stays_cut():
    world = World().start()
    world.turns(REST, 150)
    assert world.guard.test(5.0, world.now_ns).done
    world.turns(HARD, 300)
    assert world.kept.latched
    assert "relay on" not in world.calls[2:]
    assert not world.guard.test(2.0, world.now_ns).done


@pytest.mark.parametrize("seconds", [0.0, -1.0, 31.0, float("nan")])
def test_a_test_is_bounded(seconds):
    world = World().start()
    assert not world.guard.test(seconds, 0).done
    assert "relay off" not in world.calls


def test_a_test_without_its_event_leaves_the_relay_alone():
    world = World().start()
    world.disk = "Input/output error"
    assert not world.guard.test(2.0, 0).done
    assert "relay off" not in world.calls


def test_without_a_relay_it_is_an_event_all_the_same():
    world = World()
    ports = GuardPorts(world, world, lambda: world.sample, None, lambda: "now")
    world.guard = ShockGuard(GuardSettings(ShakeSettings()), ports)
    world.start().turns(HARD, 40)
    assert world.calls == ["fdatasync start", "latch", "fdatasync shaken", "put cut"]
    assert world.events[-1]["trouble"] == "events only"
