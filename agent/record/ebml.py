"""Raw frames as Matroska, for ffmpeg's standard input: the one container that carries times we choose, from a pipe.

The least that ffmpeg takes: EBML header, a segment of unknown size, one ``V_UNCOMPRESSED`` track, and for each frame a
cluster of known size with its own 64-bit time and one SimpleBlock (RFC 8794, RFC 9559). A cluster a frame, because a
block's time is a 16-bit offset to its cluster's. The unit of time is the microsecond.
"""

from __future__ import annotations

import struct
from typing import Final

from agent.camera.port import PixelFormat

TIME_SCALE_NS: Final = 1_000  # one tick of every time below
_UNKNOWN_SIZE: Final = b"\x01\xff\xff\xff\xff\xff\xff\xff"
_MAX_SIZE: Final = (1 << 56) - 2

# element ids, RFC 9559
_EBML, _EBML_VERSION, _EBML_READ_VERSION = b"\x1a\x45\xdf\xa3", b"\x42\x86", b"\x42\xf7"
_EBML_MAX_ID, _EBML_MAX_SIZE, _DOC_TYPE = b"\x42\xf2", b"\x42\xf3", b"\x42\x82"
_DOC_VERSION, _DOC_READ_VERSION = b"\x42\x87", b"\x42\x85"
_SEGMENT, _INFO, _TIMESTAMP_SCALE = b"\x18\x53\x80\x67", b"\x15\x49\xa9\x66", b"\x2a\xd7\xb1"
_MUXING_APP, _WRITING_APP = b"\x4d\x80", b"\x57\x41"
_TRACKS, _TRACK_ENTRY, _TRACK_NUMBER, _TRACK_UID = b"\x16\x54\xae\x6b", b"\xae", b"\xd7", b"\x73\xc5"
_TRACK_TYPE, _FLAG_LACING, _DEFAULT_DURATION, _CODEC_ID = b"\x83", b"\x9c", b"\x23\xe3\x83", b"\x86"
_VIDEO, _PIXEL_WIDTH, _PIXEL_HEIGHT, _COLOUR_SPACE = b"\xe0", b"\xb0", b"\xba", b"\x2e\xb5\x24"
_CLUSTER, _TIMESTAMP, _SIMPLE_BLOCK = b"\x1f\x43\xb6\x75", b"\xe7", b"\xa3"

_VIDEO_TRACK: Final = 1
_BLOCK_HEAD: Final = b"\x81\x00\x00\x80"  # track 1, no offset to the cluster's time, a key frame
_FOURCC: Final = {  # libavcodec/raw.c, avpriv_pix_fmt_bps and friends: how it reads V_UNCOMPRESSED's ColourSpace
    PixelFormat.GRAY8: b"Y800",
    PixelFormat.RGB24: b"RGB\x18",
    PixelFormat.NV12: b"NV12",
    PixelFormat.RAW16: b"\xbaRG\x10",  # bayer_rggb16le
}


def _size(count: int) -> bytes:
    if not 0 <= count <= _MAX_SIZE:
        raise ValueError(f"an element of {count} bytes")
    return struct.pack(">Q", 1 << 56 | count)


def _element(name: bytes, payload: bytes) -> bytes:
    return name + _size(len(payload)) + payload


def _number(name: bytes, value: int) -> bytes:
    return _element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def stream_head(width_px: int, height_px: int, pixel_format: PixelFormat, rate_hz: float) -> bytes:
    """What stands before the first frame; ``rate_hz`` is the nominal rate and decides no frame's time."""
    head = _element(
        _EBML,
        _number(_EBML_VERSION, 1)
        + _number(_EBML_READ_VERSION, 1)
        + _number(_EBML_MAX_ID, 4)
        + _number(_EBML_MAX_SIZE, 8)
        + _element(_DOC_TYPE, b"matroska")
        + _number(_DOC_VERSION, 4)
        + _number(_DOC_READ_VERSION, 2),
    )
    names = _element(_MUXING_APP, b"touchline") + _element(_WRITING_APP, b"touchline")
    info = _element(_INFO, _number(_TIMESTAMP_SCALE, TIME_SCALE_NS) + names)
    picture = _number(_PIXEL_WIDTH, width_px) + _number(_PIXEL_HEIGHT, height_px)
    video = _element(_VIDEO, picture + _element(_COLOUR_SPACE, _FOURCC[pixel_format]))
    track = (
        _number(_TRACK_NUMBER, _VIDEO_TRACK)
        + _number(_TRACK_UID, 1)
        + _number(_TRACK_TYPE, 1)
        + _number(_FLAG_LACING, 0)
        + _number(_DEFAULT_DURATION, round(1e9 / rate_hz))
        + _element(_CODEC_ID, b"V_UNCOMPRESSED")
        + video
    )
    return head + _SEGMENT + _UNKNOWN_SIZE + info + _element(_TRACKS, _element(_TRACK_ENTRY, track))


def frame_head(media_us: int, frame_bytes: int) -> bytes:
    """What stands before one frame's pixels, which must be ``frame_bytes`` long."""
    time = _number(_TIMESTAMP, media_us)
    block = _SIMPLE_BLOCK + _size(len(_BLOCK_HEAD) + frame_bytes) + _BLOCK_HEAD
    return _CLUSTER + _size(len(time) + len(block) + frame_bytes) + time + block
