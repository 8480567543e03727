"""The drill's cut on real kernels: everything is as it was, whoever is killed in the middle."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from failover.cut import MAX_CUT_S, PLAN_FILE, LinkCut, Plan, restore_leftover
from tests.failover.actions.net import ThreeHosts, wait_until
from touchline.errors import HardwareError, ResourceError
from touchline.timeline import monotonic_ns

pytestmark = pytest.mark.system
SOON_S = 8.0  # well before a guard ends the longest cut by its own clock
DEADLINE_S = 60.0


@pytest.fixture
def net(three: ThreeHosts) -> ThreeHosts:
    """A with everything that switching off makes the kernel forget."""
    for words in (
        "route add default via 192.0.2.3",
        "route add 198.51.100.0/24 via 192.0.2.3 metric 50 proto static",
        "route add 203.0.113.0/24 dev eth0 src 192.0.2.1",
        "route add 203.0.113.128/25 via 192.0.2.3 table 100",
        "-6 route add default via 2001:db8::3 metric 77",
        "-6 route add 2001:db8:5::/48 via 2001:db8::3",
        "address add 2001:db8:7::1/64 dev eth0 nodad",
    ):
        three.ip("a", *words.split())
    return three


def world(net: ThreeHosts) -> list[str]:
    """Addresses and routes of A, as ip(8) shows them, less what changes by itself."""
    shown = net.ip("a", "-4", "route", "show", "table", "all") + net.ip("a", "-6", "route", "show", "table", "all")
    shown += net.ip("a", "-o", "address", "show")
    lines = [re.sub(r"^\d+: |expires \d+sec| +", " ", line).strip() for line in shown.splitlines()]
    return sorted(line for line in lines if "fe80" not in line and "ff00" not in line)


def is_up(net: ThreeHosts) -> bool:
    return ",UP" in net.ip("a", "link", "show", "eth0")


def start(net: ThreeHosts, tmp_path: Path, seconds: float) -> tuple[subprocess.Popen[Any], int]:
    """A drill in its cut; returns its process and its guard's number."""
    arguments = ["-m", "tests.failover.cutter", str(tmp_path), str(seconds), "eth0"]
    process = net.start("a", *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    guard = int(process.stdout.readline())
    assert not is_up(net) and (tmp_path / PLAN_FILE).exists()
    return process, guard


def test_everything_is_as_it_was(net, tmp_path):
    before = world(net)
    assert len([line for line in before if "via" in line]) == 5

    def drill() -> None:
        cut = LinkCut(["eth0"], tmp_path)
        said = cut.prepare(MAX_CUT_S)
        assert re.fullmatch(r"eth0 \(\d+ routes and addresses kept\)", said)
        at_ns = cut.cut()
        assert not is_up(net)
        assert world(net) != before
        restored = cut.restore()
        assert restored.trouble == () and restored.at_ns > at_ns
        assert cut.restore().trouble == ()  # once more does nothing

    net.inside("a", drill)
    wait_until(lambda: is_up(net) and world(net) == before, DEADLINE_S, "as it was")
    assert not (tmp_path / PLAN_FILE).exists()


def test_a_killed_drill_is_cleaned_up_at_once(net, tmp_path):
    before = world(net)
    process, _guard = start(net, tmp_path, MAX_CUT_S)
    process.kill()
    wait_until(lambda: is_up(net) and world(net) == before, SOON_S, "as it was")
    wait_until(lambda: not (tmp_path / PLAN_FILE).exists(), DEADLINE_S)


def test_a_hung_drill_is_ended_by_the_guards_own_clock(net, tmp_path):
    before = world(net)
    process, _guard = start(net, tmp_path, 3.0)
    os.kill(process.pid, signal.SIGSTOP)
    wait_until(lambda: is_up(net) and world(net) == before, DEADLINE_S, "as it was")


def test_a_terminated_guard_restores_first(net, tmp_path):
    before = world(net)
    _process, guard = start(net, tmp_path, MAX_CUT_S)
    os.kill(guard, signal.SIGTERM)
    wait_until(lambda: is_up(net) and world(net) == before, SOON_S, "as it was")


def test_without_its_guard_the_drill_restores_itself(net, tmp_path):
    before = world(net)
    process, guard = start(net, tmp_path, MAX_CUT_S)
    os.kill(guard, signal.SIGKILL)
    said, _ = process.communicate(b"\n", timeout=DEADLINE_S)
    assert said == b"[]\n"
    wait_until(lambda: is_up(net) and world(net) == before, DEADLINE_S, "as it was")
    assert not (tmp_path / PLAN_FILE).exists()


def test_both_killed_the_next_start_restores(net, tmp_path):
    before = world(net)
    process, guard = start(net, tmp_path, MAX_CUT_S)
    os.kill(guard, signal.SIGKILL)
    process.kill()
    process.wait()
    assert not is_up(net)
    assert net.inside("a", lambda: restore_leftover(tmp_path)) is None  # the guard's time is not over
    plan = Plan.load((tmp_path / PLAN_FILE).read_text())
    over = Plan(plan.links, plan.kept, monotonic_ns(), plan.boot)
    (tmp_path / PLAN_FILE).write_text(over.dump())
    restored = net.inside("a", lambda: restore_leftover(tmp_path))
    assert restored is not None and restored.trouble == ()
    wait_until(lambda: is_up(net) and world(net) == before, DEADLINE_S, "as it was")
    assert net.inside("a", lambda: restore_leftover(tmp_path)) is None


def test_what_cannot_be_cut_is_said_before_anything_is_touched(net, tmp_path):
    with pytest.raises(HardwareError, match="eth7 does not exist"):
        net.inside("a", lambda: LinkCut(["eth0", "eth7"], tmp_path).prepare(1.0))
    assert is_up(net) and not (tmp_path / PLAN_FILE).exists()
    net.ip("a", "link", "set", "eth0", "down")
    with pytest.raises(HardwareError, match="switched off already"):
        net.inside("a", lambda: LinkCut(["eth0"], tmp_path).prepare(1.0))
    with pytest.raises(ResourceError, match="no interface to cut") as caught:
        LinkCut([], tmp_path)
    assert "drill_interfaces" in caught.value.hint


def test_two_drills_at_once_are_one(net, tmp_path):
    def twice() -> None:
        first, second = LinkCut(["eth0"], tmp_path), LinkCut(["eth0"], tmp_path)
        first.prepare(1.0)
        with pytest.raises(ResourceError, match="another drill runs"):
            second.prepare(1.0)
        assert first.restore().trouble == ()

    net.inside("a", twice)
    assert is_up(net)


def test_after_a_reboot_the_plan_is_thrown_away(tmp_path):
    (tmp_path / PLAN_FILE).write_text(Plan(((99, "eth0"),), (), 0, "another boot").dump())
    assert restore_leftover(tmp_path) is None
    assert not (tmp_path / PLAN_FILE).exists()


def test_a_damaged_plan_is_said(tmp_path):
    (tmp_path / PLAN_FILE).write_text('{"links": 3}')
    restored = restore_leftover(tmp_path)
    assert restored is not None and "damaged" in restored.trouble[0]
