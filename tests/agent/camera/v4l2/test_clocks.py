"""Drivers that stamp with another clock than they say, Tegra's above all: mapped, stamped by arrival, or refused."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.camera.port import Frame
from agent.camera.v4l2 import V4l2Camera, uapi
from agent.camera.v4l2.clocks import timebase_of
from tests.agent.camera.v4l2.conftest import MODES, PATH, MakeCamera, section
from tests.agent.camera.v4l2.driver import Driver, HandClock
from tests.agent.camera.v4l2.kernel import Kernel
from touchline.errors import ConfigError, HardwareError
from touchline.timeline import ClockState, SystemClock, Timebase

PERIOD_NS = 20_000_000
TSC_AHEAD_NS = 29_000_000_012  # seen on a Tegra between the counter and the clock of its traces: 29 s
WAITED_NS = 2_000_000_000 + 10 * PERIOD_NS


@pytest.fixture
def tegra(driver: Driver, clock: HandClock) -> Driver:
    """Its flags say monotonic, end of frame; it stamps start of frame with the TSC."""
    driver.driver = "tegra-video"
    driver.stamp_delay_ns = PERIOD_NS
    driver.stamp_ahead_ns, driver.stamp_tick_ns = TSC_AHEAD_NS, 32
    clock.other_ns[Timebase.TSC] = TSC_AHEAD_NS
    return driver


def running(camera: V4l2Camera) -> V4l2Camera:
    camera.open()
    camera.start()
    return camera


def take(camera: V4l2Camera) -> Frame:
    frame = camera.read(memoryview(bytearray(camera.info().frame_bytes)), 1.0)
    assert frame is not None
    return frame


@pytest.mark.parametrize(
    ("option", "driver", "timebase"),
    [
        ("auto", "tegra-video", Timebase.TSC),
        ("auto", "vivid", Timebase.MONOTONIC),
        ("monotonic", "tegra-video", Timebase.MONOTONIC),
        ("monotonic_raw", "tegra-video", Timebase.MONOTONIC_RAW),
        ("tsc", "vivid", Timebase.TSC),
    ],
)
def test_the_clock_of_a_driver(option, driver, timebase):
    assert timebase_of(option, driver) is timebase


def test_tegras_stamps_are_start_of_frame_on_the_tsc_whatever_it_says(make: MakeCamera, tegra, clock: HandClock):
    clock.tsc_mapped = True
    camera = running(make())
    assert camera.info().timebase is Timebase.TSC
    for number in range(30):
        frame = take(camera)
        begun_ns = tegra.start_ns + number * PERIOD_NS
        assert frame.sequence == number
        assert frame.stamp.bound_ns == 150 + 516
        assert frame.stamp.state is ClockState.LOCKED
        assert abs(frame.stamp.ptp_ns - begun_ns) <= 516


@settings(deadline=None, max_examples=50)
@given(st.integers(-(10**10), 10**12), st.integers(1, 10**9))
def test_the_true_start_lies_within_what_the_camera_adds(ahead_ns, nudge_ns):
    clock = HandClock()
    clock.tsc_mapped, clock.other_ns[Timebase.TSC] = True, ahead_ns
    clock.now_ns += nudge_ns
    driver = Driver(clock, MODES, driver="tegra-video", of_start=True, stamp_ahead_ns=ahead_ns, stamp_tick_ns=32)
    kernel = Kernel(clock, {PATH: driver})
    camera = V4l2Camera(section(), clock, open_device=kernel.open, nodes=kernel.list, monotonic=clock.monotonic)
    running(camera)
    stamps = [take(camera).stamp for _ in range(3)]
    for number, stamp in enumerate(stamps):
        assert abs(stamp.ptp_ns - driver.start_ns - number * PERIOD_NS) <= stamp.bound_ns - 150 == 516
    camera.close()


def test_the_options_overrule_tegra(make: MakeCamera, tegra, clock: HandClock):
    clock.tsc_mapped = True
    camera = running(make(options={"timestamp": "end"}))
    assert take(camera).stamp.bound_ns == 150 + 516 + PERIOD_NS
    camera.close()
    tegra.stamp_ahead_ns = 0
    camera = running(make(options={"clock": "monotonic"}))
    assert camera.info().timebase is Timebase.MONOTONIC
    assert take(camera).stamp.bound_ns == 10 + 500 + PERIOD_NS, "then its flags count: end of frame"


def test_a_driver_on_the_raw_clock(make: MakeCamera, driver: Driver, clock: HandClock):
    driver.stamp_flags = uapi.V4L2_BUF_FLAG_TIMESTAMP_UNKNOWN
    driver.of_start, driver.stamp_ahead_ns = True, -7_000_000_000
    clock.other_ns[Timebase.MONOTONIC_RAW] = -7_000_000_000
    camera = running(make(options={"clock": "monotonic_raw"}))
    assert camera.info().timebase is Timebase.MONOTONIC_RAW
    for number in range(20):
        assert take(camera).stamp.ptp_ns == driver.start_ns + number * PERIOD_NS + 500


def test_the_system_clock_maps_no_tsc_so_tegra_is_refused_with_the_way_out(tegra, clock: HandClock, kernel: Kernel):
    for option in ("auto", "tsc"):
        camera = V4l2Camera(
            section(options={"clock": option}), SystemClock(), open_device=kernel.open, nodes=kernel.list
        )
        with pytest.raises(ConfigError, match=r'with the TSC, .* — set \[clock\] source = "ptp", or options.clock ='):
            camera.open()
        assert tegra.handles == set()


# --- before the first mapping, and between two ---


def test_without_a_mapping_frames_flow_stamped_by_their_arrival(make: MakeCamera, tegra, clock: HandClock, caplog):
    camera = running(make())
    for number in range(30):
        frame = take(camera)
        assert frame.sequence == number
        assert frame.stamp.state is ClockState.UNLOCKED
        assert frame.stamp.ptp_ns == clock.now_ns - PERIOD_NS
        assert frame.stamp.bound_ns == 10 + WAITED_NS
    assert caplog.text.count("its frames are stamped by their arrival, unlocked") == 1


def test_the_first_mapping_is_used_at_once_and_said(make: MakeCamera, tegra, clock: HandClock, caplog):
    caplog.set_level(logging.INFO)
    camera = running(make())
    states = []
    for number in range(12):
        clock.tsc_mapped = 4 <= number < 8
        states.append(take(camera).stamp.state.value)
    assert states == ["unlocked"] * 4 + ["locked"] * 4 + ["unlocked"] * 4
    assert caplog.text.count("its stamps are mapped now") == 1
    assert caplog.text.count("stamped by their arrival") == 2


def test_frames_that_waited_unmapped_are_within_their_bound(make: MakeCamera, tegra, clock: HandClock):
    camera = running(make(options={"buffers": 4}))
    take(camera)
    clock.now_ns += 30 * PERIOD_NS
    for number in range(1, 5):
        stamp = take(camera).stamp
        assert abs(stamp.ptp_ns - tegra.start_ns - number * PERIOD_NS) <= stamp.bound_ns


def test_the_rate_is_measured_without_a_mapping_too(make: MakeCamera, tegra, clock: HandClock):
    tegra.real_rate_hz = 25.0
    tegra.stamp_delay_ns = 2 * PERIOD_NS
    camera = running(make())
    for _ in range(40):
        take(camera)
    assert camera.info().rate_hz == pytest.approx(25.0)


# --- stamps that cannot be true ---


def test_a_mapped_stamp_is_held_against_the_present_in_ptp_time(make: MakeCamera, tegra, clock: HandClock):
    clock.tsc_mapped = True
    camera = running(make())
    for _ in range(3):
        take(camera)
    tegra.stamp_fault_ns = dict.fromkeys(range(500), -60_000_000_000)
    with pytest.raises(HardwareError, match=r"wrapped timestamp: .* old — the driver's clock is not TSC, or it jumped"):
        take(camera)


def test_a_stamp_ahead_of_the_present_is_wrong_by_that_at_least(make: MakeCamera, tegra, clock: HandClock):
    clock.tsc_mapped = True
    tegra.stamp_fault_ns = {0: PERIOD_NS + 5_000_000}
    assert take(running(make())).stamp.bound_ns == pytest.approx(150 + 516 + 5_000_000, abs=1100)


def test_times_of_two_epochs_are_not_compared(make: MakeCamera, tegra, clock: HandClock):
    """The present is on a new timeline an hour away, the camera's mapping still on the old one."""
    clock.tsc_mapped = True
    clock.other_ns[Timebase.MONOTONIC], clock.epoch = 3600 * 10**9, 1
    camera = running(make())
    assert [take(camera).sequence for _ in range(20)] == list(range(20))
