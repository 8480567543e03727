"""The capture process: camera to ring, one landing copy, every lost frame counted (CAP-4)."""

from __future__ import annotations

from typing import Final

from agent.camera.port import Camera
from agent.camera.registry import open_camera
from agent.processes.child import Child
from agent.ring import RingWriter
from touchline.timeline import SystemClock, monotonic_ns, sleep_until

READ_TIMEOUT_S: Final = 5.0
_ROOM_POLL_NS: Final = 1_000_000


def run_capture(child: Child) -> None:
    """Land frames until the source ends or the parent says stop; the ring is closed in good order either way."""
    clock = SystemClock()
    camera = open_camera(child.camera, clock)
    ring = child.ring()
    writer = RingWriter(ring)
    try:
        camera.open()
        camera.start()
        child.ready(source=camera.info().source, rate_hz=camera.info().rate_hz)
        _land_frames(child, camera, writer, clock, ring.spec.slots // 2)
    finally:
        writer.close()
        camera.close()
        child.report()


def _land_frames(child: Child, camera: Camera, writer: RingWriter, clock: SystemClock, most_waiting: int) -> None:
    frame_bytes = camera.info().frame_bytes
    follows_readers = getattr(camera, "follows_readers", False)
    expected = 0
    while not child.stopping:
        child.tick()
        if follows_readers and writer.backlog() >= most_waiting:
            sleep_until(monotonic_ns() + _ROOM_POLL_NS)
            continue
        frame = camera.read(writer.acquire()[:frame_bytes], READ_TIMEOUT_S)
        if frame is None:
            return
        dropped = max(0, frame.sequence - expected)
        writer.commit(frame.sequence, frame.stamp, dropped)
        expected = frame.sequence + 1
        child.count("captured")
        child.count("dropped_camera", dropped)
        child.took("land", (clock.now().ptp_ns - frame.stamp.ptp_ns) / 1e6)
