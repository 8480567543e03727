"""A pretended kernel with one camera, and the camera under test on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from agent.camera.v4l2 import V4l2Camera
from tests.agent.camera.v4l2.driver import Driver, HandClock
from tests.agent.camera.v4l2.kernel import Kernel
from touchline.config import CameraSection

MODES = {
    "YUYV": {(64, 64): [60, 30], (128, 96): [30]},
    "GREY": {(64, 64): [50, 25], (128, 96): [50]},
    "RGB3": {(64, 64): [50]},
    "NV12": {(64, 64): [50], (128, 96): [50]},
    "RG10": {(64, 64): [50], (128, 96): [50]},
}
PATH = "/dev/video0"


def section(pixel_format: str = "gray8", options: dict[str, object] | None = None, **more: object) -> CameraSection:
    fields: dict[str, object] = {"number": 7, "width_px": 64, "height_px": 64, "rate_hz": 50.0, "calibration": "c.json"}
    chosen = {"device": PATH, **(options or {})}
    return CameraSection.model_validate(
        {**fields, "source": "v4l2", "pixel_format": pixel_format, "options": chosen, **more}
    )


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def driver(clock: HandClock) -> Driver:
    return Driver(clock, MODES)


@pytest.fixture
def kernel(clock: HandClock, driver: Driver) -> Kernel:
    return Kernel(clock, {PATH: driver})


MakeCamera = Callable[..., V4l2Camera]


@pytest.fixture
def make(clock: HandClock, kernel: Kernel) -> Iterator[MakeCamera]:
    """Make cameras on the pretended kernel; each is closed at the end, and must leave nothing open."""
    made: list[V4l2Camera] = []

    def camera(pixel_format: str = "gray8", options: dict[str, object] | None = None, **more: object) -> V4l2Camera:
        chosen = section(pixel_format, options, **more)
        made.append(V4l2Camera(chosen, clock, open_device=kernel.open, nodes=kernel.list, monotonic=clock.monotonic))
        return made[-1]

    yield camera
    for one in made:
        one.close()
        one.close()
    for node in kernel.nodes.values():
        if isinstance(node, Driver):
            assert (node.handles, node.buffers, node.owner) == (set(), [], None)
