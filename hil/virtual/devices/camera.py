"""A CSI camera's stand-in: one capture node of the stock vivid driver, its faults by V4L2 controls."""

from __future__ import annotations

import re
from typing import Final

from hil.virtual.devices.registers import one_of, within
from hil.virtual.ports import Guest
from touchline.errors import ConfigError, HardwareError

CAMERAS: Final = 2
PATTERNS: Final = (
    *("colorbar-75", "colorbar-100", "csc-colorbar", "horizontal-colorbar", "color-squares", "black", "white", "red"),
    *("green", "blue", "checkers-16x16", "checkers-2x2", "checkers-1x1", "red-green-2x2", "red-green-1x1"),
    *("horizontal-lines", "vertical-lines", "cross-1px", "cross-2px", "cross-10px", "gray-ramp", "noise"),
)
MOVEMENTS: Final = ("left-fast", "left", "left-slow", "none", "right-slow", "right", "right-fast")
TEXTS: Final = ("all", "counters", "none")
TIMESTAMP_SOURCES: Final = ("end-of-frame", "start-of-exposure")
TIMESTAMP_WRAPS: Final = ("none", "64-bit", "32-bit")
REFUSALS: Final = ("reqbufs", "qbuf", "streamon")

_FORMAT: Final = re.compile(r"\[\d+\]: '(.{4}(?:-BE)?)'")
_RATE: Final = re.compile(r"\(([\d.]+) fps\)")
_SIZE: Final = re.compile(r"Discrete (\d+)x(\d+)")

# The driver's own "disconnect" heals when the last user closes the node, so the node itself goes away as well: first
# as udev sees it, then as open() does. The sysfs entry stays, with the number that brings the node back.
_DISCONNECT: Final = """v4l2-ctl -d {node} -c disconnect=1
echo remove > {sysfs}/uevent
rm -f {node}
udevadm settle -t 10"""
_RECONNECT: Final = """IFS=: read -r major minor < {sysfs}/dev
[ -e {node} ] || mknod -m 660 {node} c "$major" "$minor"
chgrp video {node}
echo add > {sysfs}/uevent
udevadm settle -t 10"""
_INTERVALS: Final = "v4l2-ctl -d {} --list-frameintervals '{}'"


class Camera:
    """/dev/video<index> of the guest. Control settings stay until changed; they act on the running stream."""

    def __init__(self, guest: Guest, index: int) -> None:
        if not 0 <= index < CAMERAS:
            raise ConfigError(f"camera {index}: the virtual node has cameras 0..{CAMERAS - 1}", hint="use 0 or 1")
        self._guest = guest
        self.index = index
        self.node = f"/dev/video{index}"
        self._sysfs = f"/sys/class/video4linux/video{index}"

    def drop_pct(self, share_pct: int) -> None:
        """Lose this share of the frames, at random; their sequence numbers are missing. 0 ends it."""
        self.control(percentage_of_dropped_buffers=int(within("dropped frames", share_pct, 0, 100, "%")))

    def disconnect(self) -> None:
        """Pull the cable: the stream ends with ENODEV, then the node is gone until :meth:`reconnect`."""
        if self.connected():
            self._guest.run(_DISCONNECT.format(node=self.node, sysfs=self._sysfs))

    def reconnect(self) -> None:
        """Plug it in again, under the same number."""
        self._guest.run(_RECONNECT.format(node=self.node, sysfs=self._sysfs))

    def connected(self) -> bool:
        """Whether the guest can open the camera."""
        return self._guest.run(f"test -c {self.node}", check=False).exit_code == 0

    def glitch(self) -> None:
        """A disconnection of a moment: the stream ends with ENODEV, the next open works."""
        self.control(disconnect=1)

    def streaming_error(self) -> None:
        """The queue fails for good: EIO until the stream is stopped and started again."""
        self.control(inject_fatal_streaming_error=1)

    def buffer_error(self) -> None:
        """One frame comes with V4L2_BUF_FLAG_ERROR."""
        self.control(inject_v4l2_buf_flag_error=1)

    def refuse(self, call: str) -> None:
        """The next VIDIOC_REQBUFS (``reqbufs``), QBUF or STREAMON fails."""
        self.control(**{f"inject_vidioc_{one_of('camera refusal', call, REFUSALS)}_error": 1})

    def wrap_sequence(self, on: bool = True) -> None:
        """Sequence numbers wrap at 2^32 soon after the next start of the stream."""
        self.control(wrap_sequence_number=int(on))

    def wrap_timestamp(self, kind: str = "64-bit") -> None:
        """Timestamps wrap soon after the next start: ``64-bit``, ``32-bit``, ``none``."""
        self.control(wrap_timestamp=TIMESTAMP_WRAPS.index(one_of("timestamp wrap", kind, TIMESTAMP_WRAPS)))

    def timestamp_source(self, kind: str) -> None:
        """What the stamp means: ``end-of-frame`` or ``start-of-exposure`` (which is what Tegra gives)."""
        self.control(timestamp_source=TIMESTAMP_SOURCES.index(one_of("timestamp source", kind, TIMESTAMP_SOURCES)))

    def test_pattern(self, name: str) -> None:
        """The picture, one of :data:`PATTERNS`."""
        self.control(test_pattern=PATTERNS.index(one_of("test pattern", name, PATTERNS)))

    def movement(self, horizontal: str = "none") -> None:
        """The picture drifts with each frame, one of :data:`MOVEMENTS`."""
        self.control(horizontal_movement=MOVEMENTS.index(one_of("movement", horizontal, MOVEMENTS)))

    def text(self, kind: str) -> None:
        """Counters in the picture: ``all``, ``counters``, ``none``. Without them equal settings give equal pixels."""
        self.control(osd_text_mode=TEXTS.index(one_of("text", kind, TEXTS)))

    def brightness(self, value: int) -> None:
        """0..255, the driver's own default is 128."""
        self.control(brightness=int(within("brightness", value, 0, 255, "of 255")))

    def square(self, on: bool = True) -> None:
        """A white square in the middle."""
        self.control(show_square=int(on))

    def control(self, **values: int) -> None:
        """Set V4L2 controls by the driver's names, all in one call."""
        settings = ",".join(f"{name}={value}" for name, value in values.items())
        result = self._guest.run(f"v4l2-ctl -d {self.node} -c {settings}", check=False)
        said = (result.err or result.out).strip()
        if result.exit_code or said:
            raise HardwareError(
                f"camera {self.index} did not take {settings}: {said or f'exit code {result.exit_code}'}",
                hint="" if self.connected() else f"the camera is disconnected: call camera({self.index}).reconnect()",
            )

    def value(self, name: str) -> int:
        """The present value of a V4L2 control."""
        out = self._guest.run(f"v4l2-ctl -d {self.node} -C {name}").out
        return int(out.partition(":")[2].split()[0])

    def formats(self) -> list[str]:
        """FourCC codes that the node offers (77 in 6.12: YUYV, NV12, GREY, RGB3, raw Bayer 8/10/12 and more)."""
        return [
            name.strip() for name in _FORMAT.findall(self._guest.run(f"v4l2-ctl -d {self.node} --list-formats").out)
        ]

    def sizes_px(self, fourcc: str) -> list[tuple[int, int]]:
        """Width and height of the frame sizes of a format."""
        out = self._guest.run(f"v4l2-ctl -d {self.node} --list-framesizes '{fourcc}'").out
        return [(int(width), int(height)) for width, height in _SIZE.findall(out)]

    def rates_hz(self, fourcc: str, width_px: int, height_px: int) -> list[float]:
        """Frame rates of a format and size. The driver knows at most 60 Hz; the board's camera has 240."""
        asked = f"width={width_px},height={height_px},pixelformat={fourcc}"
        return [float(rate) for rate in _RATE.findall(self._guest.run(_INTERVALS.format(self.node, asked)).out)]
