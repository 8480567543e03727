"""The driver's landing buffers: asked for, mapped, handed over and back; both APIs look the same from above."""

from __future__ import annotations

import ctypes
import errno
import mmap
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from agent.camera.v4l2 import uapi
from agent.camera.v4l2.device import Device
from agent.camera.v4l2.pixels import Bytes
from agent.camera.v4l2.requests import (
    VIDIOC_DQBUF,
    VIDIOC_QBUF,
    VIDIOC_QUERYBUF,
    VIDIOC_REQBUFS,
    VIDIOC_STREAMOFF,
    VIDIOC_STREAMON,
)

_FEWEST: Final = 2  # one is filled while another is read


@dataclass(frozen=True, slots=True)
class Taken:
    """A filled buffer in our hands. ``used``: bytes the driver wrote into each plane, from its first pixel on."""

    index: int
    sequence: int
    stamp_ns: int
    flags: int
    planes: tuple[Bytes, ...]
    used: tuple[int, ...]

    @property
    def broken(self) -> bool:
        """Whether the driver itself says that the picture is damaged."""
        return bool(self.flags & uapi.V4L2_BUF_FLAG_ERROR)


class BufferQueue:
    """Buffers of one open device; every method passes the kernel's OSError on.

    ``flags`` are those of an idle buffer, which already say how stamps will be made.
    """

    def __init__(self, device: Device, buffer_type: int, wanted: int, planes: int) -> None:
        self._device, self._type, self._planes = device, buffer_type, planes
        self._several = buffer_type == uapi.V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
        self._maps: list[list[mmap.mmap]] = []
        self._views: list[list[Bytes]] = []
        self._streaming = False
        self.flags = 0
        self.count = self._request(wanted)
        if self.count < _FEWEST:
            self._request(0)
            raise OSError(errno.ENOMEM, f"{self.count} buffers instead of {wanted}")
        try:
            for index in range(self.count):
                self._map(index)
        except BaseException:  # whatever it was, no buffer may stay mapped
            self.release()
            raise

    def _request(self, count: int) -> int:
        wanted = uapi.v4l2_requestbuffers(count=count, type=self._type, memory=uapi.V4L2_MEMORY_MMAP)
        self._device.ioctl(VIDIOC_REQBUFS, wanted)
        return int(wanted.count)

    def _buffer(self, index: int = 0) -> tuple[uapi.v4l2_buffer, Any]:
        """A request for the kernel, and its planes: they live as long as this array does."""
        buffer = uapi.v4l2_buffer(index=index, type=self._type, memory=uapi.V4L2_MEMORY_MMAP)
        planes = (uapi.v4l2_plane * uapi.VIDEO_MAX_PLANES)()
        if self._several:
            buffer.m.planes = planes
            buffer.length = self._planes
        return buffer, planes

    def _map(self, index: int) -> None:
        buffer, planes = self._buffer(index)
        self._device.ioctl(VIDIOC_QUERYBUF, buffer)
        self.flags = int(buffer.flags)
        places = [(int(buffer.length), int(buffer.m.offset))]
        if self._several:
            places = [(int(plane.length), int(plane.m.mem_offset)) for plane in planes[: self._planes]]
        self._maps.append([])
        self._views.append([])
        for length_bytes, offset in places:
            memory = self._device.map(length_bytes, offset)
            self._maps[-1].append(memory)
            self._views[-1].append(np.frombuffer(memory, np.uint8))

    def start(self) -> None:
        """Hand every buffer to the driver and let it run; on failure every buffer is ours again."""
        try:
            for index in range(self.count):
                self.give(index)
            self._device.ioctl(VIDIOC_STREAMON, ctypes.c_int(self._type))
        except OSError:
            with suppress(OSError):
                self._device.ioctl(VIDIOC_STREAMOFF, ctypes.c_int(self._type))
            raise
        self._streaming = True

    def take(self) -> Taken | None:
        """Return the oldest filled buffer, None when there is none; :meth:`give` it back."""
        buffer, planes = self._buffer()
        try:
            self._device.ioctl(VIDIOC_DQBUF, buffer)
        except BlockingIOError:
            return None
        index = int(buffer.index)
        offsets, used = [0], [int(buffer.bytesused)]
        if self._several:
            offsets = [int(plane.data_offset) for plane in planes[: self._planes]]
            used = [int(plane.bytesused) - int(plane.data_offset) for plane in planes[: self._planes]]
        return Taken(
            index=index,
            sequence=int(buffer.sequence),
            stamp_ns=int(buffer.timestamp.tv_sec) * 1_000_000_000 + int(buffer.timestamp.tv_usec) * 1000,
            flags=int(buffer.flags),
            planes=tuple(view[start:] for view, start in zip(self._views[index], offsets, strict=True)),
            used=tuple(used),
        )

    def give(self, index: int) -> None:
        """Hand a buffer to the driver to be filled."""
        buffer, _planes = self._buffer(index)
        self._device.ioctl(VIDIOC_QBUF, buffer)

    def stop(self) -> None:
        """Stop the driver; it drops what is filled and hands every buffer back. Nothing to do when not running."""
        if self._streaming:
            self._streaming = False
            self._device.ioctl(VIDIOC_STREAMOFF, ctypes.c_int(self._type))

    def release(self) -> None:
        """Stop, unmap and free, also on a device that is gone; safe to call twice."""
        with suppress(OSError):  # a device that went away cannot be asked any more, its memory is still ours to unmap
            self.stop()
        self._views.clear()
        for memory in (one for group in self._maps for one in group):
            with suppress(BufferError):  # an exception on its way still shows the picture; it is unmapped with it
                memory.close()
        self._maps.clear()
        if self.count:
            self.count = 0
            with suppress(OSError):
                self._request(0)
