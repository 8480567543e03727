"""The real service process over a mounted fake /sys: budget, over-current, and the ways in which both can fail."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.thermal.fuse import can_mount
from tests.thermal.service.node import Node, codes, machine
from thermal.power.watch import HOLD_NS
from thermal.types import Severity

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not can_mount(), reason="needs /dev/fuse and the right to mount"),
]


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Node]:
    with machine(tmp_path) as node:
        node.tree.heat(60.0)
        node.start()
        node.until(lambda status: status.duty_pct < 80 and not status.faults, "a settled duty")
        yield node


def test_power_over_its_budget_is_an_alarm_not_heat(warm: Node):
    amps = warm.tree.attribute("ina3221", "curr1_input")
    before_ns = warm.ticks(1).at_ns
    amps.text = "3000"
    warm.tree.heat(61.0)  # a die that did not follow would be found frozen
    status = warm.until(lambda now: "over_budget" in codes(now), "alarm")
    assert status.at_ns - before_ns >= HOLD_NS
    (fault,) = status.faults
    assert (fault.severity, status.hot) == (Severity.ALARM, False)
    warm.tree.attribute("ina3221", "curr2_input").read_errno = errno.EIO
    status = warm.until(lambda now: "power_unknown" in codes(now), "unknown sum")
    assert status.total_w is None
    warm.tree.heat(59.0)
    amps.text = "100"  # cooler, as far as can be seen: not far enough to end an alarm
    assert "over_budget" in codes(warm.ticks(60))
    warm.tree.attribute("ina3221", "curr2_input").read_errno = 0
    warm.tree.heat(58.0)
    warm.until(lambda now: not now.faults, "end of the alarm")


def test_over_current_is_counted_over_renumbering_and_a_dead_counter(warm: Node):
    counter = warm.tree.attribute("soctherm_oc", "oc2_event_cnt")
    counter.text = "4"
    status = warm.until(lambda now: "over_current" in codes(now), "event")
    assert status.oc_counted["oc2"] == 4
    counter.read_errno = errno.EIO
    warm.until(lambda now: "oc_unread" in codes(now), "unread counter")
    warm.tree.renumber()
    counter.text, counter.read_errno = "9", 0
    status = warm.until(lambda now: now.oc_counted["oc2"] == 9, "what was missed")
    assert (status.oc_events["oc2"], status.hot) == (9, False)
    counter.text = "0"
    status = warm.until(lambda now: "oc_reset" in codes(now), "reset")
    assert status.oc_counted["oc2"] == 9
    warm.kill()
    counter.text = "20"
    warm.start()
    status = warm.ticks(3)
    assert (status.oc_events["oc2"], status.oc_counted["oc2"]) == (20, 0)
