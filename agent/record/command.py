"""ffmpeg's command line for each family of encoders. Pure: what is there and works is :mod:`agent.record.probe`'s.

The encoders run in ffmpeg's process; nothing of theirs is linked into ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.camera.port import PixelFormat
from touchline.errors import ConfigError

MEDIA_HZ: Final = 1_000_000  # media time is counted in microseconds everywhere


@dataclass(frozen=True, slots=True)
class Picture:
    """What the camera delivers."""

    width_px: int
    height_px: int
    pixel_format: PixelFormat
    rate_hz: float


@dataclass(frozen=True, slots=True)
class Coding:
    """How it is encoded; see ``[record]``."""

    codec: str = "h264"
    encoder: str = "auto"
    crf: int = 18
    bitrate_mbps: float = 20.0
    gop: int = 15
    preset: str = ""
    threads: int = 0
    fragment: int = 1


def _x264(coding: Coding) -> list[str]:
    words = ["-preset", coding.preset or "veryfast", "-tune", "zerolatency", "-crf", str(coding.crf)]
    return [*words, "-keyint_min", str(coding.gop), "-sc_threshold", "0", "-flags", "+cgop"]


def _x265(coding: Coding) -> list[str]:
    gop = f"keyint={coding.gop}:min-keyint={coding.gop}:scenecut=0:open-gop=0:bframes=0"
    words = ["-preset", coding.preset or "ultrafast", "-tune", "zerolatency", "-crf", str(coding.crf)]
    return [*words, "-x265-params", f"{gop}:log-level=error", "-tag:v", "hvc1"]


def _nvenc(coding: Coding) -> list[str]:
    """NVIDIA's Video Codec SDK: desktop cards, and Jetsons from JetPack 7."""
    preset = coding.preset if coding.encoder != "auto" else ""  # with auto, the preset is meant for libx264 or libx265
    words = ["-preset", preset or "p3", "-rc", "vbr", "-cq", str(coding.crf), "-b:v", "0"]
    words += ["-zerolatency", "1", "-delay", "0", "-no-scenecut", "1", "-strict_gop", "1", "-forced-idr", "1"]
    return [*words, "-tag:v", "hvc1"] if coding.codec == "hevc" else words


def _by_bitrate(coding: Coding) -> list[str]:
    """Jetson's multimedia API (jetson-ffmpeg) and V4L2 memory-to-memory: no constant quality."""
    words = ["-b:v", f"{coding.bitrate_mbps:g}M"]
    return [*words, "-tag:v", "hvc1"] if coding.codec == "hevc" else words


Family = Callable[[Coding], list[str]]

ENCODERS: Final[Mapping[str, Mapping[str, Family]]] = {  # in the order of "auto"
    "h264": {"h264_nvmpi": _by_bitrate, "h264_nvenc": _nvenc, "h264_v4l2m2m": _by_bitrate, "libx264": _x264},
    "hevc": {"hevc_nvmpi": _by_bitrate, "hevc_nvenc": _nvenc, "hevc_v4l2m2m": _by_bitrate, "libx265": _x265},
}
SOFTWARE: Final = frozenset({"libx264", "libx265"})  # on the CPU
_INPUT_AS_IT_IS: Final = frozenset({PixelFormat.NV12})


def candidates(coding: Coding) -> list[str]:
    """The encoders to try, in order. Raises ConfigError for a name that is none of this codec's."""
    known = ENCODERS[coding.codec]
    if coding.encoder == "auto":
        return list(known)
    if coding.encoder not in known:
        raise ConfigError(
            f"record.encoder = {coding.encoder!r} does not make {coding.codec}",
            hint=f"use auto or one of {', '.join(known)}",
        )
    return [coding.encoder]


def check_picture(picture: Picture) -> None:
    """Raise ConfigError for a picture that 4:2:0 cannot hold."""
    if picture.width_px % 2 or picture.height_px % 2:
        raise ConfigError(
            f"a recording needs even width and height, not {picture.width_px}x{picture.height_px}",
            hint="change width_px and height_px of the camera, or take [record] out",
        )


def _colours(picture: Picture) -> list[str]:
    """NV12 goes in as it is, marked as what :mod:`agent.camera` makes (BT.601); the rest is converted to BT.709."""
    if picture.pixel_format in _INPUT_AS_IT_IS:
        return ["-pix_fmt", "yuv420p", "-colorspace", "smpte170m", "-color_range", "tv"]
    scale = "scale=out_color_matrix=bt709:out_range=tv:flags=bilinear"
    marks = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    return ["-vf", scale, "-pix_fmt", "yuv420p", *marks]


def arguments(program: str, encoder: str, coding: Coding, picture: Picture) -> list[str]:
    """ffmpeg from Matroska on its standard input to fragmented MP4 on its standard output.

    Times pass through untouched (``passthrough``, an encoder time base of 1 us), so what comes out can be matched with
    what went in. No ``-fflags nobuffer``: it drops the first frame (seen with 5.1). A fragment leaves ffmpeg when the
    next frame has been encoded, as its muxer writes the duration of a picture only then.
    """
    words = [program, "-nostdin", "-hide_banner", "-loglevel", "error"]
    words += ["-probesize", "32", "-analyzeduration", "0", "-f", "matroska", "-i", "pipe:0"]
    words += ["-map", "0:v:0", "-fps_mode", "passthrough", "-enc_time_base", f"1:{MEDIA_HZ}"]
    words += ["-c:v", encoder, *ENCODERS[coding.codec][encoder](coding), "-g", str(coding.gop), "-bf", "0"]
    words += ["-threads", str(coding.threads)] if coding.threads else []
    words += _colours(picture)
    if coding.fragment == 1:
        cuts = ["-movflags", "+frag_every_frame+empty_moov+default_base_moof"]
    else:
        wanted_us = round((coding.fragment - 0.5) / picture.rate_hz * 1e6)
        cuts = ["-movflags", "+frag_keyframe+empty_moov+default_base_moof", "-frag_duration", str(wanted_us)]
    words += [*cuts, "-use_editlist", "0", "-video_track_timescale", str(MEDIA_HZ), "-map_metadata", "-1"]
    return [*words, "-flush_packets", "1", "-f", "mp4", "pipe:1"]
