"""A V4L2 device as a camera: the port's six methods over negotiation, queue, landing pass and stamps."""

from __future__ import annotations

import errno
import logging
import select
from collections.abc import Callable
from typing import Final

from agent.camera.port import CameraInfo, Frame, FrameTimeout, PixelFormat
from agent.camera.registry import read_options
from agent.camera.v4l2 import uapi
from agent.camera.v4l2.clocks import CameraClock, timebase_of
from agent.camera.v4l2.controls import set_controls
from agent.camera.v4l2.device import (
    POLL_BROKEN,
    Device,
    KernelDevice,
    OpenDevice,
    ask,
    find_node,
    open_failure,
    query_capability,
    video_nodes,
    went_away,
)
from agent.camera.v4l2.negotiate import Agreement, agree
from agent.camera.v4l2.options import V4l2Options
from agent.camera.v4l2.pixels import LandingPass, checked_region
from agent.camera.v4l2.queue import BufferQueue, Taken
from agent.camera.v4l2.requests import VIDIOC_DQEVENT, VIDIOC_SUBSCRIBE_EVENT
from agent.camera.v4l2.stamps import RateMeter, exposure, implausible, unwrap
from touchline.config import CameraSection
from touchline.errors import ConfigError, HardwareError, ResourceError
from touchline.timeline import Clock, Stamp, Timebase, monotonic_ns

_LOG: Final = logging.getLogger(__name__)
_RATE_DEVIATION: Final = 0.05  # a sensor mode that runs at half the rate is far beyond, a crystal's error far within
_NUMBER_MASK: Final = 0xFFFF_FFFF  # the driver counts in 32 bits


class V4l2Camera:
    """The camera port over a V4L2 capture device.

    A frame whose buffer the driver calls broken, that is cut short, or whose stamp cannot be true is never delivered:
    it is the gap in ``Frame.sequence``, which capture counts. As many unbelievable stamps in a row as the queue has
    buffers, and two more, are a HardwareError.
    """

    def __init__(
        self,
        section: CameraSection,
        clock: Clock,
        *,
        open_device: OpenDevice = KernelDevice,
        nodes: Callable[[], list[str]] = video_nodes,
        monotonic: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._options = read_options(section, V4l2Options)
        self._section, self._clock = section, clock
        self._open_device, self._nodes, self._monotonic = open_device, nodes, monotonic
        self._target = PixelFormat(section.pixel_format)
        self._sensor_px = _sensor_size(section, self._options)
        self._path, self._card = self._options.device, ""
        self._device: Device | None = None
        self._queue: BufferQueue | None = None
        self._agreed: Agreement | None = None
        self._pass: LandingPass | None = None
        self._stamping: CameraClock | None = None
        self._begin()

    def _begin(self) -> None:
        """Forget the last stream."""
        self._sequence: int | None = None
        self._start_ns: int | None = None
        self._unbelievable = self._damaged = self._repeated = 0
        self._meter = RateMeter()

    def open(self) -> None:
        """Find and claim the device, agree on format and rate, set the controls, map the buffers."""
        self.close()
        section, number = self._section, self._section.number
        self._path = find_node(f"camera {number}", self._options.device, self._nodes(), self._open_device)
        try:
            self._device = device = self._open_device(self._path)
            self._negotiate(device)
        except OSError as error:
            self.close()
            raise open_failure(number, self._path, error, "set up") from error
        except BaseException:  # whatever it was, the device must not stay claimed
            self.close()
            raise
        assert self._agreed is not None
        layout = self._agreed.layout
        _LOG.info("camera %d: %s (%s), %s, %d buffers", number, self._path, self._card, layout, self._opened().count)
        if section.pixel_format == "nv12" and not layout.colours.common:
            _LOG.warning("camera %d: its nv12 is %s, but is read as BT.601 limited range", number, layout.colours)

    def _negotiate(self, device: Device) -> None:
        section, options, name = self._section, self._options, f"camera {self._section.number}: {self._path}"
        capability = query_capability(device)
        self._card = capability.card
        if capability.buffer_type is None or not capability.streams:
            raise ConfigError(
                f"{name} ({capability.card}) is not a capture device with streaming",
                hint="numbers move when a driver is loaded again: name it under /dev/v4l/by-path, or by bus: or card:",
            )
        timebase = timebase_of(options.clock, capability.driver)
        self._stamping = CameraClock(self._clock, timebase, self._monotonic, name)
        self._agreed = agree(
            device, capability.buffer_type, self._target, size=self._sensor_px, rate_hz=section.rate_hz, name=name
        )
        layout = self._agreed.layout
        view = (section.width_px, section.height_px)
        region = checked_region(layout, section.roi, view, self._target)
        msb = options.raw_alignment == "msb" or (options.raw_alignment == "auto" and "tegra" in capability.driver)
        self._pass = LandingPass(layout, region, view, self._target, msb_aligned=msb)
        set_controls(device, options.controls, name)
        self._queue = self._claim(device, capability.buffer_type, len(layout.strides), name)
        if options.clock == "auto" and timebase is Timebase.MONOTONIC:
            _check_stamps(self._queue.flags, name)
        ask(device, VIDIOC_SUBSCRIBE_EVENT, uapi.v4l2_event_subscription(type=uapi.V4L2_EVENT_SOURCE_CHANGE))

    def _claim(self, device: Device, buffer_type: int, planes: int, name: str) -> BufferQueue:
        try:
            return BufferQueue(device, buffer_type, self._options.buffers, planes)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            raise ResourceError(
                f"{name}: no memory for {self._options.buffers} buffers", hint="ask for fewer, or raise cma="
            ) from error

    def start(self) -> None:
        """Begin to stream; numbering follows the driver's, which begins anew."""
        self._begin()
        try:
            self._opened().start()
        except OSError as error:
            raise open_failure(self._section.number, self._path, error, "start") from error

    def read(self, landing: memoryview, timeout_s: float) -> Frame | None:
        """Land the next good frame; see the port. Never None: a camera has no end."""
        queue, landing_pass = self._opened(), self._pass
        assert landing_pass is not None
        deadline_ns = self._monotonic() + int(timeout_s * 1e9)
        while True:
            taken = self._await(queue, deadline_ns)
            try:
                stamp = self._judge(taken)
                if stamp is not None:
                    landing_pass.land(taken.planes, landing)
            finally:
                self._give(queue, taken.index)
            if stamp is not None and self._sequence is not None:
                return Frame(self._sequence, stamp)
            if self._monotonic() >= deadline_ns:
                raise self._silence()

    def _await(self, queue: BufferQueue, deadline_ns: int) -> Taken:
        """The next filled buffer. Raises FrameTimeout, or HardwareError when the device is gone."""
        number = self._section.number
        assert self._device is not None
        while True:
            events = self._device.poll((deadline_ns - self._monotonic()) / 1e9)
            try:
                if events & select.POLLPRI:
                    self._hear(self._device)
                taken = queue.take()
            except OSError as error:
                raise went_away(number, self._path, error, "read") from error
            if taken is not None:
                return taken
            if events & POLL_BROKEN:
                raise went_away(number, self._path, None, "poll")
            if self._monotonic() >= deadline_ns:
                raise self._silence()

    def _silence(self) -> FrameTimeout:
        damaged = f" ({self._damaged} damaged so far)" if self._damaged else ""
        words = f"camera {self._section.number}: {self._path}: no frame in time{damaged}"
        return FrameTimeout(words, hint="check sensor and cable")

    def _hear(self, device: Device) -> None:
        event = uapi.v4l2_event()
        if ask(device, VIDIOC_DQEVENT, event) and event.type == uapi.V4L2_EVENT_SOURCE_CHANGE:
            raise HardwareError(
                f"camera {self._section.number}: {self._path}: the source changed its picture",
                hint="check what feeds the device; it is opened again",
            )

    def _give(self, queue: BufferQueue, index: int) -> None:
        try:
            queue.give(index)
        except OSError as error:
            raise went_away(self._section.number, self._path, error, "queue") from error

    def _judge(self, taken: Taken) -> Stamp | None:
        """Take note of a buffer; None when its picture or stamp is not to be used."""
        assert self._agreed is not None
        number = self._section.number
        if self._sequence is not None and taken.sequence == self._sequence & _NUMBER_MASK:
            self._count_repeat(taken.sequence)
            return None
        sequence = unwrap(self._sequence, taken.sequence)
        self._repeated = 0
        if sequence is None:
            raise HardwareError(
                f"camera {number}: {self._path}: frame numbers jumped from {self._sequence} to {taken.sequence}",
                hint="its driver began anew; it is opened again",
            )
        self._sequence = sequence
        needed = self._agreed.layout.plane_bytes()
        if taken.broken or any(got < need for got, need in zip(taken.used, needed, strict=True)):
            self._damaged += 1
            if self._damaged == 1:
                what = "damaged" if taken.broken else f"short: {taken.used} of {needed} bytes"
                _LOG.warning("camera %d: frame %d is %s; such frames count as lost", number, sequence, what)
            return None
        return self._believed(taken, sequence)

    def _count_repeat(self, sequence: int) -> None:
        """A driver that is late may give one number to two frames (vivid does); it must not go on with that."""
        self._repeated += 1
        words = f"camera {self._section.number}: {self._path}: "
        if self._repeated > self._opened().count + 1:
            raise HardwareError(f"{words}frame numbers stand still at {sequence}", hint="check the driver's log: dmesg")
        if self._repeated == 1:
            _LOG.warning("%sthe driver gave number %d twice; the second frame counts as lost", words, sequence)

    def _believed(self, taken: Taken, sequence: int) -> Stamp | None:
        number, period_ns, clock = self._section.number, round(1e9 / self.info().rate_hz), self._stamping
        assert clock is not None
        exposed = exposure(taken.stamp_ns, of_end=self._of_end(taken.flags), period_ns=period_ns, tick_ns=clock.tick_ns)
        buffers = self._opened().count  # a driver may give more than were asked for
        placed, start_ns = clock.place(exposed.start_ns), exposed.start_ns
        why = implausible(start_ns, self._start_ns, late_ns=placed.late_ns, period_ns=period_ns, buffers=buffers)
        if why:
            self._unbelievable += 1
            if self._unbelievable > buffers + 1:
                raise HardwareError(
                    f"camera {number}: {self._path}: wrapped timestamp: frame {sequence}: {why}",
                    hint=f"the driver's clock is not {clock.timebase.value.upper()}, or it jumped",
                )
            if self._unbelievable == 1:
                _LOG.warning("camera %d: frame %d is lost, its stamp cannot be true: %s", number, sequence, why)
            return None
        self._unbelievable, self._start_ns = 0, start_ns
        if self._meter.add(sequence, start_ns):
            self._compare_rate()
        if placed.stamp is None:
            return clock.arrived(period_ns=period_ns, buffers=buffers)
        return exposed.delivered(placed.late_ns).on(placed.stamp)

    def _of_end(self, flags: int) -> bool:
        if self._options.timestamp == "auto" and self.info().timebase is Timebase.TSC:
            return False  # start of frame, whatever the flags say
        if self._options.timestamp == "auto":
            return flags & uapi.V4L2_BUF_FLAG_TSTAMP_SRC_MASK != uapi.V4L2_BUF_FLAG_TSTAMP_SRC_SOE
        return self._options.timestamp == "end"

    def _compare_rate(self) -> None:
        asked_hz, really_hz = self._section.rate_hz, self._meter.rate_hz
        if really_hz is not None and abs(really_hz - asked_hz) > _RATE_DEVIATION * asked_hz:
            _LOG.warning(
                "camera %d: %s delivers %.2f frames/s, asked were %.2f; check sensor mode and exposure time",
                self._section.number,
                self._path,
                really_hz,
                asked_hz,
            )

    def stop(self) -> None:
        """Stop streaming; a device that went away has stopped by itself."""
        if self._queue is not None:
            try:
                self._queue.stop()
            except OSError as error:
                _LOG.info("camera %d: stop: %s", self._section.number, error.strerror)

    def info(self) -> CameraInfo:
        """What this camera delivers; the rate is the measured one once that differs from what was agreed."""
        section, agreed = self._section, self._agreed
        rate_hz = section.rate_hz if agreed is None or agreed.rate_hz is None else agreed.rate_hz
        really_hz = self._meter.rate_hz
        if really_hz is not None and abs(really_hz - rate_hz) > _RATE_DEVIATION * rate_hz:
            rate_hz = really_hz
        code = f" {agreed.layout.fourcc}" if agreed is not None else ""
        return CameraInfo(
            camera=section.number,
            width_px=section.width_px,
            height_px=section.height_px,
            pixel_format=self._target,
            rate_hz=rate_hz,
            source=f"v4l2 {self._path}{f' ({self._card})' if self._card else ''}{code}",
            timebase=Timebase.MONOTONIC if self._stamping is None else self._stamping.timebase,
        )

    def close(self) -> None:
        """Give buffers and device back."""
        queue, self._queue = self._queue, None
        device, self._device = self._device, None
        if queue is not None:
            queue.release()
        if device is not None:
            device.close()

    def _opened(self) -> BufferQueue:
        if self._queue is None:
            raise RuntimeError("the camera is not open")
        return self._queue


def _check_stamps(flags: int, name: str) -> None:
    if flags & uapi.V4L2_BUF_FLAG_TIMESTAMP_MASK != uapi.V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC:
        raise ConfigError(
            f"{name}: its driver does not say which clock stamps the frames (flags {flags:#x})",
            hint='use a driver with monotonic stamps; clock = "monotonic" where they are but it does not say so',
        )


def _sensor_size(section: CameraSection, options: V4l2Options) -> tuple[int, int]:
    if options.sensor_px is not None:
        return options.sensor_px[0], options.sensor_px[1]
    if section.roi is not None:
        raise ConfigError(
            f"camera {section.number} (v4l2): roi is a region of the sensor's picture, whose size is not said",
            hint="add options.sensor_px = [width, height], the size that the calibration was made for",
        )
    return section.width_px, section.height_px


def open_camera(section: CameraSection, clock: Clock) -> V4l2Camera:
    """Entry point of the group ``touchline.cameras``."""
    return V4l2Camera(section, clock)
