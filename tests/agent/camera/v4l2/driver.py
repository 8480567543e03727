"""Drivers for the pretended kernel: what they offer, the frames they make, and everything that can go wrong with them.

A driver fills queued buffers as its clock passes each frame's time and numbers every frame whether or not there was a
buffer for it.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.camera.v4l2 import uapi
from touchline.errors import HardwareError
from touchline.timeline import ClockState, Stamp, Timebase

PADDING = 0xEE
Painter = Callable[["Driver", int], list[NDArray[np.uint8]]]
MAP_NAME = "pretended-v4l2"


class HandClock:
    """Monotonic time moved by hand; PTP time is the same number, known to 10 ns.

    ``other_ns``: how far ahead other clocks are. ``tsc_mapped``: whether anything maps the TSC; its bound is 150 ns.
    """

    def __init__(self) -> None:
        self.now_ns = 100_000_000_000
        self.other_ns = dict.fromkeys(Timebase, 0)
        self.tsc_mapped = False
        self.epoch = self.tsc_epoch = 0

    def now(self) -> Stamp:
        return self.at(self.now_ns)

    def at(self, base_ns: int, timebase: Timebase = Timebase.MONOTONIC) -> Stamp:
        ptp_ns = base_ns - self.other_ns[timebase]
        if timebase is not Timebase.TSC:
            return Stamp(ptp_ns, 10, self.epoch, ClockState.LOCKED)
        if not self.tsc_mapped:
            raise HardwareError("nothing maps the TSC to PTP time yet")
        return Stamp(ptp_ns, 150, self.tsc_epoch, ClockState.LOCKED)

    def monotonic(self) -> int:
        return self.now_ns


def lines_of(code: str, width: int, height: int) -> list[tuple[int, int]]:
    """(lines, bytes a line) of each plane in memory order; NV12's chroma follows its luma."""
    if code in {"NV12", "NM12"}:
        return [(height, width), (height // 2, width)]
    return [(height, width * {"GREY": 1, "RGB3": 3, "YUYV": 2, "RG10": 2, "RG12": 2, "RG16": 2}[code])]


def paint_number(driver: Driver, sequence: int) -> list[NDArray[np.uint8]]:
    """Every byte is the frame's number."""
    return [np.full(shape, sequence & 0xFF, np.uint8) for shape in lines_of(driver.code, *driver.size)]


@dataclass
class Knob:
    """A control."""

    number: int
    name: str
    kind: int
    minimum: int
    maximum: int
    value: int = 0
    flags: int = 0
    error: int = 0
    most: int = 2**31 - 1  # the driver takes no more, without a word


@dataclass
class Buffer:
    memory: list[mmap.mmap]
    fds: list[int]
    state: str = "idle"  # idle, queued, done
    used: list[int] = field(default_factory=list)
    flags: int = 0
    stamp_ns: int = 0
    sequence: int = 0


@dataclass
class Driver:
    """One video node. ``modes``: what it offers, fourcc -> size -> rates."""

    clock: HandClock
    modes: dict[str, dict[tuple[int, int], list[int]]]
    driver: str = "pretended"
    card: str = "Pretended Camera"
    bus: str = "platform:pretended-000"
    several_planes: bool = False
    captures: bool = True
    padding: int = 0
    data_offset: int = 0
    has_rate: bool = True
    in_steps: bool = False
    lists_sizes: bool = True
    thin_lines: int = 0
    hangs_up: bool = False
    real_rate_hz: float | None = None
    colourspace: tuple[int, int, int] = (8, 0, 0)
    interlaced: bool = False
    of_start: bool = False
    stamp_flags: int = uapi.V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC
    stamp_delay_ns: int = 0
    stamp_ahead_ns: int = 0  # of another clock than the monotonic one
    stamp_tick_ns: int = 1
    first_sequence: int = 0
    lost: set[int] = field(default_factory=set)
    damaged: set[int] = field(default_factory=set)
    short: dict[int, int] = field(default_factory=dict)
    stamp_fault_ns: dict[int, int] = field(default_factory=dict)
    misnumbered: dict[int, int] = field(default_factory=dict)
    paint: Painter = paint_number
    knobs: list[Knob] = field(default_factory=list)
    old_controls: bool = False
    most_buffers: int = 32
    memory_frames: int = 1000
    errors: dict[str, int] = field(default_factory=dict)  # request -> errno, once
    gone: bool = False
    fatal: bool = False
    new_source: bool = False
    subscribed: bool = False
    code: str = ""
    size: tuple[int, int] = (0, 0)
    rate_hz: float = 0.0
    owner: Any = None  # the open file that asked for the buffers
    handles: set[int] = field(default_factory=set)
    buffers: list[Buffer] = field(default_factory=list)
    queued: deque[int] = field(default_factory=deque)
    done: deque[int] = field(default_factory=deque)
    streaming: bool = False
    start_ns: int = 0
    frame: int = 0
    given_back: int = 0

    @property
    def period_ns(self) -> float:
        return 1e9 / (self.real_rate_hz or self.rate_hz)

    @property
    def kind(self) -> int:
        return uapi.V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE if self.several_planes else uapi.V4L2_BUF_TYPE_VIDEO_CAPTURE

    @property
    def flags(self) -> int:
        return self.stamp_flags | (uapi.V4L2_BUF_FLAG_TSTAMP_SRC_SOE if self.of_start else 0)

    def strides(self) -> list[int]:
        lines = lines_of(self.code, *self.size)
        return [count + self.padding for _, count in (lines if self.code == "NM12" else lines[:1])]

    def sizes(self) -> list[int]:
        lines = lines_of(self.code, *self.size)
        if self.code == "NV12":
            return [(lines[0][1] + self.padding) * (lines[0][0] + lines[1][0]) + self.data_offset]
        offset = self.data_offset if self.several_planes else 0
        return [stride * count + offset for (count, _), stride in zip(lines, self.strides(), strict=True)]

    def ready_ns(self, frame: int) -> int:
        """When the frame is handed over: one period after its exposure began."""
        return self.start_ns + round((frame + 1) * self.period_ns)

    def catch_up(self) -> None:
        """Make every frame whose time has come."""
        while self.streaming and not (self.gone or self.fatal) and self.ready_ns(self.frame) <= self.clock.now_ns:
            self._make(self.frame)
            self.frame += 1

    def _make(self, frame: int) -> None:
        if frame in self.lost or not self.queued:
            return
        index = self.queued.popleft()
        buffer = self.buffers[index]
        buffer.sequence = (self.first_sequence + self.misnumbered.get(frame, frame)) & 0xFFFFFFFF
        begun_ns = self.start_ns + round(frame * self.period_ns)
        buffer.stamp_ns = begun_ns if self.of_start else self.ready_ns(frame) - self.stamp_delay_ns
        buffer.stamp_ns += self.stamp_fault_ns.get(frame, 0) + self.stamp_ahead_ns
        buffer.stamp_ns -= buffer.stamp_ns % self.stamp_tick_ns
        buffer.flags = self.flags | (uapi.V4L2_BUF_FLAG_ERROR if frame in self.damaged else 0)
        buffer.used = [self.short.get(frame, size) for size in self.sizes()]
        self._fill(buffer, frame)
        buffer.state = "done"
        self.done.append(index)

    def _fill(self, buffer: Buffer, frame: int) -> None:
        lines = self.paint(self, self.first_sequence + frame)
        stride = lines[0].shape[1] + self.padding
        groups = [[part] for part in lines] if self.code == "NM12" else [lines]
        for memory, group in zip(buffer.memory, groups, strict=True):
            offset = self.data_offset if self.several_planes else 0
            whole = np.frombuffer(memory, np.uint8)
            whole[:] = PADDING
            for part in group:
                for line in part:
                    whole[offset : offset + len(line)] = line
                    offset += stride
            del whole

    def free(self) -> None:
        for buffer in self.buffers:
            for memory, fd in zip(buffer.memory, buffer.fds, strict=True):
                memory.close()
                os.close(fd)
        self.buffers.clear()
        self.queued.clear()
        self.done.clear()
        self.streaming, self.owner = False, None
