"""The camera on a pretended kernel: good days, every way to fail, and nothing left behind."""

from __future__ import annotations

import errno
import gc
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.camera.port import FrameTimeout, PixelFormat
from agent.camera.v4l2 import V4l2Camera, open_camera, uapi
from tests.agent.camera.v4l2.conftest import MODES, PATH, MakeCamera, section
from tests.agent.camera.v4l2.driver import MAP_NAME, Driver, HandClock, lines_of
from tests.agent.camera.v4l2.kernel import Kernel
from touchline.errors import ConfigError, HardwareError, ResourceError

PERIOD_NS = 20_000_000
CUT_NS = 500  # half of the microsecond that stamps are cut to


def running(camera: V4l2Camera) -> tuple[V4l2Camera, memoryview]:
    camera.open()
    camera.start()
    return camera, memoryview(bytearray(camera.info().frame_bytes))


def sequences(camera: V4l2Camera, landing: memoryview, count: int) -> list[int]:
    frames = [camera.read(landing, 1.0) for _ in range(count)]
    return [frame.sequence for frame in frames if frame is not None]


def test_frames_come_in_order_with_their_pixels_and_start_of_exposure(make: MakeCamera, driver: Driver):
    driver.padding = 13
    camera, landing = running(make())
    begun_ns = driver.start_ns
    for number in range(40):
        frame = camera.read(landing, 1.0)
        assert frame is not None
        assert frame.sequence == number
        assert set(landing.tobytes()) == {number}
        assert frame.stamp.ptp_ns == begun_ns + number * PERIOD_NS + CUT_NS
        assert frame.stamp.bound_ns == 10 + PERIOD_NS + CUT_NS
    assert driver.subscribed


def test_a_driver_that_stamps_the_start_has_a_narrow_bound(make: MakeCamera, driver: Driver):
    driver.of_start = True
    camera, landing = running(make())
    frame = camera.read(landing, 1.0)
    assert frame is not None
    assert (frame.stamp.ptp_ns, frame.stamp.bound_ns) == (driver.start_ns + CUT_NS, 510)


@pytest.mark.parametrize(("option", "shift_ns", "bound_ns"), [("start", PERIOD_NS, 1010), ("end", 0, PERIOD_NS + 510)])
def test_the_option_overrules_the_driver(make: MakeCamera, driver: Driver, option, shift_ns, bound_ns):
    """The pretended frame is delivered at its stamp: as a start that lies 500 ns ahead, which widens its bound."""
    camera, landing = running(make(options={"timestamp": option}))
    frame = camera.read(landing, 1.0)
    assert frame is not None
    assert (frame.stamp.ptp_ns - driver.start_ns - CUT_NS, frame.stamp.bound_ns) == (shift_ns, bound_ns)


FORMATS = [("GREY", "gray8"), ("RGB3", "rgb24"), ("NV12", "nv12"), ("RG12", "raw16")]


@pytest.mark.parametrize(
    ("several", "code", "target"),
    [(several, *case) for several in (False, True) for case in FORMATS] + [(True, "NM12", "nv12")],
)
def test_both_apis_land_every_format(make: MakeCamera, driver: Driver, several, code, target):
    driver.several_planes, driver.padding, driver.data_offset = several, 6, 32
    driver.modes = {code: {(64, 64): [50]}}
    driver.paint = lambda _, n: [
        np.full(shape, n + 3 + plane, np.uint8) for plane, shape in enumerate(lines_of(code, 64, 64))
    ]
    camera, landing = running(make(target))
    for number in range(12):
        assert camera.read(landing, 1.0) is not None
        first = number + 3
        want = (first << 8 | first) << 4 & 0xFFFF
        pixels = np.frombuffer(landing, "<u2" if target == "raw16" else "u1")
        assert pixels[0] == (want if target == "raw16" else first)
        assert pixels[-1] == (want if target == "raw16" else first + (target == "nv12"))


def test_lost_and_damaged_and_short_frames_are_gaps(make: MakeCamera, driver: Driver, caplog):
    driver.lost, driver.damaged, driver.short = {2, 3}, {5, 8}, {10: 700}
    camera, landing = running(make())
    assert sequences(camera, landing, 8) == [0, 1, 4, 6, 7, 9, 11, 12]
    assert caplog.text.count("such frames count as lost") == 1


def test_a_slow_reader_loses_what_the_queue_cannot_hold(make: MakeCamera, driver: Driver, clock: HandClock):
    camera, landing = running(make(options={"buffers": 4}))
    assert sequences(camera, landing, 1) == [0]
    clock.now_ns += 20 * PERIOD_NS
    assert sequences(camera, landing, 6) == [1, 2, 3, 4, 21, 22]


def test_numbers_go_on_beyond_32_bits(make: MakeCamera, driver: Driver):
    driver.first_sequence = 2**32 - 3
    camera, landing = running(make())
    assert sequences(camera, landing, 6) == [2**32 - 3 + n for n in range(6)]


@settings(deadline=None, max_examples=30)
@given(
    lost=st.sets(st.integers(0, 60)),
    damaged=st.sets(st.integers(0, 60)),
    first=st.integers(0, 2**32 - 1),
    pauses=st.lists(st.integers(0, 12), max_size=20),
)
def test_every_frame_is_delivered_once_or_is_a_gap(lost, damaged, first, pauses):
    clock = HandClock()
    driver = Driver(clock, MODES, lost=lost, damaged=damaged, first_sequence=first, of_start=True)
    kernel = Kernel(clock, {PATH: driver})
    camera = V4l2Camera(section(), clock, open_device=kernel.open, nodes=kernel.list, monotonic=clock.monotonic)
    camera, landing = running(camera)
    previous = -1
    for pause in [*pauses, *[0] * 20]:
        clock.now_ns += pause * PERIOD_NS
        frame = camera.read(landing, 5.0)
        assert frame is not None
        number = (frame.sequence - first) % 2**32
        assert number > previous
        assert number not in lost | damaged
        assert landing[0] == frame.sequence & 0xFF
        assert frame.stamp.ptp_ns == driver.start_ns + number * PERIOD_NS + CUT_NS
        previous = number
    camera.close()
    assert not driver.handles


def test_stop_then_start_begins_anew(make: MakeCamera, driver: Driver):
    camera, landing = running(make())
    assert sequences(camera, landing, 3) == [0, 1, 2]
    camera.stop()
    camera.stop()
    with pytest.raises(HardwareError, match="its stream was stopped"):
        camera.read(landing, 1.0)
    camera.start()
    assert sequences(camera, landing, 3) == [0, 1, 2]


def test_silence_is_a_time_out_and_the_camera_goes_on(make: MakeCamera, driver: Driver, clock: HandClock):
    driver.lost = set(range(10))
    camera, landing = running(make())
    before_ns = clock.now_ns
    with pytest.raises(FrameTimeout, match="camera 7: /dev/video0: no frame"):
        camera.read(landing, 0.1)
    assert clock.now_ns - before_ns == 100_000_000
    assert sequences(camera, landing, 1) == [10]


def test_only_damaged_frames_are_silence_too(make: MakeCamera, driver: Driver, clock: HandClock):
    driver.damaged = set(range(100))
    camera, landing = running(make())
    before_ns = clock.now_ns
    with pytest.raises(FrameTimeout, match=r"no frame in time \(5 damaged so far\)"):
        camera.read(landing, 0.1)
    assert clock.now_ns - before_ns == 100_000_000


@pytest.mark.parametrize(("fault", "words"), [("gone", "ENODEV, it was unplugged"), ("fatal", "EIO, its driver gave")])
def test_a_device_that_breaks_ends_the_camera_in_words(make: MakeCamera, driver: Driver, fault, words):
    camera, landing = running(make())
    sequences(camera, landing, 3)
    setattr(driver, fault, True)
    with pytest.raises(HardwareError, match=f"camera 7 went away: /dev/video0: .*{words}"):
        camera.read(landing, 1.0)
    camera.stop()
    setattr(driver, fault, False)
    camera.open()
    camera.start()
    assert sequences(camera, landing, 2) == [0, 1]


def test_a_queue_that_is_refused_is_a_device_that_broke(make: MakeCamera, driver: Driver):
    camera, landing = running(make())
    driver.errors["VIDIOC_QBUF"] = errno.EIO
    with pytest.raises(HardwareError, match="went away: /dev/video0: queue"):
        camera.read(landing, 1.0)


def test_a_stream_stopped_under_us(make: MakeCamera, driver: Driver):
    camera, landing = running(make())
    driver.errors["VIDIOC_DQBUF"] = errno.EPIPE
    with pytest.raises(HardwareError, match="EPIPE, its stream was stopped"):
        camera.read(landing, 1.0)


def test_a_new_picture_at_the_source_is_said(make: MakeCamera, driver: Driver):
    camera, landing = running(make())
    driver.new_source = True
    with pytest.raises(HardwareError, match="the source changed its picture"):
        camera.read(landing, 1.0)


@pytest.mark.parametrize("far_ns", [2**62, -(10**11), 10**9])
def test_a_clock_that_is_not_ours_is_a_fault_of_its_own(make: MakeCamera, driver: Driver, far_ns, caplog):
    driver.stamp_fault_ns = dict.fromkeys(range(5, 500), far_ns)
    camera, landing = running(make())
    assert sequences(camera, landing, 5) == list(range(5))
    with pytest.raises(
        HardwareError, match=r"wrapped timestamp: frame 14: it (lies|is) .* (future|old) — the driver's"
    ):
        camera.read(landing, 1.0)
    assert caplog.text.count("its stamp cannot be true") == 1


def test_one_stamp_that_goes_back_costs_one_frame(make: MakeCamera, driver: Driver):
    driver.stamp_fault_ns = {4: -3 * PERIOD_NS, 9: -3 * PERIOD_NS}
    camera, landing = running(make())
    assert sequences(camera, landing, 10) == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11]


def test_a_number_given_twice_costs_that_frame(make: MakeCamera, driver: Driver, caplog: pytest.LogCaptureFixture):
    """vivid does it when its thread is late: seen on an emulated node under load."""
    driver.misnumbered = {5: 4}
    camera, landing = running(make())
    assert sequences(camera, landing, 8) == [0, 1, 2, 3, 4, 6, 7, 8]
    assert caplog.text.count("number 4 twice") == 1


def test_a_number_that_stands_still_is_a_fault(make: MakeCamera, driver: Driver):
    driver.misnumbered = dict.fromkeys(range(5, 60), 4)
    camera, landing = running(make())
    sequences(camera, landing, 5)
    with pytest.raises(HardwareError, match="frame numbers stand still at 4"):
        for _ in range(30):
            camera.read(landing, 1.0)


def test_numbers_that_begin_anew_are_a_fault(make: MakeCamera, driver: Driver):
    camera, landing = running(make())
    sequences(camera, landing, 5)
    driver.frame = 0
    driver.start_ns = driver.clock.now_ns
    with pytest.raises(HardwareError, match="frame numbers jumped from 4 to 0"):
        camera.read(landing, 1.0)


def test_the_delivered_rate_is_measured_and_told(make: MakeCamera, driver: Driver, caplog):
    driver.real_rate_hz = 25.0
    camera, landing = running(make())
    assert camera.info().rate_hz == 50.0
    sequences(camera, landing, 40)
    assert camera.info().rate_hz == pytest.approx(25.0)
    assert caplog.text.count("delivers 25.00 frames/s, asked were 50.00") == 1


def test_a_steady_camera_is_not_talked_about(make: MakeCamera, driver: Driver, caplog):
    driver.lost = set(range(3, 200, 4))
    camera, landing = running(make())
    sequences(camera, landing, 100)
    assert camera.info().rate_hz == 50.0
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_driver_without_rates_is_measured_only(make: MakeCamera, driver: Driver):
    driver.has_rate, driver.real_rate_hz = False, 100.0
    camera, landing = running(make(rate_hz=100.0))
    sequences(camera, landing, 110)
    assert camera.info().rate_hz == 100.0


def test_a_region_of_the_sensor(make: MakeCamera, driver: Driver):
    driver.paint = lambda d, _: [np.add.outer(np.arange(d.size[1]), np.arange(d.size[0])).astype(np.uint8)]
    camera, landing = running(make(roi=[40, 20, 64, 64], options={"sensor_px": [128, 96]}))
    camera.read(landing, 1.0)
    image = np.frombuffer(landing, np.uint8).reshape(64, 64)
    assert (image[0, 0], image[-1, -1]) == (60, 186)
    assert camera.info().width_px == 64


def test_a_region_without_the_sensors_size_is_refused():
    with pytest.raises(ConfigError, match=r"whose size is not said — add options.sensor_px"):
        open_camera(section(roi=[0, 0, 64, 64]), HandClock())


def test_a_source_that_needs_conversion_only_when_nothing_better(make: MakeCamera, driver: Driver):
    camera, _ = running(make())
    assert driver.code == "GREY"
    camera.close()
    driver.modes = {"YUYV": MODES["YUYV"]}
    camera, landing = running(make(rate_hz=60.0))
    assert (driver.code, camera.info().source) == ("YUYV", "v4l2 /dev/video0 (Pretended Camera) YUYV")
    assert sequences(camera, landing, 2) == [0, 1]


def test_the_better_source_is_passed_over_when_it_lacks_the_rate(make: MakeCamera, driver: Driver):
    running(make(rate_hz=60.0))
    assert (driver.code, driver.rate_hz) == ("YUYV", 60)


def test_colours_that_readers_of_nv12_do_not_expect_are_told(make: MakeCamera, driver: Driver, caplog):
    driver.colourspace = (uapi.V4L2_COLORSPACE_REC709, 0, 0)
    running(make("nv12"))
    assert "is read as BT.601 limited range" in caplog.text


def test_tegra_raw_stands_at_the_upper_end(make: MakeCamera, driver: Driver):
    driver.driver = "tegra-video"
    driver.paint = lambda _, __: [np.tile(np.array([0x40, 0x80], np.uint8), (64, 64))]
    camera, landing = running(make("raw16", {"clock": "monotonic"}))
    camera.read(landing, 1.0)
    assert np.frombuffer(landing, "<u2")[0] == 0x8040
    camera.close()
    camera, landing = running(make("raw16", {"clock": "monotonic", "raw_alignment": "lsb"}))
    camera.read(landing, 1.0)
    assert np.frombuffer(landing, "<u2")[0] == 0x8040 << 6 & 0xFFFF


def test_a_failing_conversion_gives_the_buffer_back(make: MakeCamera, driver: Driver):
    camera, landing = running(make())
    given = driver.given_back
    with pytest.raises(ValueError, match="buffer is smaller"):
        camera.read(landing[:100], 1.0)
    assert driver.given_back == given + 1
    assert sequences(camera, landing, 1) == [1]


def our_maps() -> int:
    return sum("r--s" in line and MAP_NAME in line for line in Path("/proc/self/maps").read_text().splitlines())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("fault", ["", "gone", "fatal"])
def test_nothing_is_left_open_or_mapped(make: MakeCamera, driver: Driver, fault):
    gc.collect()
    files = open_files()
    for _ in range(5):
        camera, landing = running(make(options={"buffers": 5}))
        sequences(camera, landing, 3)
        assert our_maps() == 5
        if fault:
            setattr(driver, fault, True)
            with pytest.raises(HardwareError):
                camera.read(landing, 1.0)
        camera.close()
        assert our_maps() == 0
        setattr(driver, fault or "gone", False)
    assert open_files() == files


def test_closing_while_an_exception_shows_the_picture(make: MakeCamera, driver: Driver):
    camera, landing = running(make())
    try:
        camera.read(landing[:100], 1.0)
    except ValueError:
        camera.close()
    else:
        pytest.fail("the slot was too small")
    gc.collect()
    assert our_maps() == 0


REQUESTS = ("QUERYCAP", "S_FMT", "S_PARM", "REQBUFS", "QUERYBUF")


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EBUSY, "is busy"), (errno.EREMOTEIO, "sensor does not answer"), (errno.EIO, "Input/output error")],
)
def test_an_error_at_any_step_of_opening_leaves_nothing(make: MakeCamera, driver: Driver, request_name, number, words):
    driver.errors[f"VIDIOC_{request_name}"] = number
    camera = make()
    with pytest.raises(HardwareError, match=f"camera 7: /dev/video0.*{words}"):
        camera.open()
    assert (driver.handles, our_maps()) == (set(), 0)
    camera.open()


def test_a_start_that_fails_can_be_tried_again(make: MakeCamera, driver: Driver):
    camera = make()
    camera.open()
    driver.errors["VIDIOC_STREAMON"] = errno.ETIMEDOUT
    with pytest.raises(HardwareError, match="start: the sensor does not answer"):
        camera.start()
    camera.start()
    assert sequences(camera, memoryview(bytearray(4096)), 2) == [0, 1]


def test_a_device_in_use_is_busy(make: MakeCamera):
    running(make())
    with pytest.raises(HardwareError, match="is busy: another program uses it — find it with: fuser -v /dev/video0"):
        make().open()


def test_memory_that_is_not_there(make: MakeCamera, driver: Driver):
    driver.errors["VIDIOC_REQBUFS"] = errno.ENOMEM
    with pytest.raises(ResourceError, match="no memory for 8 buffers — ask for fewer"):
        make().open()
    driver.most_buffers = 1
    with pytest.raises(ResourceError, match="no memory for 8 buffers"):
        make().open()


def test_before_open_it_tells_what_was_configured(make: MakeCamera):
    info = make("nv12").info()
    assert (info.pixel_format, info.rate_hz, info.source) == (PixelFormat.NV12, 50.0, "v4l2 /dev/video0")
    with pytest.raises(RuntimeError, match="not open"):
        make().start()


def test_a_hang_up_without_an_error_is_an_end_too(make: MakeCamera, driver: Driver):
    camera, landing = running(make())
    driver.hangs_up = True
    with pytest.raises(HardwareError, match="went away: /dev/video0: poll: EIO"):
        camera.read(landing, 1.0)
