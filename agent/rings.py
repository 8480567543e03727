"""The ring of one configured camera: the parent makes it to use it, ``agent check`` to see whether it can be had."""

from __future__ import annotations

from typing import Final

from agent.camera.port import PixelFormat, frame_bytes
from agent.ring import Ring, RingSpec
from touchline.config import CameraSection, RingSection

INFERENCE_READER: Final = 0
RECORDER_READER: Final = 1  # where the node records


def make_ring(ring: RingSection, camera: CameraSection, *, recorded: bool = False) -> Ring:
    """Make the ring, with a place for the recorder if the camera is ``recorded``.

    Raises ResourceError when memory or the lock limit do not suffice (CAP-2, CAP-3).
    """
    size = frame_bytes(camera.width_px, camera.height_px, PixelFormat(camera.pixel_format))
    spec = RingSpec(ring.slots, size, readers=2 if recorded else 1, guard_slots=ring.guard_slots)
    return Ring.create(spec, lock=ring.lock, hugepages=ring.hugepages)
