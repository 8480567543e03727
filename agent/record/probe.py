"""Which encoder works here: the real command line on a few black pictures, its times and key frames looked at."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from agent.camera.port import frame_bytes
from agent.record.boxes import BoxError
from agent.record.command import SOFTWARE, Coding, Picture, arguments, candidates, check_picture
from agent.record.ebml import frame_head, stream_head
from agent.record.stream import FragmentStream, Raw
from touchline.errors import ResourceError
from touchline.run import need

PACKAGE: Final = "ffmpeg"
PROBE_TIMEOUT_S: Final = 20.0
_MORE_THAN_GOP: Final = 2
_MOST_FRAMES: Final = 32
_LAST_WORDS: Final = 300
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """The encoder to use, and why others before it were passed over."""

    encoder: str
    argv: tuple[str, ...]
    passed_over: tuple[str, ...] = ()

    @property
    def severity(self) -> Literal["info", "warning"]:
        """How bad it is that others were passed over: a CPU that encodes has less left for the rest."""
        return "warning" if self.encoder in SOFTWARE else "info"

    @property
    def complaint(self) -> str:
        """What is to be said of it once, empty when the first choice works: which were passed over, and why."""
        if not self.passed_over:
            return ""
        what = f"{self.encoder}, on the CPU," if self.encoder in SOFTWARE else self.encoder
        return f"{what} encodes; {len(self.passed_over)} passed over: {'; '.join(self.passed_over)}"


def find_encoder(program: str, coding: Coding, picture: Picture) -> Found:
    """As :func:`look_for_encoder`, and the log says what was passed over."""
    found = look_for_encoder(program, coding, picture)
    if found.complaint:
        _LOG.log(logging.WARNING if found.severity == "warning" else logging.INFO, "%s", found.complaint)
    return found


def look_for_encoder(program: str, coding: Coding, picture: Picture) -> Found:
    """The first encoder that works. Raises ResourceError saying for each why not, ConfigError for a wrong name."""
    check_picture(picture)
    program = program or need("ffmpeg", PACKAGE)
    there = _listed(program)
    wrong: list[str] = []
    for name in candidates(coding):
        argv = arguments(program, name, coding, picture)
        trouble = f"{program} has no {name}" if name not in there else _trouble(argv, coding, picture)
        if trouble is None:
            return Found(name, tuple(argv), tuple(wrong))
        wrong.append(f"{name}: {trouble}")
    raise ResourceError(
        f"no encoder for {coding.codec} works here: {'; '.join(wrong)}",
        hint="set record.encoder or record.codec to what this machine has, or take [record] out",
    )


def _listed(program: str) -> frozenset[str]:
    """Names of the encoders in this ffmpeg. Raises ResourceError when it cannot be run."""
    words = [program, "-nostdin", "-hide_banner", "-loglevel", "error", "-encoders"]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ResourceError(f"{program} cannot be run: {error}", hint="apt install ffmpeg") from error
    rows = [line.split() for line in done.stdout.decode(errors="replace").splitlines()]
    return frozenset(row[1] for row in rows if len(row) > 1 and row[0].startswith("V"))


def _trouble(argv: Sequence[str], coding: Coding, picture: Picture) -> str | None:
    """What is wrong with an encoder; None when it does what is asked."""
    size = frame_bytes(picture.width_px, picture.height_px, picture.pixel_format)
    count = min(coding.gop + _MORE_THAN_GOP, _MOST_FRAMES)
    times = [round(index * 1e6 / picture.rate_hz) for index in range(count)]
    head = stream_head(picture.width_px, picture.height_px, picture.pixel_format, picture.rate_hz)
    stream = b"".join([head, *(frame_head(time, size) + bytes(size) for time in times)])
    try:
        done = subprocess.run(argv, input=stream, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{error}"
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        return f"exit code {done.returncode}: {'; '.join(words[-2:])[-_LAST_WORDS:]}"
    try:
        raws = [item for item in FragmentStream().feed(done.stdout) if isinstance(item, Raw)]
    except BoxError as error:
        return f"its output cannot be used: {error}"
    return _judge(raws, times, coding.gop)


def _judge(raws: Sequence[Raw], times: Sequence[int], gop: int) -> str | None:
    got: list[int] = []
    keys: list[int] = []
    for raw in raws:
        at = raw.moof.media_us
        for sample in raw.moof.samples:
            if sample.key:
                keys.append(len(got))
            got.append(at)
            at += sample.duration_us
    if got != list(times):
        return f"{len(times)} pictures went in, {len(got)} came out, or at other times"
    wanted = list(range(0, len(times), gop))
    return None if keys == wanted else f"key frames at {keys}, wanted at {wanted}"
