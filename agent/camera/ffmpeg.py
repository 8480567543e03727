"""Video files through the real ffmpeg: ask what is in them, and read frames straight into a given buffer.

The child process decodes, crops, scales and converts; its pipe is read into the caller's memory (a ring slot, an
array) with no copy in between. Frames are never duplicated or dropped to fit a rate: frame n of the file is frame n
here. Colours: a file that does not say which matrix it uses is taken as BT.709 from 720 lines up and BT.601 below;
``rgb24`` and ``gray8`` come out full range, ``nv12`` as BT.601 limited range, whatever the file has.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import re
import select
import subprocess
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from agent.camera.port import PixelFormat, frame_bytes
from touchline.errors import ConfigError, InputError, ResourceError
from touchline.run import need

PACKAGE: Final = "ffmpeg"
_FFMPEG_NAMES: Final[Mapping[str, str]] = {"rgb24": "rgb24", "nv12": "nv12", "gray8": "gray"}
_PIPE_BYTES: Final = 1 << 20  # Linux's limit for an unprivileged pipe, /proc/sys/fs/pipe-max-size
_PROBE_TIMEOUT_S: Final = 30.0
_EXIT_TIMEOUT_S: Final = 5.0
_INDEXED: Final = frozenset({"mov", "mp4"})  # Matroska's frame rate is only what its writer claimed
_PROBE_FIELDS: Final = (
    "stream=codec_name,width,height,avg_frame_rate,r_frame_rate,nb_frames,duration,start_time,color_space,color_range"
    ":stream_tags=DURATION,rotate:stream_side_data=rotation:format=duration,start_time,format_name"
)


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What ffprobe says of the first video stream.

    ``width_px``, ``height_px``: as shown, after the file's own rotation. ``frames`` and ``duration_s`` are None where
    the container does not know them. ``seekable``: a frame number maps to a time exactly (constant rate, indexed
    container). ``offset_s``: how much later the video starts than the file.
    """

    width_px: int
    height_px: int
    rate_hz: float
    frames: int | None
    duration_s: float | None
    codec: str
    matrix: str = "bt709"
    full_range: bool = False
    seekable: bool = False
    offset_s: float = 0.0

    @property
    def likely_frames(self) -> int | None:
        """Return ``frames``, or an estimate from the duration."""
        if self.frames is not None or self.duration_s is None:
            return self.frames
        return int(self.duration_s * self.rate_hz + 1e-6)


def probe(path: Path) -> VideoInfo:
    """Ask ffprobe about ``path``. Raises InputError (missing, not a video), ResourceError (no ffprobe)."""
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="give the path of a video file")
    argv = [need("ffprobe", PACKAGE), "-v", "error", "-select_streams", "V:0", "-show_entries", _PROBE_FIELDS]
    try:
        done = subprocess.run(
            [*argv, "-of", "json", f"file:{path}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path}: ffprobe found nothing within {_PROBE_TIMEOUT_S:g} s") from error
    words = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode != 0:
        raise _not_a_video(path, words[0] if words else f"ffprobe ended with status {done.returncode}")
    return parse_probe(json.loads(done.stdout), path)


def parse_probe(found: Mapping[str, Any], path: Path) -> VideoInfo:
    """Turn ffprobe's JSON into a :class:`VideoInfo`; ``path`` only names the file in errors (InputError)."""
    streams = found.get("streams") or []
    if not streams or streams[0].get("codec_name") in {None, "ansi"}:  # ffmpeg "decodes" any text file as ANSI art
        raise _not_a_video(path, "it has no video stream")
    stream, container = streams[0], found.get("format", {})
    rate, steady = _fraction(stream.get("avg_frame_rate")), _fraction(stream.get("r_frame_rate"))
    width_px, height_px = int(stream.get("width", 0)), int(stream.get("height", 0))
    if min(width_px, height_px) <= 0 or not (rate or steady):
        raise _not_a_video(path, "its picture size or frame rate is unknown")
    if _rotation(stream) % 180 == 90:
        width_px, height_px = height_px, width_px
    rate_hz = float(rate or steady or 0)
    duration_s = _seconds(stream.get("duration")) or _clock_seconds(stream.get("tags", {}).get("DURATION"))
    space = stream.get("color_space", "unknown")
    indexed = not _INDEXED.isdisjoint(str(container.get("format_name", "")).split(","))
    return VideoInfo(
        width_px=width_px,
        height_px=height_px,
        rate_hz=rate_hz,
        frames=_frame_count(stream.get("nb_frames"), duration_s, rate_hz, indexed),
        duration_s=duration_s or _seconds(container.get("duration")),
        codec=str(stream["codec_name"]),
        matrix=_MATRICES.get(space, "bt709" if height_px >= 720 else "bt601"),
        full_range=stream.get("color_range") == "pc",
        seekable=rate is not None and rate == steady and indexed,
        offset_s=(_seconds(stream.get("start_time")) or 0.0) - (_seconds(container.get("start_time")) or 0.0),
    )


_MATRICES: Final[Mapping[str, str]] = {
    "bt709": "bt709",
    "smpte170m": "bt601",
    "bt470bg": "bt601",
    "bt2020nc": "bt2020",
    "bt2020c": "bt2020",
}


def _not_a_video(path: Path, why: str) -> InputError:
    return InputError(f"{path} is not a usable video: {why}", hint="give a file that ffmpeg can play")


def _fraction(text: Any) -> Fraction | None:
    try:
        value = Fraction(str(text))
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None


def _seconds(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _clock_seconds(text: Any) -> float | None:
    """Matroska writes the duration as 00:01:02.5."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", str(text))
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None


def _rotation(stream: Mapping[str, Any]) -> int:
    turns = [side["rotation"] for side in stream.get("side_data_list", []) if "rotation" in side]
    return round(float(turns[0] if turns else stream.get("tags", {}).get("rotate", 0)))


def _frame_count(stored: Any, duration_s: float | None, rate_hz: float, indexed: bool) -> int | None:
    """Count what will come out, None if the container has no index; an edit list shows less than is stored."""
    if not indexed or not str(stored).isdigit():
        return None
    shown = int(stored) if duration_s is None else int(duration_s * rate_hz + 1e-6)
    return min(int(stored), shown)


Roi = tuple[int, int, int, int]


def checked_geometry(
    info: VideoInfo, roi: Roi | None, size: tuple[int, int] | None, pixel_format: str
) -> tuple[Roi, tuple[int, int]]:
    """Return (region x, y, w, h; output size w, h), both in pixels, or raise ConfigError naming what is allowed."""
    if pixel_format not in _FFMPEG_NAMES:
        allowed = ", ".join(_FFMPEG_NAMES)
        raise ConfigError(f"pixel format {pixel_format!r} cannot come from a video", hint=f"use one of {allowed}")
    x, y, width, height = region = roi or (0, 0, info.width_px, info.height_px)
    inside = x >= 0 and y >= 0 and x + width <= info.width_px and y + height <= info.height_px
    if width < 1 or height < 1 or not inside:
        raise ConfigError(
            f"region of interest {x},{y},{width},{height} (x,y,w,h) is outside the {info.width_px}x{info.height_px} "
            "picture",
            hint=f"keep 0 <= x, x + w <= {info.width_px} and 0 <= y, y + h <= {info.height_px}",
        )
    out_width, out_height = size or (width, height)
    if min(out_width, out_height) < 1 or max(out_width, out_height) > 16_384:
        raise ConfigError(f"output size {out_width}x{out_height} is not allowed", hint="use 1..16384 pixels a side")
    if pixel_format == "nv12" and (out_width % 2 or out_height % 2):
        raise ConfigError(f"output size {out_width}x{out_height} is odd", hint="nv12 needs even width and height")
    return region, (out_width, out_height)


def filter_chain(info: VideoInfo, roi: Roi, size: tuple[int, int], pixel_format: str, skip_frames: int = 0) -> str:
    """Return the ffmpeg filter that skips, crops, scales and converts, in that order."""
    x, y, width, height = roi
    steps = [f"select=gte(n\\,{skip_frames})"] if skip_frames else []
    if roi != (0, 0, info.width_px, info.height_px):
        steps.append(f"crop={width}:{height}:{x}:{y}:exact=1")
    reading = f"in_color_matrix={info.matrix}:in_range={'pc' if info.full_range else 'tv'}"
    writing = "out_color_matrix=bt601:out_range=tv" if pixel_format == "nv12" else "out_range=pc"
    method = "area" if size[0] < width else "bicubic"
    steps.append(f"scale={size[0]}:{size[1]}:flags={method}:{reading}:{writing}")
    steps.append(f"format={_FFMPEG_NAMES[pixel_format]}")
    return ",".join(steps)


@functools.lru_cache(maxsize=1)
def _keep_every_frame(ffmpeg: str) -> tuple[str, str]:
    """The option that forbids duplicating and dropping frames: renamed in ffmpeg 5.1, the old name later removed."""
    text = subprocess.run([ffmpeg, "-version"], stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout
    match = re.match(rb"ffmpeg version n?(\d+)\.(\d+)", text)
    if match and (int(match[1]), int(match[2])) < (5, 1):
        return "-vsync", "passthrough"
    return "-fps_mode", "passthrough"


class FfmpegReader:
    """Frames of one video file, decoded by a child ffmpeg into buffers of the caller.

    Args:
        path: the file.
        roi: region (x, y, w, h) in picture pixels; None = all of it.
        size: output (w, h); None = the region's own size.
        pixel_format: ``rgb24`` (h, w, 3), ``nv12`` (h * 3 / 2, w) or ``gray8`` (h, w), uint8.
        first_frame: number of the first frame wanted, from 0.
        realtime: let ffmpeg deliver at the file's own rate instead of as fast as it can.
        loop: begin again at the end, for ever.
        info: the result of :func:`probe`, if the caller has it.
        stall_s: longest silence of ffmpeg before it counts as broken.

    Raises InputError, ConfigError or ResourceError as :func:`probe` and :func:`checked_geometry` do. Use it as a
    context manager, or call :meth:`start` and :meth:`close`. One thread at a time.
    """

    def __init__(
        self,
        path: Path,
        *,
        roi: Roi | None = None,
        size: tuple[int, int] | None = None,
        pixel_format: str = "rgb24",
        first_frame: int = 0,
        realtime: bool = False,
        loop: bool = False,
        info: VideoInfo | None = None,
        stall_s: float = 30.0,
    ) -> None:
        self.path = path
        self.info = info or probe(path)
        self.roi, self.size_px = checked_geometry(self.info, roi, size, pixel_format)
        self.pixel_format = pixel_format
        self.frame_bytes = frame_bytes(*self.size_px, PixelFormat(pixel_format))
        self.first_frame = first_frame
        self.frames_read = 0
        self._realtime = realtime
        self._loop = loop
        self._stall_s = stall_s
        self._child: subprocess.Popen[bytes] | None = None
        self._said: deque[str] = deque(maxlen=40)
        self._listener: threading.Thread | None = None
        self._check_first_frame()

    def _check_first_frame(self) -> None:
        last = None if self.info.frames is None else self.info.frames - 1
        if self.first_frame < 0 or (last is not None and self.first_frame > last):
            have = "0 or more" if last is None else f"0..{last}"
            raise InputError(f"{self.path} has no frame {self.first_frame}", hint=f"its frames are {have}")

    def command(self) -> list[str]:
        """Return the child's command line."""
        ffmpeg = need("ffmpeg", PACKAGE)
        argv = [ffmpeg, "-nostdin", "-hide_banner", "-loglevel", "error"]
        skip = self.first_frame
        if self._realtime:
            argv.append("-re")
        if self._loop:
            argv += ["-stream_loop", "-1"]
        elif skip and self.info.seekable:  # half a frame early: the first frame at or after that time is the one
            argv += ["-ss", f"{self.info.offset_s + (skip - 0.5) / self.info.rate_hz:.6f}"]
            skip = 0
        chain = filter_chain(self.info, self.roi, self.size_px, self.pixel_format, skip)
        argv += ["-i", f"file:{self.path}", "-map", "0:V:0", "-vf", chain, *_keep_every_frame(ffmpeg)]
        return [*argv, "-f", "rawvideo", "-pix_fmt", _FFMPEG_NAMES[self.pixel_format], "pipe:1"]

    def start(self) -> None:
        """Start the child; frames begin to flow into its pipe."""
        if self._child is not None:
            raise RuntimeError("the reader is already started")
        self.frames_read = 0
        self._said.clear()
        self._child = child = subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal reaches us, who then close it
        )
        assert child.stdout is not None and child.stderr is not None
        with suppress(OSError):  # a smaller pipe is slower, not wrong
            fcntl.fcntl(child.stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._listener = threading.Thread(target=self._listen, args=(child.stderr,), daemon=True)
        self._listener.start()

    def _listen(self, stream: IO[bytes]) -> None:
        with suppress(ValueError, OSError):  # closed under us by close()
            for line in iter(lambda: stream.readline(500), b""):
                if text := line.decode(errors="replace").strip():
                    self._said.append(text)

    def wait(self, timeout_s: float) -> bool:
        """Wait until :meth:`readinto` has something to read (or the end is known); False after ``timeout_s``."""
        poller = select.poll()
        poller.register(self._pipe(), select.POLLIN)
        return bool(poller.poll(max(0.0, timeout_s) * 1000))

    def readinto(self, buffer: memoryview) -> bool:
        """Fill the first ``frame_bytes`` of a writable buffer with the next frame; False at the end of the video.

        Raises InputError when the file is truncated or cannot be decoded further, naming the frame reached;
        ResourceError when ffmpeg was killed. The buffer's content is undefined after False or an error.
        """
        if buffer.nbytes < self.frame_bytes:
            raise ValueError(f"the buffer has {buffer.nbytes} bytes, a frame {self.frame_bytes}")
        view = buffer.cast("B")[: self.frame_bytes]
        pipe, filled = self._pipe(), 0
        while filled < self.frame_bytes:
            if not self.wait(self._stall_s):
                raise InputError(f"{self.path}: ffmpeg gave nothing for {self._stall_s:g} s {self._where()}")
            got = os.readv(pipe, [view[filled:]])
            if got == 0:
                return self._ended(filled)
            filled += got
        self.frames_read += 1
        return True

    def _pipe(self) -> int:
        if self._child is None or self._child.stdout is None:
            raise RuntimeError("the reader is not started")
        return self._child.stdout.fileno()

    def _where(self) -> str:
        reached = self.first_frame + self.frames_read
        total = None if self._loop else self.info.likely_frames
        return f"at frame {reached}" + (f" of {total}" if total else "")

    def _ended(self, partial_bytes: int) -> bool:
        """The pipe closed: was it the end of the video? Returns False, or raises saying why it was not."""
        assert self._child is not None and self._listener is not None
        self._listener.join(_EXIT_TIMEOUT_S)
        status = self._child.wait()
        why = f": {self._said[-1]}" if self._said else ""
        if status < 0:
            raise ResourceError(f"{self.path}: ffmpeg was killed by signal {-status} {self._where()}{why}")
        if status > 0 or partial_bytes or self.frames_read == 0:
            raise InputError(f"{self.path} cannot be decoded {self._where()}{why}", hint=_COPY_AGAIN)
        expected = self.info.likely_frames if self._said else self.info.frames
        if expected is not None and not self._loop:
            missing = expected - self.first_frame - self.frames_read
            if missing > (0 if self._said and self.info.frames else 1):  # a count may hold one frame never shown
                raise InputError(f"{self.path} is truncated: it ends {self._where()}{why}", hint=_COPY_AGAIN)
        return False

    def messages(self) -> tuple[str, ...]:
        """What ffmpeg complained of so far (the last 40 lines): damaged frames are shown, not hidden."""
        return tuple(self._said)

    def close(self) -> None:
        """End the child and free its pipe; safe to call twice."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.poll() is None:
            child.kill()
        child.wait()
        if self._listener is not None:
            self._listener.join(_EXIT_TIMEOUT_S)
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> FfmpegReader:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_COPY_AGAIN: Final = "copy or record the file again, or name a range of frames before that one"
