"""The whole board over a fake tree."""

from __future__ import annotations

import errno
import threading

import pytest

from tests.thermal.faketree import CPUFREQ, HWMON, ZONES_JP5, FakeTree, File
from thermal.sysfs.board import SILENT, SysfsBoard
from thermal.types import Board, Raw, Sample

PATIENCE_S = 30.0  # a busy machine's threads are late


class Daemon:
    """The vendor's, which writes something silly when it is stopped."""

    def __init__(self, tree: FakeTree, refuses: bool = False) -> None:
        self.tree, self.refuses, self.running = tree, refuses, True
        self.duty_when_stopped = self.duty_when_started = -1

    def stop(self) -> str | None:
        self.duty_when_stopped = self.tree.fan.duty
        if self.refuses:
            return "it was not stopped"
        self.running = False
        self.tree.fan.pwm, self.tree.fan.enable = 1, 0
        return None

    def start(self) -> bool:
        self.duty_when_started = self.tree.fan.duty
        self.running = True
        return True


def board_of(tree: FakeTree) -> tuple[SysfsBoard, Daemon]:
    daemon = Daemon(tree)
    return SysfsBoard(tree, daemon, wait_s=PATIENCE_S), daemon


def test_a_sample_has_everything_by_our_names():
    tree = FakeTree(ZONES_JP5, gpu="17000000.ga10b")
    tree.zone("GPU-therm").read_errno = errno.EAGAIN
    tree.attribute("soctherm_oc", "oc2_event_cnt").text = "3"
    board, _ = board_of(tree)
    typed: Board = board
    sample = typed.sample(7)
    assert sample.at_ns == 7
    assert sample.zones_c["tj"].value == 45.0
    assert sample.zones_c["gpu"].errno == errno.EAGAIN
    assert sample.power_w["VDD_GPU_SOC"].value == pytest.approx(15.2)
    assert set(sample.power_w) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"}  # not in7
    assert set(sample.clock_hz) == {"cpu", "gpu"}
    assert {name: raw.value for name, raw in sample.oc_events.items()} == {"oc1": 0, "oc2": 3, "oc3": 0}
    assert sample.fan_rpm.value is not None
    assert sample.ambient_c is None


def test_the_boards_own_sensor_stands_for_the_air():
    board, _ = board_of(FakeTree((*ZONES_JP5, "Tboard_tegra")))
    ambient = board.sample(0).ambient_c
    assert ambient is not None
    assert ambient.value == 45.0


def test_a_chip_that_is_silent_has_its_errno_and_a_channel_without_label_is_none():
    tree = FakeTree(rails=(("VDD_IN", 5000, 1000), ("NC", 1, 1), ("", 1, 1)))
    tree.attribute("ina3221", "curr1_input").read_errno = errno.ENXIO
    board, _ = board_of(tree)
    assert {name: raw.errno for name, raw in board.sample(0).power_w.items()} == {"VDD_IN": errno.ENXIO}


def test_counters_of_older_chips():
    tree = FakeTree()
    tree.remove(f"{HWMON}/hwmon4")
    tree.files[f"{HWMON}/hwmon4/name"] = File("soctherm_oc")
    tree.files[f"{HWMON}/hwmon4/oc1_irq_cnt"] = File("2")
    tree.files[f"{HWMON}/hwmon4/oc1_priority"] = File("9")
    assert {n: raw.value for n, raw in board_of(tree)[0].sample(0).oc_events.items()} == {"oc1": 2}


def test_an_empty_machine_raises_nothing():
    tree = FakeTree()
    tree.files.clear()
    board, _ = board_of(tree)
    sample = board.sample(0)
    assert sample.zones_c == {}
    assert sample.duty_pct.errno == errno.ENODEV
    for said in (board.set_duty(50), board.take(), board.give_back()):
        assert "pwmfan" in (said or "")
    board.close()


def test_taking_is_full_speed_before_and_after_the_daemon():
    tree = FakeTree()
    board, daemon = board_of(tree)
    assert board.take() is None
    assert not daemon.running
    assert daemon.duty_when_stopped == 255
    assert (tree.fan.duty, tree.fan.enable) == (255, 1)


def test_a_daemon_that_does_not_stop_is_said():
    tree = FakeTree()
    board = SysfsBoard(tree, Daemon(tree, refuses=True), wait_s=PATIENCE_S)
    assert board.take() == "it was not stopped"
    assert tree.fan.duty == 255


def test_giving_back_is_full_speed_then_clocks_then_the_daemon():
    tree = FakeTree()
    board, daemon = board_of(tree)
    board.take()
    board.set_duty(40)
    board.set_caps({"cpu": 1e9})
    assert board.give_back() is None
    assert daemon.running
    assert daemon.duty_when_started == 255
    sample = board.sample(0)
    assert sample.clock_hz["cpu"].value == 2_201_600_000


class Stuck(FakeTree):
    """Once ``held``, a read of this hwmon device, or below this folder, waits until ``free`` is set."""

    def __init__(self, device: str) -> None:
        super().__init__((*ZONES_JP5, "Tboard_tegra"))
        self.stuck = device if device.startswith("/") else self.folder("name", device)
        self.held, self.free = False, threading.Event()

    def read(self, path: str) -> bytes:
        if self.held and path.startswith(f"{self.stuck}/") and not path.endswith("/name"):
            assert self.free.wait(PATIENCE_S)
        return super().read(path)


def values(sample: Sample) -> list[Raw | None]:
    groups = (sample.power_w, sample.oc_events, sample.clock_hz)
    return [sample.fan_rpm, sample.ambient_c, *(raw for group in groups for raw in group.values())]


def samples_while_stuck(device: str) -> list[Sample]:
    """Four: before, the first two while the device hangs, and after."""
    tree = Stuck(device)
    board = SysfsBoard(tree, Daemon(tree), wait_s=PATIENCE_S)
    before = board.sample(1)
    board.wait_s, tree.held = 0.0, True
    during = [board.sample(2), board.sample(3)]
    tree.held = False
    tree.free.set()
    board.wait_s = PATIENCE_S
    after = next(sample for sample in map(board.sample, range(4, 1_000_000)) if SILENT not in values(sample))
    board.close()
    for sample in during:
        assert (sample.zones_c, sample.duty_pct) == (before.zones_c, before.duty_pct)
    return [before, *during, after]


def test_a_bus_that_hangs_costs_its_own_values_alone():
    before, first, second, after = samples_while_stuck("ina3221")
    assert set(before.power_w) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"}
    assert (first.power_w, first.ambient_c) == (before.power_w, before.ambient_c)  # the last look stands for one more
    assert second.power_w == dict.fromkeys(before.power_w, SILENT)
    assert second.ambient_c == SILENT
    assert (after.power_w, after.ambient_c) == (before.power_w, before.ambient_c)


def test_a_tachometer_that_hangs_costs_its_own_values_alone():
    before, first, second, after = samples_while_stuck("pwm_tach")
    assert first.fan_rpm == before.fan_rpm == after.fan_rpm
    assert second.fan_rpm == SILENT
    assert second.oc_events == dict.fromkeys(before.oc_events, SILENT)


def test_clocks_that_hang_cost_their_own_values_alone():
    before, first, second, after = samples_while_stuck(f"{CPUFREQ}/policy4")
    assert first.clock_hz == before.clock_hz == after.clock_hz
    assert second.clock_hz == {"cpu": SILENT, "gpu": SILENT}


def test_devices_that_hang_from_the_first_look_on():
    tree = Stuck("ina3221")
    tree.held = True
    board = SysfsBoard(tree, Daemon(tree), wait_s=0.0)
    sample = [board.sample(now) for now in range(3)][-1]
    assert (sample.power_w, sample.ambient_c) == ({}, None)
    assert sample.zones_c["tj"].value == 45.0
    tree.free.set()
    board.close()
