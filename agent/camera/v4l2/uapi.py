# ruff: noqa: N801 (the structures carry the kernel's own names)
"""The part of Linux' V4L2 interface that a capture needs: structures, request numbers and constants, defined once.

Names are those of <linux/videodev2.h> (user-space API of the kernel, dual licensed GPL-2.0 with syscall note or BSD);
layouts are those of 64-bit little-endian kernels. A test compiles a C program against the header of the machine and
compares every size, offset and number here.
"""

from __future__ import annotations

import ctypes
from typing import Final

_U8, _U16, _U32, _U64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
_S32, _S64 = ctypes.c_int32, ctypes.c_int64

VIDEO_MAX_FRAME: Final = 32
VIDEO_MAX_PLANES: Final = 8

V4L2_BUF_TYPE_VIDEO_CAPTURE: Final = 1
V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE: Final = 9
V4L2_MEMORY_MMAP: Final = 1
V4L2_FIELD_ANY: Final = 0
V4L2_FIELD_NONE: Final = 1

V4L2_CAP_VIDEO_CAPTURE: Final = 0x00000001
V4L2_CAP_VIDEO_CAPTURE_MPLANE: Final = 0x00001000
V4L2_CAP_STREAMING: Final = 0x04000000
V4L2_CAP_DEVICE_CAPS: Final = 0x80000000
V4L2_CAP_TIMEPERFRAME: Final = 0x1000

V4L2_BUF_FLAG_ERROR: Final = 0x00000040
V4L2_BUF_FLAG_TIMESTAMP_MASK: Final = 0x0000E000
V4L2_BUF_FLAG_TIMESTAMP_UNKNOWN: Final = 0x00000000
V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC: Final = 0x00002000
V4L2_BUF_FLAG_TIMESTAMP_COPY: Final = 0x00004000
V4L2_BUF_FLAG_TSTAMP_SRC_MASK: Final = 0x00070000
V4L2_BUF_FLAG_TSTAMP_SRC_EOF: Final = 0x00000000
V4L2_BUF_FLAG_TSTAMP_SRC_SOE: Final = 0x00010000

V4L2_FRMSIZE_TYPE_DISCRETE: Final = 1
V4L2_FRMIVAL_TYPE_DISCRETE: Final = 1

V4L2_COLORSPACE_SMPTE240M: Final = 2
V4L2_COLORSPACE_REC709: Final = 3
V4L2_COLORSPACE_JPEG: Final = 7
V4L2_COLORSPACE_BT2020: Final = 10
V4L2_COLORSPACE_DCI_P3: Final = 12
V4L2_YCBCR_ENC_DEFAULT: Final = 0
V4L2_YCBCR_ENC_601: Final = 1
V4L2_YCBCR_ENC_709: Final = 2
V4L2_YCBCR_ENC_XV709: Final = 4
V4L2_YCBCR_ENC_BT2020: Final = 6
V4L2_YCBCR_ENC_BT2020_CONST_LUM: Final = 7
V4L2_YCBCR_ENC_SMPTE240M: Final = 8
V4L2_QUANTIZATION_DEFAULT: Final = 0
V4L2_QUANTIZATION_FULL_RANGE: Final = 1
V4L2_QUANTIZATION_LIM_RANGE: Final = 2

V4L2_CTRL_TYPE_INTEGER: Final = 1
V4L2_CTRL_TYPE_BOOLEAN: Final = 2
V4L2_CTRL_TYPE_MENU: Final = 3
V4L2_CTRL_TYPE_BUTTON: Final = 4
V4L2_CTRL_TYPE_INTEGER64: Final = 5
V4L2_CTRL_TYPE_CTRL_CLASS: Final = 6
V4L2_CTRL_TYPE_BITMASK: Final = 8
V4L2_CTRL_TYPE_INTEGER_MENU: Final = 9
V4L2_CTRL_FLAG_DISABLED: Final = 0x0001
V4L2_CTRL_FLAG_READ_ONLY: Final = 0x0004
V4L2_CTRL_FLAG_WRITE_ONLY: Final = 0x0040
V4L2_CTRL_FLAG_VOLATILE: Final = 0x0080
V4L2_CTRL_FLAG_NEXT_CTRL: Final = 0x80000000
V4L2_CTRL_WHICH_CUR_VAL: Final = 0

V4L2_EVENT_EOS: Final = 2
V4L2_EVENT_SOURCE_CHANGE: Final = 5


def fourcc(code: str) -> int:
    """The number of a four-character pixel format."""
    return int.from_bytes(code.encode("ascii"), "little")


def fourcc_text(number: int) -> str:
    """The four characters of a pixel format; what cannot be shown becomes a dot."""
    text = (number & 0x7FFFFFFF).to_bytes(4, "little").decode("latin-1")
    return "".join(sign if sign.isascii() and sign.isprintable() else "." for sign in text).rstrip()


class v4l2_capability(ctypes.Structure):
    _fields_ = (
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", _U32),
        ("capabilities", _U32),
        ("device_caps", _U32),
        ("reserved", _U32 * 3),
    )


class v4l2_fmtdesc(ctypes.Structure):
    _fields_ = (
        ("index", _U32),
        ("type", _U32),
        ("flags", _U32),
        ("description", ctypes.c_char * 32),
        ("pixelformat", _U32),
        ("mbus_code", _U32),
        ("reserved", _U32 * 3),
    )


class v4l2_fract(ctypes.Structure):
    _fields_ = (("numerator", _U32), ("denominator", _U32))


class v4l2_frmsize_stepwise(ctypes.Structure):
    _fields_ = (
        ("min_width", _U32),
        ("max_width", _U32),
        ("step_width", _U32),
        ("min_height", _U32),
        ("max_height", _U32),
        ("step_height", _U32),
    )


class v4l2_frmsize_discrete(ctypes.Structure):
    _fields_ = (("width", _U32), ("height", _U32))


class _FrameSize(ctypes.Union):
    _fields_ = (("discrete", v4l2_frmsize_discrete), ("stepwise", v4l2_frmsize_stepwise))


class v4l2_frmsizeenum(ctypes.Structure):
    _anonymous_ = ("u",)
    _fields_ = (("index", _U32), ("pixel_format", _U32), ("type", _U32), ("u", _FrameSize), ("reserved", _U32 * 2))


class v4l2_frmival_stepwise(ctypes.Structure):
    _fields_ = (("min", v4l2_fract), ("max", v4l2_fract), ("step", v4l2_fract))


class _FrameInterval(ctypes.Union):
    _fields_ = (("discrete", v4l2_fract), ("stepwise", v4l2_frmival_stepwise))


class v4l2_frmivalenum(ctypes.Structure):
    _anonymous_ = ("u",)
    _fields_ = (
        ("index", _U32),
        ("pixel_format", _U32),
        ("width", _U32),
        ("height", _U32),
        ("type", _U32),
        ("u", _FrameInterval),
        ("reserved", _U32 * 2),
    )


class v4l2_pix_format(ctypes.Structure):
    _fields_ = (
        ("width", _U32),
        ("height", _U32),
        ("pixelformat", _U32),
        ("field", _U32),
        ("bytesperline", _U32),
        ("sizeimage", _U32),
        ("colorspace", _U32),
        ("priv", _U32),
        ("flags", _U32),
        ("ycbcr_enc", _U32),
        ("quantization", _U32),
        ("xfer_func", _U32),
    )


class v4l2_plane_pix_format(ctypes.Structure):
    _fields_ = (("sizeimage", _U32), ("bytesperline", _U32), ("reserved", _U16 * 6))


class v4l2_pix_format_mplane(ctypes.Structure):
    _fields_ = (
        ("width", _U32),
        ("height", _U32),
        ("pixelformat", _U32),
        ("field", _U32),
        ("colorspace", _U32),
        ("plane_fmt", v4l2_plane_pix_format * VIDEO_MAX_PLANES),
        ("num_planes", _U8),
        ("flags", _U8),
        ("ycbcr_enc", _U8),
        ("quantization", _U8),
        ("xfer_func", _U8),
        ("reserved", _U8 * 7),
    )


class _Format(ctypes.Union):
    # the kernel's union also holds a structure with a pointer, which aligns it to 8 bytes
    _fields_ = (("pix", v4l2_pix_format), ("pix_mp", v4l2_pix_format_mplane), ("raw_data", _U64 * 25))


class v4l2_format(ctypes.Structure):
    _fields_ = (("type", _U32), ("fmt", _Format))


class v4l2_captureparm(ctypes.Structure):
    _fields_ = (
        ("capability", _U32),
        ("capturemode", _U32),
        ("timeperframe", v4l2_fract),
        ("extendedmode", _U32),
        ("readbuffers", _U32),
        ("reserved", _U32 * 4),
    )


class _Parameters(ctypes.Union):
    _fields_ = (("capture", v4l2_captureparm), ("raw_data", _U8 * 200))


class v4l2_streamparm(ctypes.Structure):
    _fields_ = (("type", _U32), ("parm", _Parameters))


class v4l2_requestbuffers(ctypes.Structure):
    _fields_ = (
        ("count", _U32),
        ("type", _U32),
        ("memory", _U32),
        ("capabilities", _U32),
        ("flags", _U8),
        ("reserved", _U8 * 3),
    )


class _PlaneMemory(ctypes.Union):
    _fields_ = (("mem_offset", _U32), ("userptr", ctypes.c_ulong), ("fd", _S32))


class v4l2_plane(ctypes.Structure):
    _fields_ = (
        ("bytesused", _U32),
        ("length", _U32),
        ("m", _PlaneMemory),
        ("data_offset", _U32),
        ("reserved", _U32 * 11),
    )


class timeval(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_usec", ctypes.c_long))


class v4l2_timecode(ctypes.Structure):
    _fields_ = (
        ("type", _U32),
        ("flags", _U32),
        ("frames", _U8),
        ("seconds", _U8),
        ("minutes", _U8),
        ("hours", _U8),
        ("userbits", _U8 * 4),
    )


class _BufferMemory(ctypes.Union):
    _fields_ = (
        ("offset", _U32),
        ("userptr", ctypes.c_ulong),
        ("planes", ctypes.POINTER(v4l2_plane)),
        ("fd", _S32),
    )


class v4l2_buffer(ctypes.Structure):
    _fields_ = (
        ("index", _U32),
        ("type", _U32),
        ("bytesused", _U32),
        ("flags", _U32),
        ("field", _U32),
        ("timestamp", timeval),
        ("timecode", v4l2_timecode),
        ("sequence", _U32),
        ("memory", _U32),
        ("m", _BufferMemory),
        ("length", _U32),
        ("reserved2", _U32),
        ("request_fd", _S32),
    )


class v4l2_control(ctypes.Structure):
    _fields_ = (("id", _U32), ("value", _S32))


class v4l2_ext_control(ctypes.Structure):
    # packed in the kernel: the 64-bit value stands at offset 12, so it is taken as its two halves
    _fields_ = (("id", _U32), ("size", _U32), ("reserved2", _U32), ("value64", _U32 * 2))


class v4l2_ext_controls(ctypes.Structure):
    _fields_ = (
        ("which", _U32),
        ("count", _U32),
        ("error_idx", _U32),
        ("request_fd", _S32),
        ("reserved", _U32),
        ("controls", ctypes.POINTER(v4l2_ext_control)),
    )


class v4l2_queryctrl(ctypes.Structure):
    _fields_ = (
        ("id", _U32),
        ("type", _U32),
        ("name", ctypes.c_char * 32),
        ("minimum", _S32),
        ("maximum", _S32),
        ("step", _S32),
        ("default_value", _S32),
        ("flags", _U32),
        ("reserved", _U32 * 2),
    )


class v4l2_query_ext_ctrl(ctypes.Structure):
    _fields_ = (
        ("id", _U32),
        ("type", _U32),
        ("name", ctypes.c_char * 32),
        ("minimum", _S64),
        ("maximum", _S64),
        ("step", _U64),
        ("default_value", _S64),
        ("flags", _U32),
        ("elem_size", _U32),
        ("elems", _U32),
        ("nr_of_dims", _U32),
        ("dims", _U32 * 4),
        ("reserved", _U32 * 32),
    )


class timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class v4l2_event(ctypes.Structure):
    _fields_ = (
        ("type", _U32),
        ("u", _U64 * 8),
        ("pending", _U32),
        ("sequence", _U32),
        ("timestamp", timespec),
        ("id", _U32),
        ("reserved", _U32 * 8),
    )


class v4l2_event_subscription(ctypes.Structure):
    _fields_ = (("type", _U32), ("id", _U32), ("flags", _U32), ("reserved", _U32 * 5))
