"""The real service process over a mounted fake /sys: every sensor and device dies in every way, and the fan is safe."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.thermal.faketree import CPU_KHZ, CPUFREQ, DEVFREQ, GPU_HZ, ZONES_JP6, FakeTree
from tests.thermal.fuse import can_mount
from tests.thermal.service.node import STRICT_S, Node, codes, machine
from thermal.record import read_record
from thermal.service.history import history_files
from thermal.types import Failed, Fresh, Severity
from touchline.timeline import monotonic_ns, sleep_until

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not can_mount(), reason="needs /dev/fuse and the right to mount"),
]

LOWEST_KHZ = 729_600
FULL = 255


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with machine(tmp_path) as found:
        yield found


@pytest.fixture
def warm(node: Node) -> Node:
    """Running at 60 C, its duty settled on the line: well below full."""
    return warmed(node)


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Node]:
    """The same, of a node for which a tick is late that soon."""
    with machine(tmp_path, deadline_s=STRICT_S) as found:
        yield warmed(found)


def warmed(node: Node) -> Node:
    node.tree.heat(60.0)
    node.start()
    node.until(lambda status: status.duty_pct < 80 and not status.faults, "a settled duty")
    return node


def pause(seconds: float) -> None:
    sleep_until(monotonic_ns() + int(seconds * 1e9))


def limits(tree: FakeTree) -> tuple[int, int]:
    """What CPU (kHz) and GPU (Hz) may run at most."""
    cpu = max(int(tree[f"{CPUFREQ}/{name}/scaling_max_freq"].text) for name in ("policy0", "policy4"))
    return cpu, int(tree[f"{DEVFREQ}/17000000.gpu/max_freq"].text)


def test_a_well_node(warm: Node):
    fan = warm.tree.fan
    status = warm.until(lambda status: abs(fan.duty - status.duty_pct * 2.55) <= 3, "a fan at the duty that is said")
    assert not status.hot
    assert status.tj_c == 60.0
    assert status.duty_pct >= 30 + (60 - 55) * 70 / 15 - 0.1  # the asked line
    assert fan.enable == 1
    assert isinstance(status.rpm, Fresh)
    assert status.total_w == pytest.approx(19 * 0.8 + 19 * 0.5 + 5 * 0.9)
    said, late = warm.notified(), warm.ticks(1).late_ticks
    assert said[0].splitlines()[0] == "READY=1"
    assert sum("WATCHDOG=1" in one for one in said) >= len(said) - 2 - late
    assert warm.stop() == 0
    record = read_record(history_files(warm.folder / "history"))
    assert len(record.entries) >= status.ticks
    assert record.damaged == 0


@pytest.mark.parametrize("kind", ZONES_JP6)
def test_each_zone_dying_alone(warm: Node, kind: str):
    before = warm.tree.fan.duty
    warm.tree.zone(kind).read_errno = errno.EIO
    wanted = "tj_lost" if kind == "tj-thermal" else "sensor"
    status = warm.until(lambda status: wanted in codes(status), f"a fault of {kind}")
    assert not status.hot  # one dead sensor is no emergency
    assert warm.tree.fan.duty >= before - 6
    warm.tree.zone(kind).read_errno = 0
    warm.until(lambda status: not status.faults, "recovery")


def test_a_gated_zone_is_no_fault(warm: Node):
    warm.tree.zone("gpu-thermal").read_errno = warm.tree.zone("cv0-thermal").read_errno = errno.EAGAIN
    status = warm.ticks(15)
    assert not status.faults
    assert isinstance(status.zones["gpu"], Failed)


@pytest.mark.parametrize("number", [errno.EIO, errno.EAGAIN, errno.ENODEV])
def test_all_zones_dying_together(warm: Node, number: int):
    for temp in warm.tree.temps():
        temp.read_errno = number
    status = warm.until(lambda status: status.hot and status.cap_level == status.cap_levels, "the hot state")
    assert "blind" in codes(status)
    assert status.tj_c is None
    warm.true(lambda: warm.tree.fan.duty == FULL, "full speed")
    warm.true(lambda: limits(warm.tree)[0] == LOWEST_KHZ, "the lowest clocks")
    for temp in warm.tree.temps():
        temp.read_errno = 0
    warm.until(lambda status: not status.hot, "recovery")


def test_all_zones_gone(warm: Node):
    for kind in ZONES_JP6:
        warm.tree.remove(warm.tree.folder("type", kind))
    warm.until(lambda status: "blind" in codes(status), "the hot state")
    warm.true(lambda: warm.tree.fan.duty == FULL, "full speed")


def test_zones_that_read_nonsense(warm: Node):
    for text in ("", "hot", "-273150", "999999999"):
        warm.tree.zone("tj-thermal").text = text
        warm.until(lambda status: "tj_lost" in codes(status), f"distrust of {text!r}")
        warm.tree.zone("tj-thermal").text = "60000"
        warm.until(lambda status: not status.faults, "recovery")


def test_a_spike_up_is_believed_at_once_and_a_spike_down_is_not(warm: Node):
    tj = warm.tree.zone("tj-thermal")
    tj.text = "0"  # what a missing zone read elsewhere
    assert warm.ticks(5).duty_pct >= 53
    tj.text = "60000"
    warm.until(lambda status: not status.faults, "recovery")
    tj.text = "95000"
    warm.until(lambda status: status.duty_pct == 100, "full speed")
    tj.text = "60000"
    warm.until(lambda status: status.duty_pct < 80, "back to the line", 60.0)
    assert warm.stop() == 0
    entries = read_record(history_files(warm.folder / "history")).entries
    hot = [entry.command.duty_pct for entry in entries if (entry.sample.zones_c["tj"].value or 0.0) > 90]
    assert 100 in hot[:15], "at once, in ticks"


@pytest.mark.campaign
def test_a_frozen_junction_is_found_out(warm: Node):
    """15 s unchanged (thermal.judge.rules) while power moves by more than 10 W."""
    current = warm.tree.attribute("ina3221", "curr1_input")
    for step in range(100):
        current.text = "2200" if step % 2 else "800"
        for kind in ("cpu-thermal", "gpu-thermal"):
            warm.tree.zone(kind).text = str(60_000 + 1000 * (step % 7))
        pause(0.3)
        status = warm.told().status
        if status is not None and "tj_lost" in codes(status):
            assert status.tj_c is None
            return
    raise AssertionError(f"a frozen junction was believed for 30 s\n{warm.log()}")


def test_a_stalled_fan(warm: Node):
    warm.tree.fan.stalled = True
    status = warm.until(lambda status: "fan_stalled" in codes(status), "the stall")
    assert status.hot
    warm.true(lambda: warm.tree.fan.duty == FULL, "full speed")
    warm.tree.heat(68.0)  # without a fan that is near enough the limit
    warm.until(lambda status: status.cap_level > 0, "capped clocks")
    warm.tree.fan.stalled = False
    warm.until(lambda status: "fan_stalled" not in codes(status), "recovery")


def test_a_dead_tachometer(warm: Node):
    warm.tree.attribute("pwm_tach", "rpm").read_errno = errno.EIO
    warm.until(lambda status: "tachometer" in codes(status) and status.duty_pct == 100, "full speed")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EROFS])
def test_writes_refused(warm: Node, number: int):
    pwm = warm.tree.attribute("pwmfan", "pwm1")
    pwm.write_errno = number
    warm.tree.heat(69.0)
    status = warm.until(lambda status: "fan_refused" in codes(status) and status.cap_level, "an alarm with caps")
    assert status.hot
    warm.true(lambda: limits(warm.tree) == (LOWEST_KHZ, 420_750_000), "the lowest clocks")
    fault = next(fault for fault in status.faults if fault.code == "fan_refused")
    assert "/hwmon2/pwm1" in fault.text
    pwm.write_errno = 0
    warm.until(lambda status: "fan_refused" not in codes(status), "recovery")
    warm.true(lambda: warm.tree.fan.duty > 200, "a fan that follows")


def test_clock_limits_refused_or_ignored(warm: Node):
    path = f"{CPUFREQ}/policy4/scaling_max_freq"
    warm.tree[path].write_errno = errno.EACCES
    warm.tree.heat(76.0)
    status = warm.until(lambda status: {"caps_refused", "cap_ignored"} <= codes(status), "both faults")
    assert status.hot
    assert any(path in fault.text for fault in status.faults)


def test_a_fan_switched_off_underneath(warm: Node):
    with warm.tree.lock:
        warm.tree.fan.set_enable("0")
    warm.true(lambda: warm.tree.fan.duty > 100, "the fan on again")
    assert warm.tree.fan.enable == 1


def test_devices_renumbered_while_it_runs(warm: Node):
    warm.tree.renumber()
    warm.tree.heat(68.0)
    warm.until(lambda status: status.duty_pct > 88, "the line at 68 C")
    warm.true(lambda: warm.tree.fan.duty > 220, "the fan at its new number")
    assert warm.tree["/sys/class/hwmon/hwmon2/pwm1"].text == "33"  # somebody else's now
    assert isinstance(warm.ticks(3).rpm, Fresh)


def test_the_vendors_daemon_comes_back_and_fights(node: Node):
    node.install_vendor()
    node.tree.heat(60.0)
    node.start()
    assert node.vendor_state == "inactive"
    node.until(lambda status: not status.faults and status.duty_pct < 80, "a settled duty")
    node.vendor_state = "active"
    node.tree.fan.foreign = 51
    node.until(lambda status: {"fan_taken", "fan_refused"} & codes(status), "somebody else's duty")
    node.true(lambda: node.vendor_state == "inactive", "the daemon stopped again")
    node.tree.fan.foreign = None
    node.until(lambda status: not status.faults, "peace")


def test_a_stopped_process_is_seen_by_readers_and_late_when_it_goes_on(strict: Node):
    strict.pause()
    strict.notified()
    stood = strict.told().status
    assert stood is not None
    written = strict.tree.attribute("pwmfan", "pwm1").writes
    written.clear()
    pause(4 * STRICT_S)
    told = strict.told()
    assert told.hot
    assert not told.good
    assert "old" in told.why
    assert strict.notified() == []  # the watchdog starves
    strict.go_on()
    strict.true(lambda: str(FULL) in written, "full speed for the late tick")
    strict.until(lambda status: status.late_ticks > stood.late_ticks, "a late tick")
    strict.ticks(1)  # a tick's status comes before its word to the supervisor
    assert any("WATCHDOG=1" not in one for one in strict.notified())  # a late tick does not feed it


def test_a_read_that_hangs(strict: Node):
    strict.tree.zone("soc1-thermal").hangs = True
    strict.true(lambda: strict.tree.fan.duty == FULL, "full speed by the guard")
    strict.true(lambda: strict.told().hot, "word of it for readers")
    strict.tree.zone("soc1-thermal").hangs = False
    strict.mount.release()
    strict.until(lambda status: "late" not in codes(status), "the way back")
    assert "no tick for" in strict.log()


def test_a_power_monitor_that_hangs_stops_neither_the_law_nor_the_clocks(warm: Node):
    late = warm.ticks(1).late_ticks
    warm.tree.attribute("ina3221", "curr1_input").hangs = True
    status = warm.until(lambda status: "power_unknown" in codes(status), "unknown power")
    assert not status.hot
    assert status.duty_pct < 80
    assert isinstance(status.rpm, Fresh)
    warm.tree.heat(68.0)
    warm.until(lambda status: status.duty_pct > 88, "the line at 68 C")
    assert "no tick for" not in warm.log()
    warm.tree.attribute("ina3221", "curr1_input").hangs = False
    warm.mount.release()
    status = warm.until(lambda status: not status.faults, "recovery")
    assert status.late_ticks <= late + 2  # by a machine that has other work, never by the bus


def test_a_tachometer_that_hangs_is_full_speed_and_ticks_go_on(warm: Node):
    warm.tree.attribute("pwm_tach", "rpm").hangs = True
    status = warm.until(lambda status: "tachometer" in codes(status) and status.duty_pct == 100, "full speed")
    assert "power_unknown" not in codes(status)
    assert "no tick for" not in warm.log()


def test_kill_9_without_a_vendors_daemon(warm: Node):
    warm.kill()
    warm.tree.fan.pwm, warm.tree.fan.enable = 20, 0  # the worst it could have been left at
    done = warm.safe()
    assert done.returncode == 0, done.stderr
    assert (warm.tree.fan.duty, warm.tree.fan.enable) == (FULL, 1)
    warm.true(lambda: warm.told().hot, "word of it for readers")


def test_kill_9_with_the_vendors_daemon(node: Node):
    node.install_vendor()
    node.tree.heat(50.0)
    node.start()
    node.kill()
    assert node.vendor_state == "inactive"
    done = node.safe()
    assert done.returncode == 0, done.stderr
    assert node.vendor_state == "active"
    assert node.tree.fan.duty == FULL  # until the daemon writes its own


def test_a_vendors_daemon_that_does_not_start_leaves_full_speed(node: Node):
    node.install_vendor()
    node.start()
    node.kill()
    (node.programs / "broken").touch()
    node.safe()
    assert (node.vendor_state, node.tree.fan.duty) == ("inactive", FULL)


def test_a_clean_stop_gives_everything_back(node: Node):
    node.install_vendor()
    node.tree.heat(76.0)
    node.start()
    node.true(lambda: limits(node.tree)[0] < CPU_KHZ, "capped clocks")
    assert node.stop() == 0
    assert limits(node.tree) == (CPU_KHZ, GPU_HZ)
    assert (node.vendor_state, node.tree.fan.duty) == ("active", FULL)


def test_caps_of_a_killed_service_are_not_taken_for_the_machines_limits(node: Node):
    node.tree.heat(76.0)
    node.start()
    node.true(lambda: limits(node.tree)[0] == LOWEST_KHZ, "the lowest clocks")
    node.kill()
    node.safe()
    assert limits(node.tree)[0] == LOWEST_KHZ  # a crash is no reason to run hotter
    node.tree.heat(50.0)
    node.start()
    node.true(lambda: limits(node.tree) == (CPU_KHZ, GPU_HZ), "the machine's own limits")


def test_no_fan_at_all(tmp_path: Path):
    tree = FakeTree()
    tree.remove("/sys/class/hwmon/hwmon2")
    with machine(tmp_path, tree) as node:
        node.start()
        status = node.until(lambda status: "fan_refused" in codes(status), "an alarm")
        assert status.hot
        assert status.cap_level == status.cap_levels
        assert any(fault.severity is Severity.ALARM and "pwmfan" in fault.text for fault in status.faults)
        assert node.safe().returncode == 0
