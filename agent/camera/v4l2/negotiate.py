"""Agree with a driver on format, size and rate; what it does not offer is refused with a list of what it does."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from agent.camera.port import PixelFormat
from agent.camera.v4l2 import uapi
from agent.camera.v4l2.device import Device, ask
from agent.camera.v4l2.pixels import SOURCES, Layout, colours
from agent.camera.v4l2.requests import (
    VIDIOC_ENUM_FMT,
    VIDIOC_ENUM_FRAMEINTERVALS,
    VIDIOC_ENUM_FRAMESIZES,
    VIDIOC_G_PARM,
    VIDIOC_S_FMT,
    VIDIOC_S_PARM,
)
from touchline.errors import ConfigError

RATE_TOLERANCE: Final = 0.01  # 29.97 for 30 is what was asked; 25 is not
_MOST_ENTRIES: Final = 256  # a driver that never ends its list is broken
_MOST_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the driver will deliver. ``rate_hz``: as it says; None when it leaves the rate to a control."""

    layout: Layout
    rate_hz: float | None


def agree(
    device: Device, buffer_type: int, target: PixelFormat, *, size: tuple[int, int], rate_hz: float, name: str
) -> Agreement:
    """Set format, size and rate; the first source of ``target`` that the driver takes wins.

    Raises ConfigError when none does, naming what is offered; OSError when the driver is busy or broken.
    """
    offered = list(_formats(device, buffer_type))
    refused: list[str] = []
    for code in SOURCES[target]:
        if code not in offered:
            continue
        layout = _set_format(device, buffer_type, code, size)
        if isinstance(layout, str):
            refused.append(layout)
            continue
        rate = _set_rate(device, buffer_type, rate_hz)
        if rate is None or abs(rate - rate_hz) <= RATE_TOLERANCE * rate_hz:
            return Agreement(layout, rate)
        refused.append(f"{code} {size[0]}x{size[1]} comes at {rate:.4g}/s, not {rate_hz:.4g}/s")
    wanted = f"{target.value} {size[0]}x{size[1]} at {rate_hz:.4g}/s"
    why = "; ".join(refused) or f"none of {', '.join(SOURCES[target])} is among its formats"
    raise ConfigError(
        f"{name} does not offer {wanted}: {why}", hint=f"it offers {_offer(device, offered, target, size)}"
    )


def _set_format(device: Device, buffer_type: int, code: str, size: tuple[int, int]) -> Layout | str:
    """Set it and return its layout, or the words why not: a driver answers with the nearest that it has."""
    wanted = uapi.v4l2_format(type=buffer_type)
    several = buffer_type == uapi.V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
    picture: Any = wanted.fmt.pix_mp if several else wanted.fmt.pix
    picture.width, picture.height = size
    picture.pixelformat, picture.field = uapi.fourcc(code), uapi.V4L2_FIELD_NONE
    try:
        device.ioctl(VIDIOC_S_FMT, wanted)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return f"{code} is refused"
        raise
    got = f"{uapi.fourcc_text(picture.pixelformat)} {picture.width}x{picture.height}"
    if got != f"{code} {size[0]}x{size[1]}":
        return f"{code} {size[0]}x{size[1]} becomes {got}"
    if picture.field not in {uapi.V4L2_FIELD_NONE, uapi.V4L2_FIELD_ANY}:
        return f"{code} is interlaced"
    strides = [plane.bytesperline for plane in picture.plane_fmt[: picture.num_planes]] if several else []
    layout = Layout(
        code,
        int(picture.width),
        int(picture.height),
        tuple(int(stride) for stride in strides or [picture.bytesperline]),
        colours(picture.colorspace, picture.ycbcr_enc, picture.quantization),
    )
    if (several and picture.num_planes != (2 if code == "NM12" else 1)) or min(layout.strides) < layout.line_bytes:
        return f"{code} comes with {len(layout.strides)} planes of {layout.strides} bytes a line"
    return layout


def _set_rate(device: Device, buffer_type: int, rate_hz: float) -> float | None:
    """Set the rate and return the driver's answer; None when it has no such setting."""
    period = 1 / (Fraction(rate_hz).limit_denominator(1001) or Fraction(1, 1001))
    wanted = uapi.v4l2_streamparm(type=buffer_type)
    if not ask(device, VIDIOC_G_PARM, wanted) or not wanted.parm.capture.capability & uapi.V4L2_CAP_TIMEPERFRAME:
        return None
    per_frame = wanted.parm.capture.timeperframe
    per_frame.numerator, per_frame.denominator = period.numerator, period.denominator
    if not ask(device, VIDIOC_S_PARM, wanted) or not per_frame.numerator:
        return None
    return float(per_frame.denominator / per_frame.numerator)


def _formats(device: Device, buffer_type: int) -> Iterator[str]:
    for index in range(_MOST_ENTRIES):
        entry = uapi.v4l2_fmtdesc(index=index, type=buffer_type)
        if not ask(device, VIDIOC_ENUM_FMT, entry):
            return
        yield uapi.fourcc_text(entry.pixelformat)


def _sizes(device: Device, code: str) -> Iterator[tuple[int, int] | str]:
    """Each size, or one text for a range of them."""
    for index in range(_MOST_ENTRIES):
        entry = uapi.v4l2_frmsizeenum(index=index, pixel_format=uapi.fourcc(code))
        if not ask(device, VIDIOC_ENUM_FRAMESIZES, entry):
            return
        if entry.type != uapi.V4L2_FRMSIZE_TYPE_DISCRETE:
            span = entry.stepwise
            yield (
                f"{span.min_width}x{span.min_height}..{span.max_width}x{span.max_height} "
                f"in steps of {span.step_width}x{span.step_height}"
            )
            return
        yield entry.discrete.width, entry.discrete.height


def _rates(device: Device, code: str, size: tuple[int, int]) -> Iterator[str]:
    for index in range(_MOST_ENTRIES):
        entry = uapi.v4l2_frmivalenum(index=index, pixel_format=uapi.fourcc(code), width=size[0], height=size[1])
        if not ask(device, VIDIOC_ENUM_FRAMEINTERVALS, entry):
            return
        if entry.type != uapi.V4L2_FRMIVAL_TYPE_DISCRETE:
            yield f"{_per_second(entry.stepwise.max)}..{_per_second(entry.stepwise.min)}"
            return
        yield _per_second(entry.discrete)


def _per_second(period: Any) -> str:
    return f"{period.denominator / period.numerator:.4g}" if period.numerator else "?"


def _offer(device: Device, offered: list[str], target: PixelFormat, size: tuple[int, int]) -> str:
    """The driver's offer in words: rates at the size that was asked, sizes elsewhere, formats when none fits."""
    fitting = [code for code in SOURCES[target] if code in offered]
    if not fitting:
        return f"the formats {', '.join(offered) or 'of no list'}"
    words = []
    for code in fitting:
        sizes = list(_sizes(device, code))
        rates = list(_rates(device, code, size)) if size in sizes or not sizes or isinstance(sizes[0], str) else []
        if rates:
            words.append(f"{code} {size[0]}x{size[1]} at {', '.join(rates[:_MOST_SHOWN])}/s")
        shown = [one if isinstance(one, str) else f"{one[0]}x{one[1]}" for one in sizes[:_MOST_SHOWN]]
        words.append(f"{code} in {', '.join(shown) or 'sizes it does not list'}")
    return "; ".join(words)
