"""One tick with a clock of our own: the loop's own decisions, and the status that comes of it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.thermal.faketree import CPU_KHZ, CPUFREQ, FakeTree
from thermal.control import Settings
from thermal.service.loop import CODES, Aides, Loop
from thermal.service.service import Setup, ThermalService, line
from thermal.service.show import told_text
from thermal.status import read_status
from thermal.sysfs.board import SysfsBoard
from thermal.types import Command, Fault, Sample, Severity

S = 1_000_000_000
PATIENCE_S = 30.0  # a busy machine's threads are late; these tests are not about that


class NoDaemon:
    def stop(self) -> str | None:
        return None

    def start(self) -> bool:
        return False


class Asked:
    def __init__(self) -> None:
        self.times: list[int] = []

    def ask(self, now_ns: int) -> None:
        self.times.append(now_ns)


class Time:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now_ns = 100 * S

    def __call__(self) -> int:
        return self.now_ns


class Kept:
    def __init__(self) -> None:
        self.added: list[tuple[Sample, Command]] = []

    def add(self, sample: Sample, command: Command) -> None:
        self.added.append((sample, command))

    def close(self) -> None:
        pass


class Bench:
    def __init__(self) -> None:
        self.tree, self.time, self.asked = FakeTree(), Time(), Asked()
        self.mode: str | None = None
        self.board = SysfsBoard(self.tree, NoDaemon(), wait_s=PATIENCE_S)
        self.loop = Loop(Settings(), self.board, Aides(self.asked, lambda _now_ns: self.mode), self.time)
        self.tree.heat(60.0)

    def ticks(self, count: int = 1, every_s: float = 1.0):
        for _ in range(count):
            tick = self.loop.tick()
            self.time.now_ns += int(every_s * S)
        return tick


def codes(faults: tuple[Fault, ...]) -> set[str]:
    return {fault.code for fault in faults}


def test_a_quiet_tick():
    bench = Bench()
    tick = bench.ticks(60)
    assert tick.faults == ()
    assert not tick.hot
    assert not tick.late
    assert 53 <= tick.command.duty_pct < 80
    assert bench.tree.fan.duty == pytest.approx(tick.command.duty_pct * 2.55, abs=1)
    assert (bench.loop.ticks, bench.loop.late_ticks) == (60, 0)


def test_a_look_that_takes_too_long_makes_the_tick_late():
    bench = Bench()
    bench.ticks(60)
    bench.time.now_ns += 3 * S
    tick = bench.ticks()
    assert tick.late
    assert tick.command.duty_pct == 100
    assert bench.tree.fan.duty == 255
    assert bench.loop.late_ticks == 1
    assert not bench.ticks().late


def test_a_fan_that_refuses_takes_the_clocks_down_since_the_first_refusal():
    bench = Bench()
    bench.tree.attribute("pwmfan", "pwm1").write_errno = errno.EIO
    first_ns = bench.time.now_ns
    tick = bench.ticks(3)
    (fault,) = (one for one in tick.faults if one.code == "fan_refused")
    assert (fault.severity, fault.since_ns) == (Severity.ALARM, first_ns)
    assert tick.hot
    assert tick.command.cap_level == Settings().lowest
    assert int(bench.tree[f"{CPUFREQ}/policy0/scaling_max_freq"].text) < CPU_KHZ
    bench.tree.attribute("pwmfan", "pwm1").write_errno = 0
    tick = bench.ticks(2)
    assert "fan_refused" not in codes(tick.faults)
    assert int(bench.tree[f"{CPUFREQ}/policy0/scaling_max_freq"].text) < CPU_KHZ, "it may refuse again"
    bench.ticks(10)
    assert int(bench.tree[f"{CPUFREQ}/policy0/scaling_max_freq"].text) == CPU_KHZ


def test_a_refusal_at_full_speed_costs_no_clocks():
    bench = Bench()
    bench.tree.fan.pwm, bench.tree.fan.enable = 255, 1
    bench.tree.attribute("pwmfan", "pwm1").write_errno = errno.EIO
    tick = bench.ticks(3)
    assert "fan_refused" in codes(tick.faults)
    assert tick.cap_hz == {}


def test_a_refused_cap_is_a_warning():
    bench = Bench()
    bench.tree[f"{CPUFREQ}/policy0/scaling_max_freq"].write_errno = errno.EACCES
    bench.tree.heat(80.0)
    assert "caps_refused" in codes(bench.ticks(5).faults)


def test_somebody_elses_duty_has_the_fan_taken_again():
    bench = Bench()
    bench.ticks(5)
    assert bench.asked.times == []
    bench.tree.fan.foreign = 10
    bench.ticks(5)
    assert bench.asked.times


def test_every_code_of_the_loop_is_explained():
    assert set(CODES) == {"fan_refused", "caps_refused", "power_mode"}


def test_clocks_that_are_not_the_modes_are_a_warning_unless_they_are_capped():
    bench = Bench()
    bench.mode = "nvpmodel says MODE_30W, but ..."
    assert codes(bench.ticks(3).faults) == {"power_mode"}
    bench.tree.heat(80.0)
    assert "power_mode" not in codes(bench.ticks(5).faults)


def a_service(folder: Path) -> tuple[Bench, ThermalService, Kept]:
    bench, kept = Bench(), Kept()
    service = ThermalService(Settings(), bench.board, Setup("pitch-a1", folder / "thermal.json", kept), bench.time)
    return bench, service, kept


def test_the_status_says_what_the_tick_saw(tmp_path: Path):
    bench, service, kept = a_service(tmp_path)
    bench.tree.attribute("soctherm_oc", "oc3_event_cnt").text = "4"
    bench.tree.zone("soc2-thermal").read_errno = errno.EIO
    tick = service.turn()
    told = read_status(tmp_path / "thermal.json", bench.time.now_ns)
    assert told.good
    status = told.status
    assert status is not None
    assert (status.node, status.ticks, status.tj_c, status.oc_events["oc3"]) == ("pitch-a1", 1, 60.0, 4)
    assert status.faults == tick.faults
    assert kept.added == [(tick.sample, tick.command)]
    text = told_text(told, bench.time.now_ns)
    for words in ("pitch-a1: well", "60.0 C", "soc2 FAILED (EIO)", "not capped", "instantaneous current 4 since boot"):
        assert words in text
    assert line(tick).startswith("STATUS=tj 60 C, fan ")
    late = told_text(read_status(tmp_path / "thermal.json", bench.time.now_ns + 60 * S), bench.time.now_ns + 60 * S)
    assert late.startswith("NOT ALIVE, taken for hot")


def test_a_status_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    bench, service, _ = a_service(tmp_path / "none")
    for _ in range(3):
        service.turn()
        bench.time.now_ns += S
    assert bench.tree.fan.duty > 0
    assert len([one for one in caplog.records if "takes this node for hot" in one.message]) == 1


def test_faults_are_logged_when_they_begin_and_end(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    bench, service, _ = a_service(tmp_path)
    caplog.set_level("INFO")
    bench.tree.attribute("pwmfan", "pwm1").write_errno = errno.EIO
    for _ in range(3):
        service.turn()
        bench.time.now_ns += S
    bench.tree.attribute("pwmfan", "pwm1").write_errno = 0
    service.turn()
    said = [one.message for one in caplog.records if "fan_refused" in one.message]
    assert len(said) == 2
    assert said[1] == "fan_refused fan: over"


@pytest.mark.parametrize("frozen", ["tj-thermal"])
def test_a_frozen_junction_while_power_moves(frozen: str):
    bench = Bench()
    current = bench.tree.attribute("ina3221", "curr1_input")
    for step in range(30):
        current.text = "2200" if step % 2 else "800"
        for kind in ("cpu-thermal", "gpu-thermal"):
            bench.tree.zone(kind).text = str(60_000 + 1000 * (step % 7))
        tick = bench.ticks()
    assert "tj_lost" in codes(tick.faults)
    assert tick.readings.hot.source == "stand_in"
    assert bench.tree.zone(frozen).text == "60000"


# --- power ---


def test_over_the_power_budget_is_an_alarm_and_not_hot(tmp_path: Path):
    bench, service, _ = a_service(tmp_path)
    bench.tree.attribute("ina3221", "curr1_input").text = "3000"  # 57 W of 19 V
    for _ in range(7):
        tick = service.turn()
        bench.time.now_ns += S
    (fault,) = tick.faults
    assert (fault.code, fault.severity, tick.hot) == ("over_budget", Severity.ALARM, False)
    told = read_status(tmp_path / "thermal.json", bench.time.now_ns)
    assert (told.hot, told.status and told.status.budget_w) == (False, 55.0)
    text = told_text(told, bench.time.now_ns)
    assert "of 55 W (sum of the rails, below the wall's: no VDD_IN here)" in text
    assert "ALARM   over_budget power" in text


def test_over_current_is_counted_from_the_first_tick_on(tmp_path: Path):
    bench, service, _ = a_service(tmp_path)
    counter = bench.tree.attribute("soctherm_oc", "oc3_event_cnt")
    counter.text = "4"
    assert service.turn().faults == ()
    bench.tree.renumber()
    counter.text = "6"
    bench.time.now_ns += S
    (fault,) = service.turn().faults
    assert (fault.code, fault.what) == ("over_current", "oc3")
    status = read_status(tmp_path / "thermal.json", bench.time.now_ns).status
    assert status is not None
    assert (status.oc_events["oc3"], status.oc_counted["oc3"]) == (6, 2)
    assert "instantaneous current 6 since boot; 2 since the service began" in told_text(
        read_status(tmp_path / "thermal.json", bench.time.now_ns), bench.time.now_ns
    )
