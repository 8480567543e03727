"""Pacing, the pattern camera and the video camera; clocks and files are given, nobody sleeps."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.camera.pacing import Pace
from agent.camera.pattern import PatternCamera, draw, read_mark
from agent.camera.port import PixelFormat, frame_bytes
from agent.camera.registry import camera_names, open_camera
from agent.camera.video import VideoCamera
from touchline.config import CameraSection
from touchline.errors import ConfigError, InputError
from touchline.run import need
from touchline.timeline import ClockState, Stamp, Timebase


class FakeClock:
    """Monotonic time moved by hand; PTP time is the same number."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def now(self) -> Stamp:
        return self.at(self.now_ns)

    def at(self, base_ns: int, timebase: Timebase = Timebase.MONOTONIC) -> Stamp:
        assert timebase is Timebase.MONOTONIC
        return Stamp(base_ns, 10, 0, ClockState.LOCKED)

    def monotonic(self) -> int:
        return self.now_ns

    def wait_until(self, deadline_ns: int) -> None:
        self.now_ns = max(self.now_ns, deadline_ns)


def section(source: str = "pattern", **more: object) -> CameraSection:
    fields = {"number": 7, "width_px": 64, "height_px": 64, "rate_hz": 50.0, "calibration": "c.json", **more}
    return CameraSection.model_validate({"source": source, **fields})


@given(st.integers(0, 10**12), st.floats(1, 1000), st.integers(0, 10**7))
def test_the_frame_of_its_own_exposure_time_is_itself(start, rate, frame):
    pace = Pace(start, rate)
    assert pace.frame_at(pace.exposure_ns(frame)) == frame


def test_pace_does_not_drift_at_uneven_rates():
    pace = Pace(0, 120.0)
    assert pace.exposure_ns(120 * 3600) == 3600 * 10**9


def test_a_late_source_skips_only_beyond_its_slack():
    pace = Pace(0, 25.0)
    assert pace.next_frame(5, pace.exposure_ns(8), 3) == 5
    assert pace.next_frame(5, pace.exposure_ns(9), 3) == 9
    assert pace.next_frame(5, 0, 3) == 5


def test_pattern_frames_are_paced_numbered_and_whole():
    clock = FakeClock()
    camera = PatternCamera(
        section(options={"frames": 3}), clock, monotonic=clock.monotonic, wait_until=clock.wait_until
    )
    camera.open()
    camera.start()
    landing = memoryview(bytearray(camera.info().frame_bytes))
    seen = []
    while (frame := camera.read(landing, 1.0)) is not None:
        assert read_mark(landing) == frame.sequence
        seen.append((frame.sequence, frame.stamp.ptp_ns))
    assert seen == [(0, 1_000_000_000), (1, 1_020_000_000), (2, 1_040_000_000)]


def test_pattern_pretends_losses_by_sequence_gaps():
    clock = FakeClock()
    options = {"frames": 10, "drop_every": 4}
    camera = PatternCamera(section(options=options), clock, monotonic=clock.monotonic, wait_until=clock.wait_until)
    camera.start()
    landing = memoryview(bytearray(camera.info().frame_bytes))
    sequences = []
    while (frame := camera.read(landing, 1.0)) is not None:
        sequences.append(frame.sequence)
    assert sequences == [0, 1, 2, 4, 5, 6, 8, 9]


def test_a_torn_pattern_frame_is_recognised():
    frame = bytearray(4096)
    draw(memoryview(frame), 5)
    other = bytearray(4096)
    draw(memoryview(other), 6)
    frame[2048:] = other[2048:]
    with pytest.raises(InputError, match="begins with 5 and ends with 6"):
        read_mark(bytes(frame))


def test_backends_are_found_by_entry_point():
    assert {"pattern", "video", "venue"} <= set(camera_names())
    with pytest.raises(ConfigError, match=r"use one of .*pattern"):
        open_camera(section("thermal"), FakeClock())


def test_an_unknown_option_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"options.frame: .* — options of pattern: frames, paced, drop_every"):
        open_camera(section(options={"frame": 3}), FakeClock())


def test_frame_sizes():
    sizes = {kind: frame_bytes(1280, 720, kind) for kind in PixelFormat}
    assert sizes[PixelFormat.RAW16] == 1_843_200
    assert sizes[PixelFormat.NV12] == 1_382_400
    assert sizes[PixelFormat.RGB24] == 2_764_800
    assert sizes[PixelFormat.GRAY8] == 921_600


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of 50 frames/s, each frame's brightness its number."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    source = "color=black:s=128x96:r=50:d=1,geq=lum='N*4':cb=128:cr=128"
    argv = [need("ffmpeg", "ffmpeg"), "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264", "-qp", "0"]
    subprocess.run([*argv, str(path)], check=True)
    return path


def video(clip: Path, clock: FakeClock, **options: object) -> VideoCamera:
    made = section("video", pixel_format="gray8", options={"file": str(clip), **options})
    camera = VideoCamera(made, clock, monotonic=clock.monotonic, wait_until=clock.wait_until)
    camera.open()
    camera.start()
    return camera


@pytest.mark.system
def test_video_in_real_time_is_exposed_at_its_own_rate(clip):
    clock = FakeClock()
    camera = video(clip, clock)
    landing = memoryview(bytearray(camera.info().frame_bytes))
    stamps = []
    while (frame := camera.read(landing, 5.0)) is not None:
        stamps.append(frame.stamp.ptp_ns)
    camera.close()
    assert len(stamps) == 50
    assert {b - a for a, b in pairwise(stamps)} == {20_000_000}


@pytest.mark.system
def test_a_machine_too_slow_loses_frames_and_says_which(clip):
    clock = FakeClock()
    camera = video(clip, clock)
    landing = memoryview(bytearray(camera.info().frame_bytes))
    first = camera.read(landing, 5.0)
    clock.now_ns += 200_000_000
    second = camera.read(landing, 5.0)
    camera.close()
    assert first is not None
    assert second is not None
    assert (first.sequence, second.sequence) == (0, 10)


@pytest.mark.system
def test_a_truncated_video_fails_after_its_last_good_frame(clip, tmp_path):
    torn = tmp_path / "torn.mkv"
    argv = [need("ffmpeg", "ffmpeg"), "-v", "error", "-i", str(clip), "-c", "copy", str(torn)]
    subprocess.run(argv, check=True)
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    clock = FakeClock()
    camera = video(torn, clock, pace="fast")
    landing = memoryview(bytearray(camera.info().frame_bytes))
    frames = 0
    with pytest.raises(InputError, match=r"truncated|cannot be decoded"):
        while camera.read(landing, 5.0) is not None:
            frames += 1
        raise InputError(f"truncated silently after {frames}") if frames == 50 else AssertionError("no error")
    camera.close()


@pytest.mark.system
def test_missing_video_and_wrong_region(clip):
    with pytest.raises(InputError, match="no such file"):
        video(clip.with_name("none.mp4"), FakeClock())
    made = section("video", roi=[100, 0, 64, 64], pixel_format="gray8", options={"file": str(clip)})
    with pytest.raises(ConfigError, match="outside the 128x96 picture"):
        VideoCamera(made, FakeClock()).open()
