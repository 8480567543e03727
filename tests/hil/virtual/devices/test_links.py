"""Cameras, optics, GPIO, network, USB, PTP and watchdog: the commands they send and the answers they take."""

from __future__ import annotations

import pytest

from hil.virtual.devices import attach, power_on
from hil.virtual.devices.camera import Camera
from hil.virtual.devices.gpio import LINES, Gpio
from hil.virtual.devices.net import Impairment, Net
from hil.virtual.devices.ptp import Ptp
from hil.virtual.devices.registers import ZONES, chip_offset
from hil.virtual.devices.usb import Usb
from hil.virtual.devices.watchdog import Watchdog
from hil.virtual.ports import GuestResult
from touchline.errors import ConfigError, HardwareError

from .fakes import FakeGuest, FakeMonitor, FakeRegisters

FAILED = GuestResult(1, "", "Cannot open device /dev/video0, exiting.")


@pytest.mark.parametrize(
    ("act", "control"),
    [
        (lambda camera: camera.drop_pct(20), "percentage_of_dropped_buffers=20"),
        (lambda camera: camera.wrap_timestamp("32-bit"), "wrap_timestamp=2"),
        (lambda camera: camera.timestamp_source("start-of-exposure"), "timestamp_source=1"),
        (lambda camera: camera.test_pattern("noise"), "test_pattern=21"),
        (lambda camera: camera.movement("right-fast"), "horizontal_movement=6"),
        (lambda camera: camera.refuse("streamon"), "inject_vidioc_streamon_error=1"),
    ],
)
def test_faults_of_a_camera_are_controls(act, control):
    guest = FakeGuest()
    act(Camera(guest, 1))
    assert guest.commands == [f"v4l2-ctl -d /dev/video1 -c {control}"]


def test_wrong_settings_name_the_range():
    camera = Camera(FakeGuest(), 0)
    with pytest.raises(ConfigError, match=r"dropped frames: 101 % is outside 0..100 %"):
        camera.drop_pct(101)
    with pytest.raises(ConfigError, match="test pattern: there is no 'grass'"):
        camera.test_pattern("grass")
    with pytest.raises(ConfigError, match=r"camera 2: the virtual node has cameras 0..1"):
        Camera(FakeGuest(), 2)


def test_a_disconnected_camera_says_how_to_get_it_back():
    with pytest.raises(HardwareError, match=r"Cannot open device.*camera\(0\).reconnect"):
        Camera(FakeGuest(FAILED), 0).drop_pct(3)


def test_a_camera_that_is_gone_is_not_disconnected_twice():
    guest = FakeGuest(GuestResult(1, "", ""))
    Camera(guest, 0).disconnect()
    assert guest.commands == ["test -c /dev/video0"]


def test_what_a_camera_offers_is_parsed():
    assert Camera(FakeGuest("\t[0]: 'YUYV' (YUYV)\n\t[1]: 'Y16 -BE' (x)\n"), 0).formats() == ["YUYV", "Y16 -BE"]
    assert Camera(FakeGuest("\tSize: Discrete 1280x720\n"), 0).sizes_px("NV12") == [(1280, 720)]
    assert Camera(FakeGuest("\tInterval: Discrete 0.017s (60.000 fps)\n"), 0).rates_hz("NV12", 1280, 720) == [60.0]
    assert Camera(FakeGuest("test_pattern: 5 (100% Black)\n"), 0).value("test_pattern") == 5


def test_lines_by_name():
    guest = FakeGuest("1\n")
    gpio = Gpio(guest)
    assert tuple(gpio) == LINES
    assert gpio["relay"].value() == 1
    gpio["tamper"].drive(1)
    assert "sim_gpio4/pull" in guest.commands[-1]
    assert "pull-up" in guest.commands[-1]
    with pytest.raises(ConfigError, match=r"no line 'relais'.*relay, safe"):
        gpio["relais"]
    with pytest.raises(ConfigError, match="gpio tamper: 2"):
        gpio["tamper"].drive(2)


def test_who_holds_a_line():
    shown = 'gpiochip1 - 8 lines:\n line 0: "relay" "protect" output active-high [used]\n line 1: "safe" unused input\n'
    gpio = Gpio(FakeGuest(shown))
    assert gpio["relay"].consumer() == "protect"
    assert gpio["safe"].consumer() is None


def test_impairments_add_up_per_direction_and_are_cleared():
    guest = FakeGuest()
    net = Net(guest, FakeMonitor())
    net.loss_pct(5)
    net.delay_ms(20, 5, direction="out")
    assert net.asked("out").netem() == "delay 20ms 5ms loss 5%"
    assert net.asked("in").netem() == "loss 5%"
    assert guest.commands[-1].endswith("tc qdisc replace dev eth0 root netem limit 10000 delay 20ms 5ms loss 5%")
    net.clear()
    assert net.asked("out") == Impairment()


def test_what_a_refused_impairment_leaves():
    net = Net(FakeGuest(GuestResult(2, "", "no netem")), FakeMonitor())
    with pytest.raises(HardwareError):
        net.loss_pct(5)
    assert net.asked("out") == Impairment()
    with pytest.raises(ConfigError, match="need a delay"):
        net.reorder_pct(10)
    with pytest.raises(ConfigError, match=r"loss_pct: 101 % is outside 0..100 %"):
        net.loss_pct(101)
    with pytest.raises(ConfigError, match="net direction: there is no 'up'"):
        net.loss_pct(1, direction="up")


def test_the_cable():
    monitor = FakeMonitor()
    net = Net(FakeGuest("0\n"), monitor, card_id="card")
    net.unplug()
    net.plug()
    assert monitor.commands == [("set_link", {"name": "card", "up": False}), ("set_link", {"name": "card", "up": True})]
    assert not net.carrier()


def test_the_kernels_own_view_of_netem():
    shown = '[{"kind":"netem","dev":"eth0","options":{"loss-random":{"loss":1}}},{"kind":"noqueue","dev":"lo"}]'
    assert Net(FakeGuest(shown), FakeMonitor()).shown() == {"out": {"loss-random": {"loss": 1}}, "in": {}}


def test_a_usb_device_comes_and_goes():
    guest = FakeGuest("", "", "", "1-1|0955|7023|APX\nusb1|1d6b|0002|Dummy host controller\n")
    plugged = Usb(guest).plug("apx")
    assert (plugged.path, plugged.name) == ("1-1", "APX")
    assert "0x7023" in guest.commands[1]
    with pytest.raises(ConfigError, match="usb device: there is no 'mouse'"):
        Usb(guest).plug("mouse")
    with pytest.raises(HardwareError, match="0955:7020 was not enumerated"):
        Usb(FakeGuest("")).plug("acm")


def test_clock_faults_are_module_parameters():
    guest = FakeGuest()
    ptp = Ptp(guest)
    ptp.asymmetry_ns(-400)
    ptp.lose_tx_stamps(port="b")
    ptp.lose_tx_stamps(False)
    written = [
        command.partition("echo ")[2].replace("/sys/module/netdevsim/parameters/", "") for command in guest.commands
    ]
    assert written == ["-400 > hil_asym_ns", "4 > hil_drop_tx_ts", "0 > hil_drop_tx_ts"]
    with pytest.raises(ConfigError, match="ptp link delay: -1 ns"):
        ptp.link_delay_ns(-1)
    with pytest.raises(ConfigError, match="ptp port: there is no 'c'"):
        ptp.lose_tx_stamps(port="c")


@pytest.mark.parametrize(("step_ns", "seconds"), [(1, "0.000000001"), (-1_500_000_123, "-1.500000123")])
def test_a_clock_is_stepped_to_the_nanosecond(step_ns, seconds):
    guest = FakeGuest("PTP Hardware Clock: 3\n")
    Ptp(guest).step_phc_ns(step_ns)
    assert guest.commands[-1] == f"phc_ctl /dev/ptp3 -- adj {seconds}"


def test_no_clock_before_the_ports_are_built():
    with pytest.raises(HardwareError, match="build"):
        Ptp(FakeGuest("PTP Hardware Clock: none\n")).phc_path()


def test_the_watchdog():
    assert Watchdog(FakeGuest("active\n")).armed()
    assert Watchdog(FakeGuest("32\n")).reset_by_watchdog()
    assert not Watchdog(FakeGuest("0\n")).reset_by_watchdog()
    assert Watchdog(FakeGuest(), lambda: ["RESET", "WATCHDOG"]).fired() == 1
    with pytest.raises(HardwareError, match="event_names"):
        Watchdog(FakeGuest()).fired()
    with pytest.raises(HardwareError, match="no watchdog"):
        Watchdog(FakeGuest(GuestResult(66, "", ""))).timeout_s()


def test_attaching_asks_nothing_and_power_on_gives_every_sensor_a_value(tmp_path):
    guest, registers = FakeGuest(), FakeRegisters()
    node = attach(guest, registers, FakeMonitor(), tmp_path / "uart.sock")
    assert registers.words == {}
    node.rails.fail("VDD_CPU_CV")
    power_on(node)
    assert registers.words[chip_offset(0x40)] == 0
    assert guest.commands == []
    assert all(registers.words[0x10200 + 0x1000 * zone] == (1 << 16) | (1 << 10) | 360 for zone in range(len(ZONES)))
    assert node.rails.set_as("VIN_SYS_5V0") == (5000.0, 800.0)
    assert node.imu.set_as() == (0.0, 0.0, 1.0)
    assert node.camera(1).node == "/dev/video1"
