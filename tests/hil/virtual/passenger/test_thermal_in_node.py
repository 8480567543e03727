"""The fan service with our unit in a booted node: real zones, the real pwm-fan, and the duty read back by the host.

The rotor is a model that moves when it is stepped, so every wait steps it. The node's kernel has no cpufreq: clocks are
not capped here, and the service says so. Its zone ``tj-thermal`` has the fan as cooling device, as boards may.
Every test begins where the service has settled on the line; the agent is stopped, for the fan is not its business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hil.virtual.devices.registers import ZONES
from hil.virtual.fixtures import lent
from hil.virtual.lending import Lender
from hil.virtual.node import VirtualNode
from hil.virtual.passenger.seat import CONFIG, RUN_DIR, UNIT, node_toml
from hil.virtual.site import Golden
from tests.hil.virtual.waiting import pause, until
from touchline.timeline import monotonic_ns

pytestmark = [pytest.mark.system, pytest.mark.virtual]

THERMAL = "touchline-thermal.service"
HOLD = "touchline-thermal-hold.service"
VENDOR = "nvfancontrol.service"
LINE_PCT = 53.0  # of the asked line at 60 C, 53.3 %, less a step of the PWM
LATE_RESTART = "[Service]\nRestartSec=240\n"
VENDOR_UNIT = """[Service]
ExecStart=/bin/sh -c 'while :; do for d in /sys/class/hwmon/hwmon*; do read -r n <$$d/name; \
test "$$n" = pwmfan && echo 51 >$$d/pwm1; done; sleep 0.5; done'
[Install]
WantedBy=multi-user.target
"""


class Cooled:
    """A node whose fan is ours."""

    def __init__(self, node: VirtualNode) -> None:
        self.node = node
        passenger = replace(node.passenger, extra=(*node.passenger.extra, ("thermal", (("full_rpm", 3000.0),))))
        self.config = node_toml(passenger)

    def set_up(self) -> None:
        """The agent stopped, all zones at 60 C, and the service on its line."""
        self.node.run(f"systemctl stop {UNIT}", timeout_s=120.0)
        self.node.guest.write_file(CONFIG, self.config.encode())
        self.node.thermal.set_all_c(60.0)
        self.node.run(f"systemctl start {THERMAL}", timeout_s=90.0)
        self.settle()

    def restart_late(self) -> None:
        """A restart that leaves time to look at what runs before it."""
        self.node.run(f"mkdir -p /run/systemd/system/{THERMAL}.d")
        self.node.guest.write_file(f"/run/systemd/system/{THERMAL}.d/test.conf", LATE_RESTART.encode())
        self.node.run("systemctl daemon-reload")

    def status(self) -> dict[str, Any]:
        got = self.node.run(f"cat {RUN_DIR}/thermal.json", check=False)
        return {} if got.exit_code else json.loads(got.out)

    def until(self, holds: Callable[[], object], what: str, timeout_s: float = 120.0) -> float:
        """Wait, the rotor turning meanwhile; status and journal are in the failure."""

        def look() -> bool:
            self.node.fan.step(monotonic_ns() / 1e9)
            return bool(holds())

        try:
            return until(look, what, self.node, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.status()}\n{self.node.journal(40, THERMAL)}") from error

    def codes(self) -> set[str]:
        return {fault["code"] for fault in self.status().get("faults", ())}

    def well(self) -> bool:
        """Whether the service has spoken and names no fault."""
        status = self.status()
        return bool(status) and not status["faults"]

    def settle(self) -> None:
        """On the line at 60 C, nothing wrong, seen from the host's side."""
        self.until(lambda: LINE_PCT <= self.node.fan.duty_pct() < LINE_PCT + 5 and self.well(), "the line")

    def full(self) -> None:
        self.until(lambda: self.node.fan.duty_pct() == 100.0, "full speed on the host's side", 60.0)

    def shown(self, name: str, unit: str = THERMAL) -> str:
        """A property of a unit."""
        return self.node.run(f"systemctl show {unit} --property={name} --value").out.strip()

    def kill(self) -> None:
        """kill -9."""
        self.node.run(f"kill -9 {self.shown('MainPID')}")

    def lowest_pct(self, *temps_c: float) -> float:
        """The lowest duty while all zones go from one temperature to the next, each for a few of the kernel's polls."""
        lowest = 100.0
        for temp_c in temps_c:
            self.node.thermal.set_all_c(temp_c)
            end_ns = monotonic_ns() + 3_000_000_000
            while monotonic_ns() < end_ns:
                self.node.fan.step(monotonic_ns() / 1e9)
                lowest = min(lowest, self.node.fan.duty_pct())
                pause(0.2)
        return lowest


@pytest.fixture(scope="module")
def settled(virtual_golden: Golden, virtual_lender: Lender, virtual_folder: Path) -> Golden:
    """The node with its service on the line, frozen."""
    site = virtual_lender.lend(virtual_golden)
    Cooled(site.node("a")).set_up()
    frozen = site.freeze(virtual_folder / "golden-cooled", {})
    virtual_lender.close()
    return frozen


@pytest.fixture
def virtual_node(settled: Golden, virtual_lender: Lender, request: pytest.FixtureRequest) -> Iterator[VirtualNode]:
    with lent(settled, virtual_lender, request) as site:
        yield site.node("a")


@pytest.fixture
def cooled(virtual_node: VirtualNode) -> Cooled:
    return Cooled(virtual_node)


@pytest.mark.virtual(tidy=True)
@pytest.mark.parametrize("zone", ZONES)
def test_each_sensor_dying_alone(cooled: Cooled, zone: str):
    cooled.settle()
    cooled.node.thermal.fail(zone)
    wanted = "tj_lost" if zone == "tj-thermal" else "sensor"
    cooled.until(lambda: wanted in cooled.codes(), f"a fault of {zone}")
    assert cooled.node.fan.duty_pct() >= LINE_PCT
    cooled.node.thermal.recover(zone)
    cooled.until(cooled.well, "recovery")


def test_the_line_is_held_and_said(cooled: Cooled):
    cooled.settle()
    status = cooled.status()
    assert status["hot"] is False
    assert status["tj_c"] == 60.0
    assert cooled.node.run(f"stat -Lc %a {RUN_DIR}/thermal.json").out.strip() == "644"
    cooled.node.thermal.set_all_c(69.0)
    cooled.until(lambda: cooled.node.fan.duty_pct() >= 95.0, "the line at 69 C")


def test_all_sensors_dying_together(cooled: Cooled):
    for zone in ZONES:
        cooled.node.thermal.fail(zone)
    cooled.full()
    cooled.until(lambda: cooled.status().get("hot") is True, "word of it")
    for zone in ZONES:
        cooled.node.thermal.recover(zone)
    cooled.until(lambda: cooled.status().get("hot") is False, "recovery")


def test_a_stalled_fan_and_a_dead_tachometer(cooled: Cooled):
    cooled.node.fan.stall()
    cooled.until(lambda: "fan_stalled" in cooled.codes(), "the stall")
    cooled.full()
    cooled.node.fan.release()
    cooled.until(lambda: "fan_stalled" not in cooled.codes(), "recovery")
    cooled.node.fan.fail_tachometer()
    cooled.until(lambda: "tachometer" in cooled.codes(), "the dead tachometer")
    cooled.full()


def test_the_fans_driver_bound_again_under_another_number(cooled: Cooled):
    bound = "/sys/bus/platform/drivers/pwm-fan"
    cooled.node.run(f"d=$(basename $(ls -d {bound}/*fan*)); echo $d > {bound}/unbind; echo $d > {bound}/bind")
    cooled.node.thermal.set_all_c(66.0)  # 81.3 % of the line; the driver itself begins at full speed
    cooled.until(lambda: 80.0 <= cooled.node.fan.duty_pct() < 95.0, "the line at 66 C")


def test_kill_9_leaves_full_speed(cooled: Cooled):
    cooled.restart_late()
    cooled.kill()
    cooled.full()
    assert cooled.node.fan.enabled()
    cooled.until(lambda: cooled.shown("SubState") == "auto-restart", "the end of what runs after its death")
    assert cooled.node.fan.duty_pct() == 100.0


def test_a_stopped_process_is_killed_by_the_watchdog_and_leaves_full_speed(cooled: Cooled):
    cooled.restart_late()
    cooled.node.run(f"kill -STOP {cooled.shown('MainPID')}")
    cooled.full()


@pytest.mark.virtual(failed_units=[THERMAL])
def test_given_up_the_fan_stays_at_full_speed_whatever_the_kernels_governor_wants(cooled: Cooled):
    """A configuration that cannot be read: no restart for ever, no silence, no fan that goes down as the node cools."""
    cooled.node.guest.write_file(CONFIG, f"{cooled.config}\nno toml".encode())
    cooled.kill()
    cooled.until(lambda: cooled.shown("ActiveState") == "failed", "the end")
    assert cooled.shown("ExecMainStatus") == "3"
    assert cooled.shown("NRestarts") == "1"
    cooled.until(lambda: "ExecMainStatus=3" in cooled.node.run("cat /var/log/touchline/given-up.log").out, "its word")
    cooled.until(lambda: cooled.shown("ActiveState", HOLD) == "active", "the hold")
    cooled.lowest_pct(70.0, 50.0, 40.0)
    cooled.full()
    cooled.node.run(f"systemctl stop {HOLD}")
    cooled.until(lambda: cooled.lowest_pct(70.0, 50.0, 40.0) < 90.0, "what it is there for")
    cooled.node.guest.write_file(CONFIG, cooled.config.encode())
    cooled.node.run(f"systemctl start {HOLD}")
    cooled.full()
    cooled.node.run(f"systemctl start {THERMAL}", timeout_s=90.0)
    assert cooled.shown("ActiveState", HOLD) == "inactive"
    cooled.until(lambda: cooled.status().get("hot") is False, "the service at work")


def test_the_vendors_daemon_is_stopped_and_given_back(cooled: Cooled):
    cooled.node.run(f"systemctl stop {THERMAL}", timeout_s=90.0)
    cooled.node.guest.write_file(f"/etc/systemd/system/{VENDOR}", VENDOR_UNIT.encode())
    cooled.node.run(f"systemctl daemon-reload; systemctl enable --now {VENDOR}")
    cooled.node.run(f"systemctl start {THERMAL}", timeout_s=90.0)
    cooled.until(lambda: cooled.shown("ActiveState", VENDOR) == "inactive", "the fan taken")
    cooled.until(lambda: cooled.node.fan.duty_pct() < 95.0 and cooled.well(), "the service at work")
    cooled.node.run(f"systemctl start {VENDOR}")  # somebody starts it: it is stopped again
    cooled.until(lambda: cooled.shown("ActiveState", VENDOR) == "inactive", "the fan taken again")
    cooled.kill()
    cooled.until(lambda: cooled.shown("NRestarts") == "1", "a restart")
    cooled.until(lambda: cooled.shown("ActiveState", VENDOR) == "inactive", "taken after it")
    cooled.node.run(f"systemctl stop {THERMAL}", timeout_s=90.0)
    cooled.until(lambda: cooled.shown("ActiveState", VENDOR) == "active", "the daemon back")
    cooled.node.run(f"systemctl disable --now {VENDOR}")
