"""What the landing pass costs on this machine: ``python -m tests.agent.camera.v4l2.landing_cost`` prints ms a frame."""

from __future__ import annotations

import sys
import timeit

import numpy as np

from agent.camera.port import PixelFormat, frame_bytes
from agent.camera.v4l2.pixels import SOURCES, LandingPass, Layout

SIZE = (1280, 720)
SENSOR = (3072, 1728)
BYTES = {"GREY": 1, "RGB3": 3, "YUYV": 2, "NV12": 1, "NM12": 1, "RG10": 2, "RG12": 2, "RG16": 2}


def cost_ms(code: str, target: PixelFormat, sensor: tuple[int, int], region: tuple[int, int, int, int]) -> float:
    """Best of five means of twenty, with 64 bytes of padding on each line."""
    stride = sensor[0] * BYTES[code] + 64
    layout = Layout(code, *sensor, (stride, stride) if code == "NM12" else (stride,))
    random = np.random.default_rng(0)
    planes = [random.integers(0, 256, size, dtype=np.uint8) for size in layout.plane_bytes()]
    landing = memoryview(bytearray(frame_bytes(*SIZE, target)))
    landing_pass = LandingPass(layout, region, SIZE, target)
    return min(timeit.repeat(lambda: landing_pass.land(planes, landing), number=20, repeat=5)) / 20 * 1e3


def main() -> None:
    """One line per source and format."""
    for target, codes in SOURCES.items():
        for code in codes:
            sys.stdout.write(f"{code} -> {target.value}: {cost_ms(code, target, SIZE, (0, 0, *SIZE)):.3f} ms\n")
    sys.stdout.write(f"region of {SENSOR}, NV12: {cost_ms('NV12', PixelFormat.NV12, SENSOR, (0, 0, *SIZE)):.3f} ms\n")
    sys.stdout.write(
        f"scaled from {SENSOR}, NV12: {cost_ms('NV12', PixelFormat.NV12, SENSOR, (0, 0, *SENSOR)):.3f} ms\n"
    )


if __name__ == "__main__":
    main()
