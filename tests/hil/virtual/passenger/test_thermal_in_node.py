"""The fan service with our unit in a booted node: real zones, the real pwm-fan, and the duty read back by the host.

The rotor is a model that moves when it is stepped, so every wait steps it. The node's kernel has no cpufreq: clocks are
not capped here, and the service says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hil.virtual.devices.registers import ZONES
from hil.virtual.node import VirtualNode
from hil.virtual.passenger.seat import CONFIG, RUN_DIR, node_toml
from tests.hil.virtual.waiting import until
from touchline.timeline import monotonic_ns

pytestmark = [pytest.mark.system, pytest.mark.virtual]

THERMAL = "touchline-thermal.service"
VENDOR = "nvfancontrol.service"
LINE_PCT = 53.0  # of the asked line at 60 C, 53.3 %, less a step of the PWM
LATE_RESTART = "[Service]\nRestartSec=30\n"
VENDOR_UNIT = """[Service]
ExecStart=/bin/sh -c 'while :; do for d in /sys/class/hwmon/hwmon*; do read -r n <$$d/name; \
test "$$n" = pwmfan && echo 51 >$$d/pwm1; done; sleep 0.5; done'
[Install]
WantedBy=multi-user.target
"""


class Cooled:
    """A node whose fan is ours."""

    def __init__(self, node: VirtualNode, *, drop_in: str = "", vendor: bool = False) -> None:
        self.node = node
        passenger = replace(node.passenger, extra=(*node.passenger.extra, ("thermal", (("full_rpm", 3000.0),))))
        node.guest.write_file(CONFIG, node_toml(passenger).encode())
        if drop_in:
            node.run(f"mkdir -p /run/systemd/system/{THERMAL}.d")
            node.guest.write_file(f"/run/systemd/system/{THERMAL}.d/test.conf", drop_in.encode())
        if vendor:
            node.guest.write_file(f"/etc/systemd/system/{VENDOR}", VENDOR_UNIT.encode())
        node.run("systemctl daemon-reload")
        if vendor:
            node.run(f"systemctl enable --now {VENDOR}")
        node.thermal.set_all_c(60.0)
        node.run(f"systemctl start {THERMAL}", timeout_s=90.0)

    def status(self) -> dict[str, Any]:
        got = self.node.run(f"cat {RUN_DIR}/thermal.json", check=False)
        return {} if got.exit_code else json.loads(got.out)

    def until(self, holds: Callable[[], object], what: str, timeout_s: float = 60.0) -> float:
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

    def settle(self) -> None:
        """On the line at 60 C, nothing wrong, seen from the host's side."""
        self.until(lambda: LINE_PCT <= self.node.fan.duty_pct() < LINE_PCT + 5 and not self.codes(), "the line", 120.0)

    def full(self, timeout_s: float = 30.0) -> None:
        self.until(lambda: self.node.fan.duty_pct() == 100.0, "full speed on the host's side", timeout_s)

    def shown(self, name: str, unit: str = THERMAL) -> str:
        """A property of a unit."""
        return self.node.run(f"systemctl show {unit} --property={name} --value").out.strip()

    def main_pid(self) -> str:
        return self.shown("MainPID")


def test_the_line_is_held_and_said(virtual_node: VirtualNode):
    cooled = Cooled(virtual_node)
    cooled.settle()
    status = cooled.status()
    assert status["hot"] is False
    assert status["tj_c"] == 60.0
    assert virtual_node.run(f"stat -Lc %a {RUN_DIR}/thermal.json").out.strip() == "644"
    virtual_node.thermal.set_all_c(69.0)
    cooled.until(lambda: virtual_node.fan.duty_pct() >= 95.0, "the line at 69 C")


@pytest.mark.parametrize("zone", ZONES)
def test_each_sensor_dying_alone(virtual_node: VirtualNode, zone: str):
    cooled = Cooled(virtual_node)
    cooled.settle()
    virtual_node.thermal.fail(zone)
    wanted = "tj_lost" if zone == "tj-thermal" else "sensor"
    cooled.until(lambda: wanted in cooled.codes(), f"a fault of {zone}")
    assert virtual_node.fan.duty_pct() >= LINE_PCT
    virtual_node.thermal.recover(zone)
    cooled.until(lambda: not cooled.codes(), "recovery")


def test_all_sensors_dying_together(virtual_node: VirtualNode):
    cooled = Cooled(virtual_node)
    cooled.settle()
    for zone in ZONES:
        virtual_node.thermal.fail(zone)
    cooled.full()
    assert cooled.status()["hot"] is True
    for zone in ZONES:
        virtual_node.thermal.recover(zone)
    cooled.until(lambda: cooled.status().get("hot") is False, "recovery", 90.0)


def test_a_stalled_fan_and_a_dead_tachometer(virtual_node: VirtualNode):
    cooled = Cooled(virtual_node)
    cooled.settle()
    virtual_node.fan.stall()
    cooled.until(lambda: "fan_stalled" in cooled.codes(), "the stall")
    cooled.full()
    virtual_node.fan.release()
    cooled.until(lambda: "fan_stalled" not in cooled.codes(), "recovery", 90.0)
    virtual_node.fan.fail_tachometer()
    cooled.until(lambda: "tachometer" in cooled.codes(), "the dead tachometer")
    cooled.full()


def test_the_fans_driver_bound_again_under_another_number(virtual_node: VirtualNode):
    cooled = Cooled(virtual_node)
    cooled.settle()
    bound = "/sys/bus/platform/drivers/pwm-fan"
    virtual_node.run(f"d=$(basename $(ls -d {bound}/*fan*)); echo $d > {bound}/unbind; echo $d > {bound}/bind")
    virtual_node.thermal.set_all_c(68.0)
    cooled.until(lambda: virtual_node.fan.duty_pct() >= 90.0, "the line at 68 C")


def test_kill_9_leaves_full_speed(virtual_node: VirtualNode):
    cooled = Cooled(virtual_node, drop_in=LATE_RESTART)
    cooled.settle()
    virtual_node.run(f"kill -9 {cooled.main_pid()}")
    cooled.full(5.0)
    assert virtual_node.fan.enabled()
    cooled.until(lambda: cooled.shown("SubState") == "auto-restart", "the end of what runs after its death", 10.0)
    assert virtual_node.fan.duty_pct() == 100.0


def test_a_stopped_process_is_killed_by_the_watchdog_and_leaves_full_speed(virtual_node: VirtualNode):
    cooled = Cooled(virtual_node, drop_in=LATE_RESTART)
    cooled.settle()
    virtual_node.run(f"kill -STOP {cooled.main_pid()}")
    cooled.full(30.0)


def test_the_vendors_daemon_is_stopped_and_given_back(virtual_node: VirtualNode):
    cooled = Cooled(virtual_node, vendor=True)
    assert cooled.shown("ActiveState", VENDOR) == "inactive"
    cooled.settle()
    virtual_node.run(f"systemctl start {VENDOR}")  # somebody starts it: it is stopped again
    cooled.until(lambda: cooled.shown("ActiveState", VENDOR) == "inactive", "the fan taken again")
    virtual_node.run(f"kill -9 {cooled.main_pid()}")
    cooled.until(lambda: cooled.shown("NRestarts") == "1", "a restart")
    cooled.until(lambda: cooled.shown("ActiveState", VENDOR) == "inactive", "taken after it")
    virtual_node.run(f"systemctl stop {THERMAL}", timeout_s=60.0)
    cooled.until(lambda: cooled.shown("ActiveState", VENDOR) == "active", "the daemon back")
    virtual_node.run(f"systemctl disable --now {VENDOR}")
