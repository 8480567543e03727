"""Protection with our units in a booted node: real IIO driver, a relay on gpio-sim seen from its far side, a real disk.

The node's data disk is mounted at /var/lib/touchline, which is what is guarded here.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import pytest

from hil.virtual.node import VirtualNode
from hil.virtual.passenger.seat import CONFIG, RUN_DIR, node_toml
from tests.hil.virtual.waiting import pause, until

pytestmark = [pytest.mark.system, pytest.mark.virtual]
campaign = pytest.mark.skipif(
    not os.environ.get("TOUCHLINE_CAMPAIGN"), reason="4 min of an emulated node: TOUCHLINE_CAMPAIGN=1"
)

PROTECT = "touchline-protect.service"
TOUCHLINE = "/opt/touchline/current/bin/touchline"
EVENTS = "/var/lib/touchline-protect/protect.jsonl"
DATA = "/var/lib/touchline"
HOLDER = "sh -c 'exec gpioset --mode=signal $(gpiofind relay)=1'"  # of libgpiod 1, as in Debian 12
TRACE, AGENT = "touchline-trace.service", "touchline-agent.service"
ARCHIVE = f"{DATA}/trace"
CUT, FED = 0, 1  # relay_cut = "inactive": the line low cuts


class Guarded:
    """A node whose cameras hang on the line "relay"."""

    def __init__(self, node: VirtualNode, *, sensor: bool = True, **more: Any) -> None:
        self.node = node
        rows = {"relay_line": "relay", "disk_mount": "", "disk_look_s": 1.0, "trace_max": 0, **more}
        if not sensor:
            rows["accelerometer"] = ""
        passenger = replace(node.passenger, extra=(*node.passenger.extra, ("protect", tuple(rows.items()))))
        node.guest.write_file(CONFIG, node_toml(passenger).encode())
        if sensor:
            node.imu.set_g(0.0, 0.0, 1.0)
        node.run("systemctl daemon-reload")
        node.run(f"systemctl start {PROTECT}", timeout_s=90.0)

    def status(self) -> dict[str, Any]:
        got = self.node.run(f"cat {RUN_DIR}/protect.json", check=False)
        return {} if got.exit_code else json.loads(got.out)

    def until(self, holds: Any, what: str, timeout_s: float = 120.0) -> None:
        try:
            until(lambda: bool(holds()), what, self.node, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.status()}\n{self.node.journal(40, PROTECT)}") from error

    def line(self) -> int:
        """The relay's pin as the world outside sees it."""
        return self.node.gpio["relay"].value()

    def rest(self) -> None:
        self.until(lambda: (self.status().get("accelerometer") or {}).get("rest"), "rest")

    def kinds(self) -> list[str]:
        return [json.loads(line)["kind"] for line in self.node.run(f"cat {EVENTS}").out.splitlines()]

    def codes(self) -> set[str]:
        return {fault["code"] for fault in self.status().get("faults", ())}

    def reset(self) -> int:
        return self.node.run(f"{TOUCHLINE} protect reset --config {CONFIG} --yes", check=False).exit_code

    def kill(self) -> None:
        pid = self.node.run(f"systemctl show {PROTECT} --property=MainPID --value").out.strip()
        self.node.run(f"kill -9 {pid}")


def test_shaken_is_cut_latched_and_reset_by_a_person(virtual_node: VirtualNode):
    guarded = Guarded(virtual_node)
    guarded.rest()
    assert guarded.line() == FED
    assert virtual_node.gpio["relay"].consumer() == "touchline-protect"
    virtual_node.imu.set_g(1.5, 0.0, 1.0)
    assert virtual_node.gpio["relay"].wait(CUT, 60.0)
    assert "shaken" in guarded.kinds()
    assert guarded.reset() == 8, "refused while it is not at rest"
    guarded.kill()
    guarded.until(lambda: "start_latched" in guarded.kinds(), "the next life")
    guarded.until(lambda: guarded.status().get("latched") and guarded.line() == CUT, "the cut after a kill")
    virtual_node.imu.set_g(0.0, 0.0, 1.0)
    guarded.rest()
    assert guarded.line() == CUT
    guarded.until(lambda: guarded.reset() == 0, "a reset at rest")  # late samples end a rest, another one follows
    assert guarded.line() == FED


@campaign
def test_a_short_knock_is_no_shaking(virtual_node: VirtualNode):
    """The registers are set over the monitor, which takes its time: the hold is made longer than that."""
    guarded = Guarded(virtual_node, shake_ms=5000.0)
    guarded.rest()
    virtual_node.imu.set_g(0.0, 0.0, 1.9)
    pause(0.5)
    virtual_node.imu.set_g(0.0, 0.0, 1.0)
    guarded.rest()
    assert guarded.status()["latched"] is False
    assert guarded.line() == FED


def test_the_event_survives_a_power_cut_right_after_the_relay_moved(virtual_node: VirtualNode):
    guarded = Guarded(virtual_node)
    guarded.rest()
    virtual_node.run(f"systemctl enable {PROTECT}")
    virtual_node.imu.set_g(1.5, 0.0, 1.0)
    assert virtual_node.gpio["relay"].wait(CUT, 60.0)
    virtual_node.power_cut(3)
    virtual_node.boot()
    assert "shaken" in guarded.kinds()
    guarded.until(lambda: guarded.status().get("latched"), "the latch after the boot", 180.0)
    assert guarded.line() == CUT


def test_a_lost_accelerometer_is_an_alarm_or_a_cut(virtual_node: VirtualNode):
    guarded = Guarded(virtual_node, on_sensor_loss="cut")
    guarded.rest()
    virtual_node.imu.fail()
    assert virtual_node.gpio["relay"].wait(CUT, 90.0)
    guarded.until(lambda: {"sensor_lost", "shaken"} <= guarded.codes(), "both alarms")
    virtual_node.imu.recover()
    guarded.rest()
    guarded.until(lambda: guarded.reset() == 0, "a reset at rest")  # late samples end a rest, another one follows


def test_a_line_that_somebody_holds_is_refused_and_taken_once_free(virtual_node: VirtualNode):
    """No accelerometer needed."""
    virtual_node.run(f"systemd-run --unit=holder {HOLDER}")
    until(lambda: virtual_node.gpio["relay"].consumer() is not None, "a holder", virtual_node)
    holder = virtual_node.gpio["relay"].consumer()
    guarded = Guarded(virtual_node, sensor=False)
    guarded.until(lambda: "relay" in guarded.codes(), "the refusal")
    assert repr(holder) in json.dumps(guarded.status()["relay"])
    virtual_node.run("systemctl stop holder")
    guarded.until(lambda: virtual_node.gpio["relay"].consumer() == "touchline-protect", "the line")


@campaign
def test_a_test_cuts_and_feeds_again(virtual_node: VirtualNode):
    guarded = Guarded(virtual_node, sensor=False)
    virtual_node.run(f"{TOUCHLINE} protect test --config {CONFIG} --seconds 5 --yes")
    assert guarded.line() == CUT
    assert virtual_node.gpio["relay"].wait(FED, 20.0)
    guarded.until(lambda: guarded.kinds()[-1] == "test_over", "the event of its end")


@campaign
def test_a_full_disk_is_made_read_only_and_writable_again(virtual_node: VirtualNode):
    """The agent's spool is open for writing: its unit is stopped for it, and started again."""
    words = {"disk_mount": DATA, "disk_quiesce_s": 2.0, "disk_retention": "off"}
    guarded = Guarded(virtual_node, sensor=False, disk_stop_units=["touchline-agent.service"], **words)
    virtual_node.run(
        f"fallocate -l $(df --output=avail -B1 {DATA} | tail -1 | awk '{{print int($1*0.95)}}') {DATA}/ballast"
    )
    guarded.until(lambda: guarded.status()["disk"]["phase"] == "read_only", "read-only", 240.0)
    assert virtual_node.run(f"touch {DATA}/x", check=False).exit_code != 0, "for every process, not for ours alone"
    virtual_node.run(f"systemctl stop {PROTECT}", timeout_s=90.0)
    virtual_node.run(f"touch {DATA}/x")  # a stop gives it back ...
    virtual_node.run(f"systemctl start {PROTECT}", timeout_s=90.0)
    guarded.until(lambda: guarded.status()["disk"]["phase"] == "read_only", "read-only again", 240.0)
    lives = guarded.kinds().count("start")
    guarded.kill()  # ... and after a kill the next life takes it over
    guarded.until(lambda: guarded.kinds().count("start") > lives, "the next life")
    virtual_node.run(f"mount -o remount,rw {DATA} && rm {DATA}/ballast")
    guarded.until(lambda: guarded.status()["disk"]["phase"] == "open", "writable", 60.0)
    virtual_node.await_agent()
    kinds = guarded.kinds()
    assert {"disk_full", "disk_quiesce", "disk_read_only", "disk_released"} <= set(kinds)
    assert "disk_open" in kinds[len(kinds) - kinds[::-1].index("start") :], "the last life knew that it was ours"


@campaign
def test_the_flush_runs_every_30_s(virtual_node: VirtualNode):
    guarded = Guarded(virtual_node, sensor=False)
    virtual_node.run("systemctl start touchline-flush.timer")
    guarded.until(lambda: (guarded.status().get("flush") or {}).get("runs", 0) >= 2, "two flushes", 120.0)
    assert guarded.status()["flush"]["ok"] is True


@campaign
def test_the_trace_is_flushed_at_the_agents_stop_and_holds_up_no_restart(virtual_node: VirtualNode):
    Guarded(virtual_node, sensor=False, trace_max="16MiB", trace_spare_ram="1MiB")

    def archived() -> int:
        return len(virtual_node.run(f"ls {ARCHIVE}", check=False).out.split())

    def show(unit: str, what: str) -> str:
        return virtual_node.run(f"systemctl show {unit} --property={what} --value").out.strip()

    virtual_node.run(f"systemctl restart {AGENT}", timeout_s=150.0)
    until(lambda: bool(virtual_node.run(f"ls {RUN_DIR}/trace/cam1/*.open", check=False).out), "a ring", virtual_node)
    assert show(TRACE, "ActiveState") == "active"
    virtual_node.run(f"kill -9 {show(AGENT, 'MainPID')}")
    until(lambda: show(AGENT, "NRestarts") == "1", "a crash", virtual_node)
    virtual_node.await_agent()
    virtual_node.run(f"systemctl restart {AGENT}", timeout_s=150.0)
    assert (show(TRACE, "ActiveState"), archived()) == ("active", 0), "no restart waits for a flush"
    virtual_node.run(f"systemctl stop {AGENT}", timeout_s=150.0)
    until(lambda: show(TRACE, "ActiveState") == "inactive", "the flush", virtual_node, 120.0)
    assert archived() > 0
    assert show(TRACE, "Result") == "success"
    virtual_node.run(f"systemctl start {AGENT}", timeout_s=150.0)
    virtual_node.await_agent()
    assert show(TRACE, "ActiveState") == "active"
