"""The ring of one configured camera: the parent makes it to use it, ``agent check`` to see whether it can be had."""

from __future__ import annotations

from typing import Final

from agent.camera.port import PixelFormat, frame_bytes
from agent.ring import Ring, RingSpec
from touchline.config import CameraSection, RingSection

READERS: Final = 1  # the camera's inference


def make_ring(ring: RingSection, camera: CameraSection) -> Ring:
    """Make the ring. Raises ResourceError when memory or the lock limit do not suffice (CAP-2, CAP-3)."""
    size = frame_bytes(camera.width_px, camera.height_px, PixelFormat(camera.pixel_format))
    spec = RingSpec(ring.slots, size, readers=READERS, guard_slots=ring.guard_slots)
    return Ring.create(spec, lock=ring.lock, hugepages=ring.hugepages)
