"""A video file as a camera: in real time or as fast as the readers go, any region scaled to any size.

One 3072x1728 recording can so stand in for several 1280x720 cameras. In real time, frame ``n`` is exposed at
``start + n / rate``; a machine that cannot decode so fast loses frames as a camera would: they are read and let go, and
the sequence number says so (CAP-4).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field

from agent.camera.ffmpeg import FfmpegReader, VideoInfo, probe
from agent.camera.pacing import Pace, await_exposure
from agent.camera.port import CameraInfo, Frame, FrameTimeout, PixelFormat
from agent.camera.registry import read_options
from touchline.config import CameraSection, Section
from touchline.errors import ConfigError
from touchline.timeline import Clock, monotonic_ns, sleep_until

_LATE_FRAMES = 3  # a hiccup of the decoder shorter than this is caught up, not dropped


class VideoOptions(Section):
    """``[camera.options]`` of a video."""

    file: str = Field(min_length=1, description="the video file; absolute, or relative to the working folder")
    pace: Literal["realtime", "fast"] = "realtime"
    loop: bool = False
    first_frame: int = Field(default=0, ge=0)


class VideoCamera:
    """The camera port over :class:`agent.camera.ffmpeg.FfmpegReader`.

    Raises InputError for a missing, foreign or truncated file and ConfigError for a region outside the picture. A
    truncated file ends in InputError after its last good frame, never in silence.
    """

    def __init__(
        self,
        section: CameraSection,
        clock: Clock,
        *,
        monotonic: Callable[[], int] = monotonic_ns,
        wait_until: Callable[[int], None] = sleep_until,
    ) -> None:
        self._options = read_options(section, VideoOptions)
        if section.pixel_format == "raw16":
            raise ConfigError(
                f"camera {section.number}: a video cannot deliver raw16", hint="use rgb24, nv12 or gray8 for a video"
            )
        self._section, self._clock = section, clock
        self._monotonic, self._wait_until = monotonic, wait_until
        self._reader: FfmpegReader | None = None
        self._video: VideoInfo | None = None
        self._pace: Pace | None = None
        self._next = 0

    def open(self) -> None:
        """Probe the file and prepare the decoder."""
        path = Path(self._options.file)
        self._video = video = probe(path)
        roi = self._section.roi
        self._reader = FfmpegReader(
            path,
            roi=None if roi is None else (roi[0], roi[1], roi[2], roi[3]),
            size=(self._section.width_px, self._section.height_px),
            pixel_format=self._section.pixel_format,
            first_frame=self._options.first_frame,
            loop=self._options.loop,
            info=video,
        )

    def start(self) -> None:
        """Start decoding; the first frame is exposed as soon as it can be delivered."""
        self._opened().start()
        self._pace, self._next = None, 0

    def read(self, landing: memoryview, timeout_s: float) -> Frame | None:
        """Land the next frame; see the port."""
        reader, info = self._opened(), self.info()
        follows_readers = info.follows_readers
        if not reader.wait(timeout_s):
            raise FrameTimeout(f"{reader.path}: no frame within {timeout_s:g} s", hint="the disk or decoder is stuck")
        pace = self._pace = self._pace or Pace(self._monotonic(), info.rate_hz)
        wanted = self._next
        if not follows_readers:
            wanted = pace.next_frame(self._next, self._monotonic(), _LATE_FRAMES)
        while self._next < wanted:  # too slow for the rate: these frames are lost, and counted by the gap
            if not reader.readinto(landing):
                return None
            self._next += 1
        if not follows_readers:
            await_exposure(pace.exposure_ns(wanted), timeout_s, self._monotonic, self._wait_until)
        if not reader.readinto(landing):
            return None
        self._next = wanted + 1
        exposure_ns = self._monotonic() if follows_readers else pace.exposure_ns(wanted)
        return Frame(wanted, self._clock.at(exposure_ns))

    def stop(self) -> None:
        """Stop decoding."""
        if self._reader is not None:
            self._reader.close()

    def info(self) -> CameraInfo:
        """What this camera delivers; the rate is the file's own."""
        section, video = self._section, self._video
        return CameraInfo(
            camera=section.number,
            width_px=section.width_px,
            height_px=section.height_px,
            pixel_format=PixelFormat(section.pixel_format),
            rate_hz=section.rate_hz if video is None else video.rate_hz,
            source=f"video {self._options.file}",
            follows_readers=self._options.pace == "fast",
        )

    def close(self) -> None:
        """End the decoder."""
        self.stop()
        self._reader = None

    def _opened(self) -> FfmpegReader:
        if self._reader is None:
            raise RuntimeError("the camera is not open")
        return self._reader


def open_camera(section: CameraSection, clock: Clock) -> VideoCamera:
    """Entry point of the group ``touchline.cameras``."""
    return VideoCamera(section, clock)
