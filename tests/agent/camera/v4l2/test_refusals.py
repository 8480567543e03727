"""What is refused before a frame flows, and whether the words name the thing and the remedy; finding devices."""

from __future__ import annotations

import errno
import fcntl
import select
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from agent.camera.v4l2 import V4l2Camera, open_camera, uapi
from agent.camera.v4l2.device import KernelDevice, find_node, video_nodes
from agent.camera.v4l2.requests import VIDIOC_QUERYCAP
from tests.agent.camera.v4l2.conftest import MODES, PATH, MakeCamera, section
from tests.agent.camera.v4l2.driver import Driver, HandClock, Knob
from tests.agent.camera.v4l2.kernel import Kernel
from touchline.errors import ConfigError, HardwareError


@pytest.mark.parametrize(
    ("more", "options", "words"),
    [
        (
            {"rate_hz": 120.0},
            {},
            r"gray8 64x64 at 120/s: GREY 64x64 comes at 50/s, not 120/s; YUYV 64x64 comes at 60/s",
        ),
        ({"rate_hz": 120.0}, {}, r"it offers GREY 64x64 at 50, 25/s; GREY in 64x64, 128x96; YUYV 64x64 at 60, 30/s"),
        ({"width_px": 640, "height_px": 480}, {}, r"GREY 640x480 becomes GREY 128x96.*it offers GREY in 64x64, 128x96"),
        ({"roi": [0, 0, 200, 64]}, {"sensor_px": [128, 96]}, "region of interest 0,0,200,64 .* is outside the 128x96"),
    ],
)
def test_sizes_and_rates_that_are_not_offered(make: MakeCamera, driver: Driver, more, options, words):
    with pytest.raises(ConfigError, match=words):
        make(options=options, **more).open()
    assert not driver.handles


def test_formats_that_are_not_offered(make: MakeCamera, driver: Driver):
    driver.modes = {"NV12": MODES["NV12"]}
    with pytest.raises(
        ConfigError, match=r"none of RG16, RG12, RG10 is among its formats — it offers the formats NV12"
    ):
        make("raw16").open()


def test_interlaced_pictures_are_refused(make: MakeCamera, driver: Driver):
    driver.interlaced = True
    with pytest.raises(ConfigError, match="GREY is interlaced; YUYV is interlaced"):
        make(rate_hz=50.0).open()


def test_a_rate_near_enough_is_taken(make: MakeCamera, driver: Driver):
    driver.modes = {"GREY": {(64, 64): [60, 30]}}
    make(rate_hz=29.97).open()
    assert driver.rate_hz == 30


def test_an_output_node_is_no_camera(make: MakeCamera, driver: Driver):
    driver.captures = False
    with pytest.raises(ConfigError, match=r"is not a capture device with streaming — .* /dev/v4l/by-path"):
        make().open()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errno.ENOENT, "camera 7: /dev/video0: no such device — check cable"),
        (errno.ENODEV, "no such device"),
        (errno.EACCES, "permission denied — add the service's user to the group 'video'"),
        (errno.EBUSY, "is busy"),
    ],
)
def test_a_node_that_cannot_be_opened(make: MakeCamera, kernel: Kernel, error, words):
    kernel.nodes[PATH] = error
    with pytest.raises(HardwareError, match=words):
        make().open()
    kernel.nodes.clear()


def test_a_clock_that_the_driver_does_not_name(make: MakeCamera, driver: Driver):
    driver.stamp_flags = uapi.V4L2_BUF_FLAG_TIMESTAMP_UNKNOWN
    with pytest.raises(ConfigError, match="does not say which clock stamps the frames"):
        make().open()
    make(options={"clock": "monotonic"}).open()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"buffer": 8}, r"options.buffer: .*options of v4l2: device, sensor_px, buffers, timestamp"),
        ({"buffers": 1}, "options.buffers"),
        ({"buffers": 33}, "options.buffers"),
        ({"device": "video0"}, "options.device"),
        ({"clock": "sundial"}, "options.clock"),
        ({"controls": {"gain": "high"}}, "options.controls.gain"),
        ({"sensor_px": [0, 100]}, "options.sensor_px: .*between 1 and 16384"),
        ({"sensor_px": [100]}, "options.sensor_px"),
    ],
)
def test_options_are_closed_and_typed(options, words):
    with pytest.raises(ConfigError, match=words):
        open_camera(section(options=options), HandClock())


def knobs() -> list[Knob]:
    return [
        Knob(0x980001, "User Controls", uapi.V4L2_CTRL_TYPE_CTRL_CLASS, 0, 0),
        Knob(0x980900, "Brightness", uapi.V4L2_CTRL_TYPE_INTEGER, -10, 10),
        Knob(0x980901, "Exposure, Auto", uapi.V4L2_CTRL_TYPE_MENU, 0, 3),
        Knob(0x980902, "Temperature", uapi.V4L2_CTRL_TYPE_INTEGER, 0, 100, flags=uapi.V4L2_CTRL_FLAG_READ_ONLY),
        Knob(0x980903, "Bits", uapi.V4L2_CTRL_TYPE_BITMASK, 0, 0x0F),
        Knob(0x980904, "Inject Error", uapi.V4L2_CTRL_TYPE_BUTTON, 0, 0),
        Knob(0x980905, "Held", uapi.V4L2_CTRL_TYPE_INTEGER, 0, 9, error=errno.EBUSY),
        Knob(0x9A2003, "Frame Rate", uapi.V4L2_CTRL_TYPE_INTEGER64, 2_000_000, 60_000_000_000),
    ]


@pytest.mark.parametrize("old_kernel", [False, True])
def test_controls_are_set_by_name_in_their_order(make: MakeCamera, driver: Driver, old_kernel):
    driver.knobs, driver.old_controls = knobs(), old_kernel
    wanted = {"brightness": -3, "Exposure, Auto": 1, "bits": 5, "inject_error": 1}
    if not old_kernel:
        wanted["frame_rate"] = 59_000_000_000
    else:
        driver.knobs.pop()
    make(options={"controls": wanted}).open()
    got = {knob.name: knob.value for knob in driver.knobs if knob.value}
    assert got == {"Brightness": -3, "Exposure, Auto": 1, "Bits": 5, "Inject Error": 1} | (
        {} if old_kernel else {"Frame Rate": 59_000_000_000}
    )


@pytest.mark.parametrize(
    ("controls", "words"),
    [
        (
            {"sharpness": 1},
            r"has no control 'sharpness' .* its controls: bits, brightness, exposure_auto, frame_rate, h",
        ),
        ({"temperature": 1}, "has no control 'temperature'"),
        ({"brightness": 11}, "control brightness = 11 is out of range — use -10 to 10"),
        ({"bits": 16}, "control bits = 16 is out of range"),
        ({"held": 3}, "control held = 3 is refused: Device or resource busy — another control may hold it"),
    ],
)
def test_controls_that_cannot_be_set(make: MakeCamera, driver: Driver, controls, words):
    driver.knobs = knobs()
    with pytest.raises(ConfigError, match=words):
        make(options={"controls": controls}).open()


def test_a_camera_is_found_by_its_bus_or_name_wherever_its_number_moved(clock: HandClock):
    one = Driver(clock, MODES, bus="usb-1", card="Left")
    other = Driver(clock, MODES, bus="usb-2", card="Right")
    output = Driver(clock, MODES, bus="usb-2", card="Right", captures=False)
    kernel = Kernel(
        clock, {"/dev/video3": output, "/dev/video4": errno.EACCES, "/dev/video5": other, "/dev/video9": one}
    )
    for wanted, path in (("bus:usb-1", "/dev/video9"), ("card:Right", "/dev/video5"), ("/dev/x", "/dev/x")):
        assert find_node("camera 7", wanted, kernel.list(), kernel.open) == path
    with pytest.raises(
        HardwareError, match=r"no capture device has bus 'usb-3' — .*video4 \(Permission denied\), .*usb-2"
    ):
        find_node("camera 7", "bus:usb-3", kernel.list(), kernel.open)
    one.card = "Right"
    with pytest.raises(ConfigError, match="'card:Right' fits /dev/video5, /dev/video9 — name one"):
        find_node("camera 7", "card:Right", kernel.list(), kernel.open)
    assert not one.handles | other.handles | output.handles


def open_instead(path: str, _asked: str) -> KernelDevice:
    return KernelDevice(path)


def test_the_seam_on_real_files(tmp_path: Path):
    """No camera here, but its errors are the kernel's own."""
    (tmp_path / "file").touch()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (tmp_path / "file", Path("/dev/null")):
        camera = V4l2Camera(
            section(options={"device": "/dev/x"}), HandClock(), open_device=partial(open_instead, str(path))
        )
        with pytest.raises(ConfigError, match="/dev/x is not a V4L2 device"):
            camera.open()
    with pytest.raises(HardwareError, match="/dev/no-such-camera: no such device"):
        open_camera(section(options={"device": "/dev/no-such-camera"}), HandClock()).open()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert all(path.startswith("/dev/video") for path in video_nodes())


def test_the_seam_asks_again_after_a_signal(monkeypatch: pytest.MonkeyPatch):
    device = KernelDevice("/dev/null")
    calls: list[int] = []

    def interrupted(fd: int, request: int, argument: object, mutate: bool) -> int:
        calls.append(request)
        if len(calls) < 3:
            raise InterruptedError
        return 0

    monkeypatch.setattr(fcntl, "ioctl", interrupted)
    device.ioctl(VIDIOC_QUERYCAP, uapi.v4l2_capability())
    assert calls == [VIDIOC_QUERYCAP] * 3
    assert device.poll(0.0) & select.POLLIN
    device.close()
    device.close()


def test_the_seam_maps_for_reading(tmp_path: Path):
    device = KernelDevice("/dev/zero")
    memory = device.map(4096, 0)
    assert memory[:4] == bytes(4)
    with pytest.raises(TypeError):
        memory[0] = 1
    memory.close()
    device.close()


@pytest.mark.system
def test_loading_the_backend_does_not_load_opencv():
    code = "import sys, agent.camera.v4l2; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("rate_hz", [0.0001, 0.0313, 0.5, 333.3333, 1000.0])
def test_any_rate_of_the_configuration_can_be_asked(make: MakeCamera, driver: Driver, rate_hz):
    with pytest.raises(ConfigError, match="does not offer gray8 64x64"):
        make(rate_hz=rate_hz).open()


def test_offers_in_steps_and_without_a_list_are_told(make: MakeCamera, driver: Driver):
    driver.in_steps = True
    with pytest.raises(ConfigError, match=r"GREY 64x64 at 5..60/s; GREY in 64x64..128x96 in steps of 2x4"):
        make(rate_hz=200.0).open()
    driver.lists_sizes = False
    with pytest.raises(ConfigError, match="GREY in sizes it does not list"):
        make(rate_hz=200.0).open()


def test_a_driver_that_refuses_a_format_or_tells_nonsense(make: MakeCamera, driver: Driver):
    driver.modes = {"GREY": MODES["GREY"]}
    driver.errors["VIDIOC_S_FMT"] = errno.EINVAL
    with pytest.raises(ConfigError, match="GREY is refused"):
        make().open()
    driver.thin_lines = 1
    with pytest.raises(ConfigError, match=r"GREY comes with 1 planes of \(63,\) bytes a line"):
        make().open()


def test_a_control_that_takes_another_value_is_told(make: MakeCamera, driver: Driver, caplog):
    driver.knobs = [Knob(0x980900, "Brightness", uapi.V4L2_CTRL_TYPE_INTEGER, 0, 100, most=60)]
    make(options={"controls": {"brightness": 80}}).open()
    assert "control brightness took 60 for 80" in caplog.text
