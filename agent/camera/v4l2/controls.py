"""Set a device's controls by name: brightness, exposure, gain, and whatever else its driver has."""

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.camera.v4l2 import uapi
from agent.camera.v4l2.device import Device, ask
from agent.camera.v4l2.requests import (
    VIDIOC_G_CTRL,
    VIDIOC_G_EXT_CTRLS,
    VIDIOC_QUERY_EXT_CTRL,
    VIDIOC_QUERYCTRL,
    VIDIOC_S_CTRL,
    VIDIOC_S_EXT_CTRLS,
)
from touchline.errors import ConfigError

_LOG: Final = logging.getLogger(__name__)
_MOST_CONTROLS: Final = 1024
_NUMBERS: Final = frozenset(
    {
        uapi.V4L2_CTRL_TYPE_INTEGER,
        uapi.V4L2_CTRL_TYPE_BOOLEAN,
        uapi.V4L2_CTRL_TYPE_MENU,
        uapi.V4L2_CTRL_TYPE_BUTTON,
        uapi.V4L2_CTRL_TYPE_INTEGER64,
        uapi.V4L2_CTRL_TYPE_BITMASK,
        uapi.V4L2_CTRL_TYPE_INTEGER_MENU,
    }
)


@dataclass(frozen=True, slots=True)
class Control:
    """A control that takes a number."""

    number: int
    name: str
    kind: int
    minimum: int
    maximum: int
    flags: int

    def allows(self, value: int) -> bool:
        """Whether the value lies in the control's range; buttons and bit masks have none."""
        if self.kind == uapi.V4L2_CTRL_TYPE_BITMASK:
            return value >= 0 and not value & ~(self.maximum & 0xFFFFFFFF)
        return self.kind == uapi.V4L2_CTRL_TYPE_BUTTON or self.minimum <= value <= self.maximum

    @property
    def readable(self) -> bool:
        """Whether a value that was set can be read again and means the same."""
        unsteady = uapi.V4L2_CTRL_FLAG_WRITE_ONLY | uapi.V4L2_CTRL_FLAG_VOLATILE
        return self.kind != uapi.V4L2_CTRL_TYPE_BUTTON and not self.flags & unsteady


def plain_name(name: str) -> str:
    """A driver's name ("Exposure, Auto") as v4l2-ctl shows it ("exposure_auto")."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def list_controls(device: Device) -> dict[str, Control]:
    """Every control that takes a number and can be set, by its plain name."""
    found: dict[str, Control] = {}
    query: Any = uapi.v4l2_query_ext_ctrl(id=uapi.V4L2_CTRL_FLAG_NEXT_CTRL)
    request = VIDIOC_QUERY_EXT_CTRL
    if not ask(device, request, query):  # kernels before 3.17
        query, request = uapi.v4l2_queryctrl(id=uapi.V4L2_CTRL_FLAG_NEXT_CTRL), VIDIOC_QUERYCTRL
        if not ask(device, request, query):
            return found
    unusable = uapi.V4L2_CTRL_FLAG_DISABLED | uapi.V4L2_CTRL_FLAG_READ_ONLY
    for _ in range(_MOST_CONTROLS):
        if query.type in _NUMBERS and not query.flags & unusable:
            name = bytes(query.name).decode("utf-8", "replace")
            one = Control(query.id, name, query.type, query.minimum, query.maximum, query.flags)
            found.setdefault(plain_name(name), one)
        following = type(query)(id=query.id | uapi.V4L2_CTRL_FLAG_NEXT_CTRL)
        if not ask(device, request, following):
            break
        query = following
    return found


def set_controls(device: Device, wanted: Mapping[str, int], name: str) -> None:
    """Set each control in its order. Raises ConfigError naming the control and its range, or the controls there are."""
    if not wanted:
        return
    there = list_controls(device)
    for asked, value in wanted.items():
        control = there.get(plain_name(asked))
        if control is None:
            raise ConfigError(
                f"{name} has no control {asked!r} that can be set",
                hint=f"its controls: {', '.join(sorted(there)) or 'none'}",
            )
        if not control.allows(value):
            raise ConfigError(
                f"{name}: control {asked} = {value} is out of range",
                hint=f"use {control.minimum} to {control.maximum}",
            )
        _set(device, control, value, name)


def _set(device: Device, control: Control, value: int, name: str) -> None:
    wide = control.kind == uapi.V4L2_CTRL_TYPE_INTEGER64
    try:
        if wide:
            _extended(device, VIDIOC_S_EXT_CTRLS, control.number, value)
        else:
            device.ioctl(VIDIOC_S_CTRL, uapi.v4l2_control(id=control.number, value=ctypes.c_int32(value).value))
    except OSError as error:
        raise ConfigError(
            f"{name}: control {plain_name(control.name)} = {value} is refused: {error.strerror}",
            hint="another control may hold it (automatic exposure, a running stream)",
        ) from error
    if not control.readable:
        return
    if wide:
        now = _extended(device, VIDIOC_G_EXT_CTRLS, control.number, 0)
    else:
        answer = uapi.v4l2_control(id=control.number)
        device.ioctl(VIDIOC_G_CTRL, answer)
        now = int(answer.value)
    if ctypes.c_int32(now).value != ctypes.c_int32(value).value:
        _LOG.warning("%s: control %s took %d for %d", name, plain_name(control.name), now, value)


def _extended(device: Device, request: int, number: int, value: int) -> int:
    """Set or read a 64-bit control."""
    one = uapi.v4l2_ext_control(id=number)
    one.value64[0], one.value64[1] = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
    batch = uapi.v4l2_ext_controls(which=uapi.V4L2_CTRL_WHICH_CUR_VAL, count=1, controls=ctypes.pointer(one))
    device.ioctl(request, batch)
    return ctypes.c_int64(int(one.value64[0]) | int(one.value64[1]) << 32).value
