"""Runs in the node: reads the shared optics through the agent's own camera and clock, one line of JSON per frame.

Arguments: device, most frames. The file READING appears with the first frame; it ends early after the frame of the grid
whose number is in the file ENOUGH. A frame that is taken when its buffer may already hold another proves nothing: it is
left out, as one that was lost.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from agent.camera.port import FrameTimeout
from agent.camera.v4l2 import open_camera
from hil.virtual.scene import HEIGHT_PX, RATE_HZ, WIDTH_PX, frame_at, frame_in
from touchline.config import CameraSection
from touchline.timeline import TAI_MINUS_UTC_S, SystemClock

SECTION = {"number": 1, "source": "v4l2", "calibration": "none.json", "pixel_format": "nv12", "rate_hz": RATE_HZ}
TIMEOUT_S, MOST_TIMEOUTS = 1.0, 10
READING, ENOUGH = Path("/tmp/optics-reading"), Path("/tmp/optics-enough")
GOOD_NS = 6 * 10**9 // RATE_HZ  # of eight buffers the feeder paints one at a time, a period ahead
TAI_NS = TAI_MINUS_UTC_S * 10**9


def enough(utc_ns: int) -> bool:
    """Whether a frame of this time is as late as was asked for."""
    try:
        return frame_at(utc_ns) > int(ENOUGH.read_text())
    except (FileNotFoundError, ValueError):  # not yet, or not whole yet
        return False


def main(device: str, frames: int) -> None:
    """Read and print; ends with FrameTimeout when the camera stays silent."""
    shape = {"width_px": WIDTH_PX, "height_px": HEIGHT_PX, "options": {"device": device}}
    clock = SystemClock()
    camera = open_camera(CameraSection.model_validate(SECTION | shape), clock)
    camera.open()
    landing = memoryview(bytearray(camera.info().frame_bytes))
    seen: list[tuple[object, ...]] = []
    utc_ns = timeouts = 0
    try:
        camera.start()
        while len(seen) < frames and not enough(utc_ns):
            try:
                frame = camera.read(landing, TIMEOUT_S)
            except FrameTimeout:
                timeouts += 1
                if timeouts > MOST_TIMEOUTS:
                    raise
                continue
            assert frame is not None
            utc_ns = frame.stamp.ptp_ns - TAI_NS
            if clock.now().ptp_ns - TAI_NS - utc_ns > GOOD_NS:
                continue
            shows = frame_in(np.frombuffer(landing, np.uint8), frame_at(utc_ns))
            seen.append((frame.sequence, utc_ns, frame.stamp.bound_ns, shows, hashlib.sha256(landing).hexdigest()[:16]))
            if len(seen) == 1:
                READING.touch()
    finally:
        camera.close()
    names = ("sequence", "utc_ns", "bound_ns", "shows", "sha")
    sys.stdout.write("".join(json.dumps(dict(zip(names, one, strict=True))) + "\n" for one in seen))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
