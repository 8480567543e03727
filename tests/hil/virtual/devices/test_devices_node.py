"""Every handle on a running node: what is set outside is what the node's own kernel shows, by the board's paths."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from hil.virtual.devices import power_on
from hil.virtual.devices.camera import Camera
from hil.virtual.devices.rails import RAILS
from hil.virtual.devices.registers import ZONES
from hil.virtual.ports import Guest, GuestResult
from touchline.errors import HardwareError
from touchline.timeline import monotonic_ns, sleep_until

if TYPE_CHECKING:
    from hil.virtual.node import VirtualNode

# Stock vivid prints this with a trace when the emulated processor is late: linux/drivers/media/test-drivers/vivid.
LATE_VIVID = "schedule_timeout: wrong timeout value"

pytestmark = [pytest.mark.system, pytest.mark.virtual(allow=[LATE_VIVID], tidy=True)]

SMALL = "--set-fmt-video=width=320,height=180,pixelformat=NV12 --set-parm=30"


def await_true(condition: Callable[[], bool], timeout_s: float = 60.0) -> float:
    """Seconds until the condition held; the test fails when it does not in time."""
    began_ns = monotonic_ns()
    while not condition():
        waited_s = (monotonic_ns() - began_ns) / 1e9
        assert waited_s < timeout_s, f"not within {timeout_s:g} s"
        sleep_until(monotonic_ns() + 100_000_000)
    return (monotonic_ns() - began_ns) / 1e9


def stream(guest: Guest, camera: Camera, frames: int) -> GuestResult:
    """Read frames with v4l2-ctl, sequence numbers shown."""
    command = f"v4l2-ctl -d {camera.node} {SMALL} --stream-mmap=8 --stream-count={frames} --verbose 2>&1"
    return guest.run(command, timeout_s=90.0, check=False)


def sequences(result: GuestResult) -> list[int]:
    return [int(number) for number in re.findall(r"cap dqbuf.*seq: +(\d+)", result.out)]


def start_stream(guest: Guest, camera: Camera) -> None:
    """Read frames for as long as there are any; returns at the first. v4l2-ctl writes ``<`` for each."""
    guest.run(f"rm -f /tmp/stream; v4l2-ctl -d {camera.node} {SMALL} --stream-mmap=8 >/tmp/stream 2>&1 &")
    await_true(lambda: "<" in guest.run("cat /tmp/stream", check=False).out)


def pings(guest: Guest, count: int = 5) -> int:
    """How many of ``count`` echoes come back from the rack's address, and in time: a busy host is late with some."""
    out = guest.run(f"ping -q -i 0.2 -W 1 -c {count} 10.77.0.1", check=False).out
    return int(re.findall(r"(\d+) received", out)[0])


@pytest.fixture
def node(virtual_node: VirtualNode) -> Iterator[VirtualNode]:
    """A node whose agent is off: nobody holds its devices. They are at rest again when the test is over."""
    virtual_node.guest.run("systemctl stop touchline-agent.service", check=False, timeout_s=120.0)
    yield virtual_node
    power_on(virtual_node.devices)


def test_temperatures_and_the_fan_that_follows(node: VirtualNode):
    thermal, fan = node.thermal, node.fan
    for number, zone in enumerate(ZONES):
        thermal.set_c(zone, 40.0 + number)
    assert [thermal.read_c(zone) for zone in ZONES] == [40.0, 41.0, 42.0, 43.0]
    began_ns = monotonic_ns()
    ramp = thermal.ramp_c("tj-thermal", 85.0, c_per_s=8.0)
    await_true(lambda: ramp.step((monotonic_ns() - began_ns) / 1e9))
    began_ns = monotonic_ns()
    ramp = thermal.ramp_c("tj-thermal", 103.0, c_per_s=0.5)  # the governor raises the fan only when it sees a rise
    await_true(lambda: ramp.step((monotonic_ns() - began_ns) / 1e9) or fan.duty_pct() == 100.0)
    await_true(lambda: fan.duty_pct() == 100.0)
    fan.step(0.0)
    fan.step(20.0)
    assert fan.read_pwm() == 255
    assert fan.read_rpm() == pytest.approx(3000, abs=1)
    fan.stall()
    assert fan.read_rpm() == 0
    fan.fail_tachometer()
    assert fan.read_rpm() is None


def test_a_dead_sensor_reads_an_error(node: VirtualNode):
    node.thermal.fail("gpu-thermal")
    assert node.thermal.read_c("gpu-thermal") is None
    node.thermal.recover("gpu-thermal")
    assert node.thermal.read_c("gpu-thermal") is not None


def test_power_rails_and_acceleration(node: VirtualNode):
    rails, imu = node.rails, node.imu
    rails.set_mw("VDD_GPU_SOC", 25_000)
    assert rails.read("VDD_GPU_SOC") == (19_000, 1_320)
    assert all(rails.read(rail) is not None for rail in RAILS)
    rails.fail("VDD_CPU_CV")
    assert rails.read("VDD_GPU_SOC") is None
    assert rails.read("VDDQ_VDD2_1V8AO") is not None
    node.guest.run("echo 100 > /sys/bus/iio/devices/iio:device0/sampling_frequency")
    imu.set_g(-0.9, 0.25, 1.0)
    assert imu.read_g() == pytest.approx((-0.9, 0.25, 1.0), abs=0.002)
    imu.fail()
    assert imu.read_g() is None


def test_a_camera_drops_frames(node: VirtualNode):
    camera = node.camera(0)
    assert "NV12" in camera.formats()
    assert max(camera.rates_hz("NV12", 1280, 720)) == 60.0
    camera.drop_pct(40)
    seen = sequences(stream(node.guest, camera, 60))
    gaps = sum(after - before > 1 for before, after in itertools.pairwise(seen))
    assert len(seen) == 60
    assert 0.15 < gaps / len(seen) < 0.8  # of 40 % by chance; a host that is late makes one longer, not more of them
    camera.drop_pct(0)


def test_a_camera_is_disconnected_and_back(node: VirtualNode):
    camera = node.camera(0)
    start_stream(node.guest, camera)
    camera.disconnect()
    await_true(lambda: node.guest.run("pgrep v4l2-ctl", check=False).exit_code != 0)
    assert not camera.connected()
    assert stream(node.guest, camera, 1).exit_code != 0
    assert node.camera(1).connected()
    camera.reconnect()
    assert len(sequences(stream(node.guest, camera, 5))) == 5


def test_a_stream_that_breaks(node: VirtualNode):
    camera = node.camera(1)
    camera.refuse("streamon")
    assert "VIDIOC_STREAMON returned -1" in stream(node.guest, camera, 5).out
    start_stream(node.guest, camera)
    camera.streaming_error()
    await_true(lambda: "Input/output error" in node.guest.run("cat /tmp/stream").out)
    camera.timestamp_source("start-of-exposure")
    assert "ts-src-soe" in stream(node.guest, camera, 5).out
    camera.timestamp_source("end-of-frame")


def test_lines_both_ways(node: VirtualNode):
    relay, tamper = node.gpio["relay"], node.gpio["tamper"]
    node.guest.run("(gpioset -m signal $(gpiofind relay)=1) >/dev/null 2>&1 &")
    assert relay.wait(1, timeout_s=30.0)
    assert relay.consumer() == "gpioset"
    node.guest.run("pkill gpioset")
    assert relay.wait(0, timeout_s=30.0)
    tamper.drive(1)
    assert node.guest.run("gpioget $(gpiofind tamper)").out.strip() == "1"


def test_the_network_loses_everything_and_recovers(node: VirtualNode):
    net = node.net
    await_true(lambda: pings(node.guest) == 5)
    net.loss_pct(100, direction="in")
    assert pings(node.guest) == 0
    assert net.shown()["in"]["loss-random"]["loss"] == 1
    net.clear()
    assert net.shown() == {"out": {}, "in": {}}
    await_true(lambda: pings(node.guest) == 5)
    net.unplug()
    await_true(lambda: not net.carrier())
    net.plug()
    await_true(lambda: net.carrier() and pings(node.guest, 1) == 1)


def test_the_serial_line(node: VirtualNode):
    uart, guest = node.uart, node.guest
    uart.connect()
    guest.run("stty -F /dev/ttyS0 1000000 raw -echo && stty -F /dev/ttyS0 | grep -q 1000000")
    guest.run("printf 'one\\r\\ntwo\\n' > /dev/ttyS0")
    assert [uart.read_line(60.0), uart.read_line(60.0)] == [b"one", b"two"]
    guest.run("(timeout 150 head -n 1 /dev/ttyS0 > /tmp/line) >/dev/null 2>&1 &")
    opened = "ls -l /proc/$(pgrep -x head)/fd | grep -q ttyS0"  # what comes before that is thrown away
    await_true(lambda: guest.run(opened, check=False).exit_code == 0)
    uart.write(b"from outside\n")
    await_true(lambda: guest.run("cat /tmp/line").out == "from outside\n")


def test_a_recovery_device_is_plugged(node: VirtualNode):
    usb = node.usb
    device = usb.plug("apx")
    assert (device.vendor, device.product, device.name) == (0x0955, 0x7023, "APX")
    assert usb.plug("acm").product == 0x7020
    await_true(lambda: node.guest.run("ls /dev/ttyACM0 /dev/ttyGS0", check=False).exit_code == 0)
    usb.unplug()
    await_true(lambda: usb.devices() == [])


@pytest.mark.skipif(
    not os.environ.get("TOUCHLINE_CAMPAIGN"),
    reason="the clock's own tests in the node show as much: TOUCHLINE_CAMPAIGN=1",
)
def test_a_clock_locks_and_cannot_see_the_asymmetry(node: VirtualNode):
    ptp, guest = node.ptp, node.guest
    ports = ptp.build()
    for name, options in (("a", "--priority1 10"), ("b", "-s --summary_interval 0 --uds_address /run/ptp-b")):
        at = f"ip netns exec {ports[name].namespace} ptp4l -i {ports[name].interface} -H -2 -m {options}"
        guest.run(f"({at}) > /tmp/{name}.log 2>&1 &")
    await_true(lambda: " s2 " in guest.run("cat /tmp/b.log").out, timeout_s=60.0)
    await_true(lambda: abs(ptp.offset_ns()) < 1_000, timeout_s=30.0)
    ptp.asymmetry_ns(20_000)
    await_true(lambda: -11_000 < ptp.offset_ns() < -9_000, timeout_s=60.0)
    ptp.lose_tx_stamps()
    await_true(lambda: "FAULTY" in guest.run("cat /tmp/b.log").out, timeout_s=30.0)
    guest.run("pkill ptp4l")
    before_ns = ptp.offset_ns()
    ptp.step_phc_ns(5_000_000_000)
    assert ptp.offset_ns() - before_ns == pytest.approx(5e9, abs=1e7)
    ptp.remove()


@pytest.mark.virtual(allow=["panic", "sysrq", "Kernel panic"], tidy=False)
def test_the_watchdog_resets_a_node_that_hangs(virtual_node: VirtualNode):
    watchdog = virtual_node.watchdog
    assert watchdog.armed()
    watchdog.set_timeout_s(10)  # fed every 5 s: a host that is late may hold that up for a while
    assert watchdog.timeout_s() == 10
    watchdog.starve()
    virtual_node.machine.wait_boot(2)
    again = virtual_node.watchdog

    def armed() -> bool:  # systemd takes it when its driver is there
        with suppress(HardwareError):
            return again.armed()
        return False

    await_true(armed)
    assert again.reset_by_watchdog()
