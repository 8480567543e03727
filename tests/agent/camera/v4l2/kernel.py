"""A kernel whose drivers tests can break: real structures, real shared memory, time moved by hand.

It answers as the kernel's videobuf2 does: EAGAIN, EBUSY, EINVAL, EIO, ENODEV, POLLERR.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from agent.camera.v4l2 import requests, uapi
from agent.character_device import Argument
from tests.agent.camera.v4l2.driver import MAP_NAME, Buffer, Driver, HandClock, Knob


def fail(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Handle:
    """One open file of a driver: the Device that the camera talks to."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        driver.handles.add(id(self))

    def ioctl(self, request: int, argument: Argument) -> None:
        driver, name = self.driver, requests.NAMES[request]
        if driver.gone:
            raise fail(errno.ENODEV)
        if (number := driver.errors.pop(name, 0)) != 0:
            raise fail(number)
        driver.catch_up()
        getattr(self, name.removeprefix("VIDIOC_").lower())(argument)

    def map(self, length_bytes: int, offset: int) -> mmap.mmap:
        index, plane = divmod(offset // mmap.PAGESIZE, 8)
        fd = self.driver.buffers[index].fds[plane]
        return mmap.mmap(fd, length_bytes, mmap.MAP_SHARED, mmap.PROT_READ)

    def poll(self, timeout_s: float) -> int:
        driver = self.driver
        deadline_ns = driver.clock.now_ns + int(max(0.0, timeout_s) * 1e9)
        while True:
            driver.catch_up()
            if driver.gone:
                return select.POLLERR | select.POLLHUP | select.POLLPRI
            if driver.hangs_up:
                return select.POLLHUP
            if driver.new_source:
                return select.POLLPRI
            if driver.done:
                return select.POLLIN
            if driver.fatal or not driver.streaming:
                return select.POLLERR
            if driver.clock.now_ns >= deadline_ns:
                return 0
            driver.clock.now_ns = min(deadline_ns, max(driver.clock.now_ns + 1, driver.ready_ns(driver.frame)))

    def close(self) -> None:
        self.driver.handles.discard(id(self))
        if self.driver.owner is self:
            self.driver.free()

    def querycap(self, answer: Any) -> None:
        driver = self.driver
        answer.driver, answer.card, answer.bus_info = (
            text.encode() for text in (driver.driver, driver.card, driver.bus)
        )
        capture = uapi.V4L2_CAP_VIDEO_CAPTURE_MPLANE if driver.several_planes else uapi.V4L2_CAP_VIDEO_CAPTURE
        answer.device_caps = (capture if driver.captures else 0x2) | uapi.V4L2_CAP_STREAMING
        answer.capabilities = answer.device_caps | uapi.V4L2_CAP_DEVICE_CAPS | uapi.V4L2_CAP_VIDEO_CAPTURE

    def enum_fmt(self, answer: Any) -> None:
        answer.pixelformat = uapi.fourcc(self._nth(list(self.driver.modes), answer.index))

    @staticmethod
    def _nth(values: Sequence[Any], index: int) -> Any:
        if index >= len(values):
            raise fail(errno.EINVAL)
        return values[index]

    def enum_framesizes(self, answer: Any) -> None:
        sizes = list(self.driver.modes[uapi.fourcc_text(answer.pixel_format)])
        if not self.driver.lists_sizes:
            raise fail(errno.ENOTTY)
        if self.driver.in_steps:
            answer.type = 3
            span = answer.stepwise
            (span.min_width, span.min_height), (span.max_width, span.max_height) = min(sizes), max(sizes)
            span.step_width, span.step_height = 2, 4
            return
        answer.type = uapi.V4L2_FRMSIZE_TYPE_DISCRETE
        answer.discrete.width, answer.discrete.height = self._nth(sizes, answer.index)

    def enum_frameintervals(self, answer: Any) -> None:
        rates = self.driver.modes[uapi.fourcc_text(answer.pixel_format)].get((answer.width, answer.height), [])
        if self.driver.in_steps:
            answer.type = 2
            answer.stepwise.min.numerator, answer.stepwise.min.denominator = 1, 60
            answer.stepwise.max.numerator, answer.stepwise.max.denominator = 1, 5
            return
        answer.type = uapi.V4L2_FRMIVAL_TYPE_DISCRETE
        answer.discrete.numerator, answer.discrete.denominator = 1, self._nth(rates, answer.index)

    def s_fmt(self, wanted: Any) -> None:
        driver = self.driver
        if wanted.type != driver.kind:
            raise fail(errno.EINVAL)
        if driver.owner is not None:
            raise fail(errno.EBUSY)
        picture = wanted.fmt.pix_mp if driver.several_planes else wanted.fmt.pix
        code = uapi.fourcc_text(picture.pixelformat)
        driver.code = code if code in driver.modes else next(iter(driver.modes))
        asked = (picture.width, picture.height)
        driver.size = min(driver.modes[driver.code], key=lambda one: abs(one[0] - asked[0]) + abs(one[1] - asked[1]))
        driver.rate_hz = driver.modes[driver.code][driver.size][0]
        picture.pixelformat, (picture.width, picture.height) = uapi.fourcc(driver.code), driver.size
        picture.field = 4 if driver.interlaced else uapi.V4L2_FIELD_NONE
        picture.colorspace, picture.ycbcr_enc, picture.quantization = driver.colourspace
        if not driver.several_planes:
            picture.bytesperline, picture.sizeimage = driver.strides()[0] - driver.thin_lines, driver.sizes()[0]
            return
        picture.num_planes = len(driver.sizes())
        for plane, stride, size in zip(picture.plane_fmt, driver.strides(), driver.sizes(), strict=False):
            plane.bytesperline, plane.sizeimage = stride, size

    def g_parm(self, answer: Any) -> None:
        if not self.driver.has_rate:
            raise fail(errno.ENOTTY)
        answer.parm.capture.capability = uapi.V4L2_CAP_TIMEPERFRAME

    def s_parm(self, wanted: Any) -> None:
        driver, period = self.driver, wanted.parm.capture.timeperframe
        asked = Fraction(period.denominator, period.numerator)
        driver.rate_hz = min(driver.modes[driver.code][driver.size], key=lambda rate: abs(rate - asked))
        period.numerator, period.denominator = 1, driver.rate_hz

    def reqbufs(self, wanted: Any) -> None:
        driver = self.driver
        if driver.owner not in {None, self}:
            raise fail(errno.EBUSY)
        driver.free()
        wanted.count = min(wanted.count, driver.most_buffers)
        if wanted.count == 0:
            return
        driver.owner = self
        for _ in range(wanted.count):
            fds = [os.memfd_create(MAP_NAME) for _ in driver.sizes()]
            for fd, size in zip(fds, driver.sizes(), strict=True):
                os.truncate(fd, size)
            driver.buffers.append(Buffer([mmap.mmap(fd, 0) for fd in fds], fds))

    def _describe(self, index: int, answer: Any) -> None:
        driver, buffer = self.driver, self.driver.buffers[index]
        answer.index, answer.flags, answer.sequence = index, buffer.flags or driver.flags, buffer.sequence
        answer.timestamp.tv_sec, rest_ns = divmod(buffer.stamp_ns, 1_000_000_000)
        answer.timestamp.tv_usec = rest_ns // 1000
        used = buffer.used or [0] * len(buffer.fds)
        if not driver.several_planes:
            answer.length, answer.bytesused = driver.sizes()[0], used[0]
            answer.m.offset = index * 8 * mmap.PAGESIZE
            return
        assert answer.length >= len(buffer.fds)
        answer.length = len(buffer.fds)
        for number, size in enumerate(driver.sizes()):
            plane = answer.m.planes[number]
            plane.length, plane.bytesused, plane.data_offset = size, used[number], driver.data_offset
            plane.m.mem_offset = (index * 8 + number) * mmap.PAGESIZE

    def querybuf(self, answer: Any) -> None:
        self._describe(answer.index, answer)

    def qbuf(self, wanted: Any) -> None:
        driver = self.driver
        assert (wanted.type, wanted.memory) == (driver.kind, uapi.V4L2_MEMORY_MMAP)
        buffer = driver.buffers[wanted.index]
        if buffer.state != "idle":
            raise fail(errno.EINVAL)
        buffer.state = "queued"
        driver.queued.append(wanted.index)
        driver.given_back += 1

    def dqbuf(self, answer: Any) -> None:
        driver = self.driver
        if not driver.streaming:
            raise fail(errno.EINVAL)
        if driver.fatal:
            raise fail(errno.EIO)
        if not driver.done:
            raise fail(errno.EAGAIN)
        index = driver.done.popleft()
        driver.buffers[index].state = "idle"
        self._describe(index, answer)

    def streamon(self, kind: ctypes.c_int) -> None:
        driver = self.driver
        assert kind.value == driver.kind
        driver.streaming, driver.start_ns, driver.frame = True, driver.clock.now_ns, 0

    def streamoff(self, kind: ctypes.c_int) -> None:
        driver = self.driver
        assert kind.value == driver.kind
        driver.streaming = False
        driver.queued.clear()
        driver.done.clear()
        for buffer in driver.buffers:
            buffer.state = "idle"

    def _next_knob(self, number: int) -> Knob:
        assert number & uapi.V4L2_CTRL_FLAG_NEXT_CTRL
        later = [knob for knob in self.driver.knobs if knob.number > number & 0x0FFFFFFF]
        if not later:
            raise fail(errno.EINVAL)
        return later[0]

    def query_ext_ctrl(self, answer: Any) -> None:
        if self.driver.old_controls:
            raise fail(errno.ENOTTY)
        self.queryctrl(answer)

    def queryctrl(self, answer: Any) -> None:
        knob = self._next_knob(answer.id)
        answer.id, answer.name, answer.type, answer.flags = knob.number, knob.name.encode(), knob.kind, knob.flags
        answer.minimum, answer.maximum = knob.minimum, knob.maximum

    def _knob(self, number: int) -> Knob:
        return next(knob for knob in self.driver.knobs if knob.number == number)

    def s_ctrl(self, wanted: Any) -> None:
        knob = self._knob(wanted.id)
        assert knob.kind != uapi.V4L2_CTRL_TYPE_INTEGER64
        if knob.error:
            raise fail(knob.error)
        knob.value = min(wanted.value, knob.most)

    def g_ctrl(self, answer: Any) -> None:
        answer.value = self._knob(answer.id).value

    def s_ext_ctrls(self, wanted: Any) -> None:
        halves = wanted.controls[0].value64
        self._knob(wanted.controls[0].id).value = halves[0] | halves[1] << 32

    def g_ext_ctrls(self, answer: Any) -> None:
        value = self._knob(answer.controls[0].id).value
        answer.controls[0].value64[0], answer.controls[0].value64[1] = value & 0xFFFFFFFF, value >> 32

    def subscribe_event(self, wanted: Any) -> None:
        self.driver.subscribed = wanted.type == uapi.V4L2_EVENT_SOURCE_CHANGE

    def dqevent(self, answer: Any) -> None:
        if not self.driver.new_source:
            raise fail(errno.ENOENT)
        self.driver.new_source = False
        answer.type = uapi.V4L2_EVENT_SOURCE_CHANGE


class Kernel:
    """Nodes by path."""

    def __init__(self, clock: HandClock, nodes: dict[str, Driver | int]) -> None:
        self.clock, self.nodes = clock, nodes

    def open(self, path: str) -> Handle:
        node = self.nodes.get(path, errno.ENOENT)
        if isinstance(node, int):
            raise fail(node)
        if node.gone:
            raise fail(errno.ENODEV)
        return Handle(node)

    def list(self) -> list[str]:
        return sorted(self.nodes)
