"""The serial line of the agent as systemd runs it in the node: 8250 driver, udev's rights, read by the host.

The node has no device tree node for its port, which is named by its path. QEMU passes bytes as fast as the guest writes
them, so the pace is the agent's own. Its unit allows Tegra's driver; a drop-in allows this one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import Any

import pytest

from agent.uart.line import Line
from agent.uart.scan import Anew, Found, Scanner, Tally
from hil.virtual.node import VirtualNode
from hil.virtual.passenger.seat import CONFIG, RATE_HZ, UNIT, node_toml
from tests.hil.virtual.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.virtual]
campaign = pytest.mark.skipif(
    not os.environ.get("TOUCHLINE_CAMPAIGN"), reason="a minute and a half of faults: TOUCHLINE_CAMPAIGN=1"
)

PORT = "/dev/ttyS0"
DRIVER = "/sys/bus/pci/drivers/serial"  # 8250_pci
DROP_IN = "[Service]\nDeviceAllow=char-ttyS rw\nSupplementaryGroups=dialout\n"


class Wired:
    """A node whose agent speaks on the serial line, and what was heard of it."""

    def __init__(self, node: VirtualNode, *, allowed: bool = True, before: str = "") -> None:
        self.node = node
        self.found: list[Found] = []
        self._scanner = Scanner()
        node.uart.connect()
        passenger = replace(node.passenger, extra=(*node.passenger.extra, ("uart", (("port", PORT),))))
        node.guest.write_file(CONFIG, node_toml(passenger).encode())
        if allowed:
            node.run(f"mkdir -p /run/systemd/system/{UNIT}.d")
            node.guest.write_file(f"/run/systemd/system/{UNIT}.d/uart.conf", DROP_IN.encode())
        if before:
            node.run(before)
        node.run(f"systemctl daemon-reload && systemctl restart {UNIT}", timeout_s=120.0)
        node.await_agent()

    def hear(self) -> None:
        """Take in what came over the wire."""
        self.found += self._scanner.feed(self.node.uart.read(0.0))

    def lines(self) -> list[Line]:
        """Whole lines until now."""
        self.hear()
        return [one for one in self.found if isinstance(one, Line)]

    def await_lines(self, more: int, timeout_s: float = 120.0) -> list[Line]:
        """Until so many new ones have come."""
        before = len(self.lines())
        until(lambda: len(self.lines()) >= before + more, f"{more} lines", self.node, timeout_s)
        return self.lines()[before:]

    def tally(self) -> Tally:
        """What was heard, counted."""
        self.hear()
        tally = Tally()
        for one in self.found:
            tally.take(one)
        return tally

    def said(self) -> dict[str, Any]:
        """The agent's own words of the line."""
        uart = self.node.agent_status().get("uart", {})
        assert isinstance(uart, dict)
        return uart

    def well(self) -> bool:
        """Whether the agent says that it runs and its line is open."""
        status = self.node.agent_status()
        uart = status.get("uart", {})
        return bool(status.get("state") == "running" and uart.get("open") is True and uart.get("trouble") == "")

    def dropped(self) -> int:
        """How many lines the agent says it dropped."""
        counted = self.node.agent_status().get("dropped", {})
        return int(sum(n for reason, n in counted.items() if reason.startswith("uart")))

    def until_said(self, word: str) -> None:
        """Until its trouble holds this word."""
        until(lambda: word in str(self.said().get("trouble", "")), f"'{word}' as trouble", self.node)


@pytest.fixture
def wired(virtual_node: VirtualNode) -> Iterator[Wired]:
    yield Wired(virtual_node)
    virtual_node.uart.close()


def test_a_line_a_frame_reaches_the_host(wired: Wired):
    lines = wired.await_lines(120)
    until(wired.well, "word that all is well", wired.node)
    assert {line.camera for line in lines} == {1}
    assert [line.frame for line in lines] == sorted({line.frame for line in lines})
    assert all(line.raw is not None for line in lines)
    tally = wired.tally()
    assert not tally.bad
    until(lambda: wired.dropped() >= tally.lost, f"{tally.lost} lines counted as lost", wired.node)
    frame_s = [
        (after.ptp_ns - before.ptp_ns) / 1e9 / (after.frame - before.frame)
        for before, after in zip(lines, lines[60:], strict=False)
    ]
    assert median(frame_s) == pytest.approx(1 / RATE_HZ, rel=0.2)


@campaign
def test_kill_9_of_the_lines_process(wired: Wired):
    wired.await_lines(30)
    children = wired.node.agent_status()["children"]
    wired.node.run(f"kill -9 {children['uart']['pid']}")
    until(lambda: wired.node.agent_status()["children"]["uart"]["restarts"] == 1, "a restart", wired.node)
    wired.await_lines(30)
    after = wired.node.agent_status()["children"]
    assert {name: one["restarts"] for name, one in after.items()} == {name: int(name == "uart") for name in after}
    assert sum(isinstance(one, Anew) for one in wired.found) >= 1
    assert set(wired.tally().bad) <= {"torn"}


@campaign
def test_the_driver_is_unbound_and_bound(wired: Wired):
    """What unplugging is to an adapter: the port vanishes under the process and comes back."""
    wired.await_lines(30)
    wired.node.run(f"ls {DRIVER} | grep -m1 '^0000:' > /run/uart-device; cat /run/uart-device > {DRIVER}/unbind")
    until(lambda: wired.said().get("open") is False, "the loss of the port", wired.node)
    until(lambda: wired.node.agent_status()["state"] == "degraded", "word of it", wired.node)
    wired.node.run(f"cat /run/uart-device > {DRIVER}/bind && udevadm settle")
    until(lambda: wired.said().get("open") is True, "the port", wired.node)
    wired.await_lines(30)
    assert wired.said()["times_lost"] == 1
    assert wired.node.agent_status()["children"]["inference0"]["restarts"] == 0


@campaign
def test_a_login_on_the_port_is_named_with_its_fix(virtual_node: VirtualNode):
    getty = "serial-getty@ttyS0.service"
    wired = Wired(virtual_node, before=f"systemctl unmask {getty}; systemctl start {getty}")
    fix = f"systemctl disable --now {getty} && udevadm trigger -c add {PORT}"
    wired.until_said(fix)
    until(lambda: virtual_node.agent_status()["state"] == "degraded", "word of it", virtual_node)
    virtual_node.run(fix)
    until(lambda: wired.said().get("open") is True, "the port", virtual_node)
    wired.await_lines(30)
    virtual_node.uart.close()


@campaign
def test_a_unit_that_does_not_allow_the_port_says_so(virtual_node: VirtualNode):
    wired = Wired(virtual_node, allowed=False)
    wired.until_said("may not be opened by this user")
    virtual_node.uart.close()
