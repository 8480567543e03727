"""The whole way, closed: physics heat the fake tree, the loop reads and writes its files, and the physics feel it."""

from __future__ import annotations

import errno

from tests.thermal.faketree import CPU_KHZ, CPUFREQ, DEVFREQ, FakeTree
from tests.thermal.service.test_loop import PATIENCE_S, Asked, NoDaemon, Time
from thermal.control import Settings
from thermal.plant.board import PlantBoard
from thermal.plant.profiles import Phase, Profile
from thermal.plant.troubles import Trouble
from thermal.service.loop import Aides, Loop, Tick
from thermal.sysfs.board import SysfsBoard

S = 1_000_000_000
KINDS = ("cpu-thermal", "gpu-thermal", "soc0-thermal", "tj-thermal")
RAILS = tuple((name, 5000, 0) for name in ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))


class Warmed:
    """A plant whose every look is written into the tree, and whose fan and clocks are what the tree's files say."""

    def __init__(self, ambient_c: float, *troubles: Trouble) -> None:
        phases = (Phase("before", 120.0, 0.1, ambient_c), Phase("half", 3600.0, 1.0, ambient_c))
        self.plant = PlantBoard(Profile("test", "full load", ambient_c, 0.0, phases, troubles))
        self.tree, self.time = FakeTree(KINDS, rails=RAILS), Time()
        self.loop = Loop(Settings(), SysfsBoard(self.tree, NoDaemon(), wait_s=PATIENCE_S), Aides(Asked()), self.time)
        self.peak_c = 0.0

    def run(self, seconds: int) -> Tick:
        for _ in range(seconds):
            self._show()
            tick = self.loop.tick()
            self._feel()
            self.time.now_ns += S
            self.peak_c = max(self.peak_c, self.plant.tj_c)
        return tick

    def _show(self) -> None:
        sample = self.plant.sample(self.time.now_ns)
        for kind in KINDS:
            raw, file = sample.zones_c.get(kind.removesuffix("-thermal")), self.tree.zone(kind)
            file.read_errno = errno.ENODEV if raw is None else raw.errno
            file.text = file.text if raw is None or raw.value is None else str(round(raw.value * 1000))
        rpm = sample.fan_rpm
        tachometer = self.tree.attribute("pwm_tach", "rpm")
        tachometer.read_errno, tachometer.show = rpm.errno, lambda: str(round(rpm.value or 0))
        for channel, (label, millivolts, _) in enumerate(RAILS, start=1):
            watts = sample.power_w[label].value or 0.0
            self.tree.attribute("ina3221", f"curr{channel}_input").text = str(round(watts / millivolts * 1e6))

    def _feel(self) -> None:
        self.plant.set_duty(self.tree.fan.duty * 100 / 255)
        cpu_hz = int(self.tree[f"{CPUFREQ}/policy0/scaling_max_freq"].text) * 1000.0
        self.plant.set_caps({"cpu": cpu_hz, "gpu": float(self.tree[f"{DEVFREQ}/17000000.gpu/max_freq"].text)})


def test_a_half_at_full_load_is_held():
    warmed = Warmed(25.0)
    tick = warmed.run(1800)
    assert warmed.peak_c < 70
    assert warmed.plant.tj_c < 68.5
    assert tick.faults == ()


def test_a_hot_day_is_held_by_the_clocks():
    warmed = Warmed(40.0)
    warmed.run(2400)
    assert warmed.peak_c < 78  # until the ladder is down
    assert warmed.plant.tj_c < 74
    assert int(warmed.tree[f"{CPUFREQ}/policy4/scaling_max_freq"].text) < CPU_KHZ


def test_a_stalled_fan_does_not_cook_the_node():
    warmed = Warmed(25.0, Trouble("fan_stalled", 600.0, 3600.0))
    tick = warmed.run(1200)
    assert tick.hot
    assert tick.command.cap_level == Settings().lowest
    assert warmed.peak_c < 95  # the kernel's critical trip lies near 105


def test_all_sensors_lost_for_half_a_minute():
    warmed = Warmed(25.0, Trouble("zone_errno", 600.0, 30.0))
    tick = warmed.run(615)
    assert tick.hot
    assert warmed.tree.fan.duty == 255
    warmed.run(600)
    assert warmed.peak_c < 75
    assert not warmed.run(1).hot
