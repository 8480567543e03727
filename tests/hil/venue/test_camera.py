"""The simulated camera: exposures in step, losses counted, knobs; with a clock that only moves when told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.camera.grid import Trigger
from agent.camera.port import Camera, Frame, PixelFormat
from hil.venue.camera import VenueCamera, open_camera
from touchline.config import CameraSection
from touchline.errors import ConfigError, HardwareError
from touchline.timeline import ClockState, Stamp, Timebase

PTP_START_NS = 1_790_000_000_123_456_789
RATE_HZ = 25.0
PERIOD_NS = 40_000_000


class FakeTime:
    """A monotonic clock and a PTP clock that move only by sleeping."""

    def __init__(self) -> None:
        self.mono_ns = 5_000_000_000
        self.offset_ns = PTP_START_NS
        self.epoch = 0

    def now(self) -> Stamp:
        return self.at(self.mono_ns)

    def at(self, base_ns: int, timebase: Timebase = Timebase.MONOTONIC) -> Stamp:
        assert timebase is Timebase.MONOTONIC
        return Stamp(base_ns + self.offset_ns, 100, self.epoch, ClockState.LOCKED)

    def monotonic(self) -> int:
        return self.mono_ns

    def wait_until(self, deadline_ns: int) -> None:
        self.mono_ns = max(self.mono_ns, deadline_ns)


def section(**changes: object) -> CameraSection:
    options = changes.pop("options", {})
    values = {
        "number": 7, "source": "venue", "width_px": 160, "height_px": 90, "rate_hz": RATE_HZ,
        "calibration": "left.json", "options": options, **changes,
    }  # fmt: skip
    return CameraSection.model_validate(values)


def camera(clock: FakeTime, **options: object) -> VenueCamera:
    found = VenueCamera(section(options=options), clock, monotonic=clock.monotonic, wait_until=clock.wait_until)
    found.open()
    found.start()
    return found


def take(source: VenueCamera, landing: memoryview) -> Frame:
    frame = source.read(landing, 5.0)
    assert frame is not None
    return frame


@pytest.fixture
def clock() -> FakeTime:
    return FakeTime()


@pytest.fixture
def landing() -> memoryview:
    return memoryview(bytearray(160 * 90 * 3 + 64))


def test_it_fills_the_port(clock):
    port: Camera = open_camera(section(options={"side": "right"}), clock)
    info = port.info()
    assert (info.camera, info.width_px, info.height_px, info.rate_hz) == (7, 160, 90, RATE_HZ)
    assert info.pixel_format is PixelFormat.RGB24
    assert info.frame_bytes == 160 * 90 * 3


def test_frames_come_at_the_multiples_of_the_period(clock, landing):
    source = camera(clock)
    frames = [take(source, landing) for _ in range(10)]
    assert [frame.sequence for frame in frames] == list(range(10))
    stamps = [frame.stamp.ptp_ns for frame in frames]
    assert all(stamp % PERIOD_NS == 0 for stamp in stamps)
    assert np.diff(stamps).tolist() == [PERIOD_NS] * 9
    assert frames[0].stamp.bound_ns == 100
    assert clock.now().ptp_ns == stamps[-1]


def test_both_sides_expose_together_and_see_the_same_truth(clock):
    left, right = camera(clock, side="left"), camera(clock, side="right")
    pictures = [memoryview(bytearray(160 * 90 * 3)) for _ in range(2)]
    frames = [take(source, picture) for source, picture in zip((left, right), pictures, strict=True)]
    assert frames[0].stamp == frames[1].stamp
    assert bytes(pictures[0]) != bytes(pictures[1])


def test_the_frame_lands_and_nothing_beyond_it(clock, landing):
    landing[-64:] = b"\xaa" * 64
    take(camera(clock), landing)
    assert bytes(landing[-64:]) == b"\xaa" * 64
    assert np.frombuffer(landing, np.uint8, 160 * 90 * 3).std() > 10


def test_a_little_late_loses_nothing_and_very_late_shows_in_the_sequence(clock, landing):
    source = camera(clock, buffers=3)
    assert take(source, landing).sequence == 0
    clock.mono_ns += 3 * PERIOD_NS
    assert [take(source, landing).sequence for _ in range(3)] == [1, 2, 3]
    clock.mono_ns += 10 * PERIOD_NS
    late = take(source, landing)
    assert late.sequence == 11
    assert [take(source, landing).sequence for _ in range(3)] == [12, 13, 14]
    assert late.stamp.ptp_ns + 2 * PERIOD_NS == clock.now().ptp_ns - PERIOD_NS


def test_a_clock_step_changes_the_stamps_but_counts_on(clock, landing):
    source = camera(clock)
    take(source, landing)
    for step_ns in (3_600_000_000_000, -7_200_000_000_000):
        clock.offset_ns += step_ns
        clock.epoch += 1
        before = take(source, landing)
        after = take(source, landing)
        assert after.sequence == before.sequence + 1
        assert after.stamp.epoch == clock.epoch
        assert clock.now().ptp_ns - before.stamp.ptp_ns <= 2 * PERIOD_NS


def test_dropped_exposures_are_gaps_and_always_the_same(clock, landing):
    source = camera(clock, drop_pct=30.0)
    sequences = [take(source, landing).sequence for _ in range(200)]
    lost = sequences[-1] + 1 - len(sequences)
    assert 0.2 < lost / (sequences[-1] + 1) < 0.4
    assert (np.diff(sequences) >= 1).all()


def test_unplugged_reads_fail_and_the_gap_shows_afterwards(clock, landing):
    source = camera(clock)
    take(source, landing)
    source.disconnect()
    with pytest.raises(HardwareError, match="disconnected"):
        take(source, landing)
    clock.mono_ns += 1_000_000_000
    source.reconnect()
    assert take(source, landing).sequence == 22


def test_it_unplugs_itself_at_the_configured_time(clock, landing):
    source = camera(clock, disconnect_after_s=0.2)
    with pytest.raises(HardwareError, match="disconnected"):
        for _ in range(7):
            take(source, landing)


def test_a_short_time_out_is_an_error_and_not_a_frame(clock, landing):
    source = camera(clock)
    take(source, landing)
    with pytest.raises(HardwareError, match="no frame in time"):
        source.read(landing, 0.001)
    assert take(source, landing).sequence == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": {"sede": 3}}, "sede"),
        ({"options": {"side": "middle"}}, "side"),
        ({"options": {"people": 99}}, "people"),
        ({"pixel_format": "raw16"}, "pixel_format"),
        ({"roi": [0, 0, 10, 10]}, "roi"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(clock, changes, words):
    with pytest.raises(ConfigError, match=words) as caught:
        open_camera(section(**changes), clock).open()
    assert caught.value.hint


def test_reading_a_closed_camera_says_so(clock, landing):
    source = camera(clock)
    source.close()
    source.close()
    with pytest.raises(HardwareError, match="not open"):
        take(source, landing)


@given(st.sampled_from([24.0, 25.0, 29.97, 50.0, 59.94, 60.0, 120.0, 240.0]), st.integers(0, 2**61))
def test_exposures_are_exact_at_any_date(rate_hz, ptp_ns):
    trigger = Trigger(rate_hz)
    index = trigger.index_at(ptp_ns)
    assert trigger.exposure_ns(index) <= ptp_ns < trigger.exposure_ns(index + 1)
