"""The capture process: camera to ring, one landing copy, every lost frame counted (CAP-4)."""

from __future__ import annotations

from typing import Final

from agent.camera.port import Camera, Frame, FrameTimeout
from agent.camera.registry import open_camera
from agent.clock.open import open_clock
from agent.processes.child import Child
from agent.ring import RingWriter
from touchline.errors import HardwareError
from touchline.timeline import Clock, monotonic_ns, sleep_until

READ_TIMEOUT_S: Final = 0.2  # how soon a stop is heard
SILENCE_S: Final = 5.0  # a camera silent for so long, or for three of its periods, is broken
_ROOM_POLL_NS: Final = 1_000_000


def run_capture(child: Child) -> None:
    """Land frames until the source ends or the parent says stop.

    Only then is the ring closed in good order; after an error it stays as a dead writer leaves it, so that the reader
    waits for the next life of this process.
    """
    clock = open_clock(child.config)
    camera = open_camera(child.camera, clock)
    writer = RingWriter(child.ring())
    try:
        camera.open()
        child.wait_for_go()
        camera.start()
        info = camera.info()
        child.ready(source=info.source, rate_hz=info.rate_hz, timebase=info.timebase.value)
        _Landing(child, camera, writer, clock).run()
        writer.close()
    finally:
        camera.close()
        child.report()


class _Landing:
    """One life of a capture."""

    def __init__(self, child: Child, camera: Camera, writer: RingWriter, clock: Clock) -> None:
        self._child, self._camera, self._writer, self._clock = child, camera, writer, clock
        self._info = camera.info()
        self._expected: int | None = None
        self._heard_ns = monotonic_ns()
        self._silence_ns = int(max(SILENCE_S, 3.0 / self._info.rate_hz) * 1e9)

    def run(self) -> None:
        """Until the end of the source or the parent's stop."""
        most_waiting = self._child.config.ring.slots // 2
        while not self._child.stopping:
            self._child.tick()
            if self._info.follows_readers and self._writer.backlog() >= most_waiting:
                sleep_until(monotonic_ns() + _ROOM_POLL_NS)
                continue
            try:
                frame = self._camera.read(self._writer.acquire()[: self._info.frame_bytes], READ_TIMEOUT_S)
            except FrameTimeout as silence:
                self._check_silence(silence)
                continue
            if frame is None:
                return
            self._commit(frame)

    def _check_silence(self, silence: FrameTimeout) -> None:
        silent_ns = monotonic_ns() - self._heard_ns
        if silent_ns > self._silence_ns:
            raise HardwareError(f"no frame for {silent_ns / 1e9:.1f} s", hint="check camera and cable") from silence

    def _commit(self, frame: Frame) -> None:
        self._heard_ns = monotonic_ns()
        dropped = self._outage(frame) if self._expected is None else max(0, frame.sequence - self._expected)
        self._expected = frame.sequence + 1
        self._writer.commit(frame.sequence, frame.stamp, dropped)
        now = self._clock.now()
        if now.epoch == frame.stamp.epoch:
            self._child.took("land", (now.ptp_ns - frame.stamp.ptp_ns) / 1e6)

    def _outage(self, frame: Frame) -> int:
        """Frames missed between the last life's newest frame and this life's first, from time and rate.

        Where the clock began a new epoch in between, by when the two landed.
        """
        last = self._writer.last_landed()
        if last is None or self._info.follows_readers:
            return 0
        stamp, landed_ns = last
        same = stamp.epoch == frame.stamp.epoch
        missing_ns = frame.stamp.ptp_ns - stamp.ptp_ns if same else self._heard_ns - landed_ns
        return max(0, round(missing_ns * self._info.rate_hz / 1e9) - 1)
