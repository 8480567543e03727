"""Fragments, streams and real ffmpeg output for tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from agent.camera.port import PixelFormat
from agent.record.boxes import full, make
from agent.record.command import Coding, Picture, arguments
from agent.record.ebml import frame_head, stream_head
from agent.record.fragment import Fragment, Head, Mark
from agent.record.moof import Moof, Sample
from touchline.timeline import ClockState, monotonic_ns, sleep_until

HEAD = Head("node-a", 1, "0123456789abcdef" * 2, "h264", "libx264", 320, 192, 50.0)
PERIOD_US = 20_000
PTP_NS = 1_800_000_000_000_000_000


def fragment(
    number: int,
    *,
    key: bool | None = None,
    role: tuple[bool, int] = (True, 7),
    data: bytes = b"",
    ahead_ns: int = 0,
    state: ClockState = ClockState.LOCKED,
) -> Fragment:
    """One picture; every fifteenth is a key frame. ``ahead_ns``: by how much the clock is wrong."""
    body = data or bytes([number % 256]) * (number % 50 + 1)
    is_key = number % 15 == 0 if key is None else key
    mark = Mark(PTP_NS + number * PERIOD_US * 1000 + ahead_ns, number, 250, 1, state)
    moof = Moof(number * PERIOD_US, (Sample(len(body), PERIOD_US, is_key),))
    return Fragment(number, role[0], role[1], (mark,), moof, body)


def start(entry: bytes = b"entry-one") -> bytes:
    """``ftyp`` and a ``moov`` with everything that a join touches."""
    stsd = make(b"stsd", bytes(4), (1).to_bytes(4, "big"), make(b"avc1", entry))
    trak = make(b"trak", make(b"mdia", make(b"minf", make(b"stbl", stsd))))
    mvhd = full(b"mvhd", 0, 0, bytes(8), (1000).to_bytes(4, "big"), bytes(80))
    mvex = make(b"mvex", full(b"trex", 0, 0, bytes(20)))
    return make(b"ftyp", b"iso5") + make(b"moov", mvhd, trak, mvex)


def file_of(fragments: Sequence[Fragment], head: Head = HEAD, init: bytes | None = None) -> bytes:
    """A whole recording."""
    return (start() if init is None else init) + head.to_bytes() + b"".join(one.to_bytes() for one in fragments)


def encode(
    times_us: Sequence[int],
    coding: Coding | None = None,
    picture: Picture | None = None,
    *,
    through: int | None = None,
) -> bytes:
    """What real ffmpeg makes of moving pictures at these times."""
    coding = coding or Coding(preset="ultrafast")
    picture = picture or Picture(64, 64, PixelFormat.GRAY8, 120.0)
    encoder = "libx264" if coding.codec == "h264" else "libx265"
    count = picture.width_px * picture.height_px * {PixelFormat.GRAY8: 1, PixelFormat.RGB24: 3}[picture.pixel_format]
    parts = [stream_head(picture.width_px, picture.height_px, picture.pixel_format, picture.rate_hz)]
    for number, time_us in enumerate(times_us):
        ramp = bytes((index * 3 + number * 5) % 256 for index in range(256))
        parts += [frame_head(time_us, count), (ramp * (count // 256 + 1))[:count]]
    argv = arguments("ffmpeg", encoder, coding, picture)
    return subprocess.run(argv, input=b"".join(parts), capture_output=True, check=True, timeout=60).stdout


def wait_for(what: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Wait until something is true, with a deadline; what it is then."""
    deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
    while not (found := what()) and monotonic_ns() < deadline_ns:
        sleep_until(monotonic_ns() + 2_000_000)
    assert found
    return found
