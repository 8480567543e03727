"""V4L2's ioctl request numbers, made from the structures as the kernel's macros make them."""

from __future__ import annotations

import ctypes
from typing import Final

from agent.camera.v4l2 import uapi

_WRITE, _READ = 1, 2  # asm-generic/ioctl.h, which x86 and Arm use


def _request(direction: int, number: int, argument: type[ctypes.Structure] | type[ctypes.c_int]) -> int:
    return direction << 30 | ctypes.sizeof(argument) << 16 | ord("V") << 8 | number


def _ior(number: int, argument: type[ctypes.Structure]) -> int:
    return _request(_READ, number, argument)


def _iow(number: int, argument: type[ctypes.Structure] | type[ctypes.c_int]) -> int:
    return _request(_WRITE, number, argument)


def _iowr(number: int, argument: type[ctypes.Structure]) -> int:
    return _request(_READ | _WRITE, number, argument)


VIDIOC_QUERYCAP: Final = _ior(0, uapi.v4l2_capability)
VIDIOC_ENUM_FMT: Final = _iowr(2, uapi.v4l2_fmtdesc)
VIDIOC_S_FMT: Final = _iowr(5, uapi.v4l2_format)
VIDIOC_REQBUFS: Final = _iowr(8, uapi.v4l2_requestbuffers)
VIDIOC_QUERYBUF: Final = _iowr(9, uapi.v4l2_buffer)
VIDIOC_QBUF: Final = _iowr(15, uapi.v4l2_buffer)
VIDIOC_DQBUF: Final = _iowr(17, uapi.v4l2_buffer)
VIDIOC_STREAMON: Final = _iow(18, ctypes.c_int)
VIDIOC_STREAMOFF: Final = _iow(19, ctypes.c_int)
VIDIOC_G_PARM: Final = _iowr(21, uapi.v4l2_streamparm)
VIDIOC_S_PARM: Final = _iowr(22, uapi.v4l2_streamparm)
VIDIOC_G_CTRL: Final = _iowr(27, uapi.v4l2_control)
VIDIOC_S_CTRL: Final = _iowr(28, uapi.v4l2_control)
VIDIOC_QUERYCTRL: Final = _iowr(36, uapi.v4l2_queryctrl)
VIDIOC_G_EXT_CTRLS: Final = _iowr(71, uapi.v4l2_ext_controls)
VIDIOC_S_EXT_CTRLS: Final = _iowr(72, uapi.v4l2_ext_controls)
VIDIOC_ENUM_FRAMESIZES: Final = _iowr(74, uapi.v4l2_frmsizeenum)
VIDIOC_ENUM_FRAMEINTERVALS: Final = _iowr(75, uapi.v4l2_frmivalenum)
VIDIOC_DQEVENT: Final = _ior(89, uapi.v4l2_event)
VIDIOC_SUBSCRIBE_EVENT: Final = _iow(90, uapi.v4l2_event_subscription)
VIDIOC_QUERY_EXT_CTRL: Final = _iowr(103, uapi.v4l2_query_ext_ctrl)

NAMES: Final = {value: name for name, value in list(globals().items()) if name.startswith("VIDIOC_")}
