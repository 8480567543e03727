"""What the image room's tests share: package records, collected events, a wait with a deadline."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hil.virtual.image.packages import Package, Resolution
from hil.virtual.image.steps import StepEvent
from touchline.timeline import monotonic_ns, sleep_until


def package(name: str = "libc6", version: str = "2.36-9", arch: str = "arm64", data: bytes = b"deb") -> Package:
    file = f"{name}_{version.replace(':', '%3a')}_{arch}.deb"
    return Package(name, version, arch, file, len(data), hashlib.sha256(data).hexdigest())


def put(folder: Path, one: Package, data: bytes = b"deb") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / one.file).write_bytes(data)
    return folder / one.file


def resolution(**changes: Any) -> Resolution:
    parts: dict[str, Any] = {
        "root": (package("bash"), package("libc6")),
        "initrd": (package("busybox-static"),),
        "kernel": (
            package("linux-image-6.12.9-arm64"),
            package("linux-source-6.12", arch="all"),
            package("v4l2loopback-dkms", arch="all"),
        ),
        "kernel_release": "6.12.9-arm64",
        "kernel_version": "6.12.9-1",
    }
    return Resolution(**{**parts, **changes})


class Events(list[StepEvent]):
    """Collects what a build tells."""

    def __call__(self, event: StepEvent) -> None:
        self.append(event)

    def states(self, step: str) -> list[str]:
        return [event.state for event in self if event.step == step]


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Return once it holds; fails after the time-out."""
    deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
    while not condition():
        assert monotonic_ns() < deadline_ns, f"not within {timeout_s:g} s"
        sleep_until(monotonic_ns() + 20_000_000)
