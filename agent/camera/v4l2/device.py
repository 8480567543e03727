"""The one seam to the kernel: open, ioctl, mmap, poll, close; and which node a configuration means.

Everything above talks to the :class:`Device` protocol, so a test can put a kernel of its own underneath. Errors pass
as OSError; :func:`open_failure` and :func:`went_away` turn them into words.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import select
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from agent.camera.v4l2 import uapi
from agent.camera.v4l2.requests import VIDIOC_QUERYCAP
from agent.character_device import Argument, CharacterDevice
from touchline.errors import ConfigError, HardwareError, TouchlineError

POLL_EVENTS: Final = select.POLLIN | select.POLLPRI
POLL_BROKEN: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL
_NOT_THERE: Final = frozenset({errno.EINVAL, errno.ENOTTY, errno.ENODATA, errno.ENOENT})
_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOENT})


class Device(Protocol):
    """An open video node."""

    def ioctl(self, request: int, argument: Argument) -> None:
        """Ask the driver; ``argument`` is read and written. Raises OSError, never EINTR."""
        ...

    def map(self, length_bytes: int, offset: int) -> mmap.mmap:
        """Map a buffer of the driver for reading; the caller closes it."""
        ...

    def poll(self, timeout_s: float) -> int:
        """Wait for a frame or an event; return poll(2)'s events, 0 after ``timeout_s``."""
        ...

    def close(self) -> None:
        """Close the node; safe to call twice."""
        ...


OpenDevice: TypeAlias = Callable[[str], Device]


class KernelDevice(CharacterDevice):
    """A video node of this machine. Raises OSError when it cannot be opened, ENOTTY when it is no character device."""

    def __init__(self, path: str) -> None:
        super().__init__(path, os.O_RDWR | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._fd, POLL_EVENTS)

    def map(self, length_bytes: int, offset: int) -> mmap.mmap:
        """Map a buffer for reading."""
        return mmap.mmap(self._fd, length_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset)

    def poll(self, timeout_s: float) -> int:
        """Wait for a frame or an event."""
        ready = self._poll.poll(max(0.0, timeout_s) * 1000)
        return ready[0][1] if ready else 0


def video_nodes() -> list[str]:
    """Every /dev/videoN of this machine, by rising number."""
    found = [path for path in Path("/dev").glob("video*") if re.fullmatch(r"video\d+", path.name)]
    return [str(path) for path in sorted(found, key=lambda path: int(path.name.removeprefix("video")))]


@dataclass(frozen=True, slots=True)
class Capability:
    """What QUERYCAP says of a node. ``buffer_type``: the API it captures with; None where it does not capture."""

    driver: str
    card: str
    bus: str
    buffer_type: int | None
    streams: bool


def query_capability(device: Device) -> Capability:
    """Ask who the device is. Raises OSError (ENOTTY: not a V4L2 device)."""
    raw = uapi.v4l2_capability()
    device.ioctl(VIDIOC_QUERYCAP, raw)
    can = int(raw.device_caps if raw.capabilities & uapi.V4L2_CAP_DEVICE_CAPS else raw.capabilities)
    buffer_type = None
    if can & uapi.V4L2_CAP_VIDEO_CAPTURE:
        buffer_type = uapi.V4L2_BUF_TYPE_VIDEO_CAPTURE
    elif can & uapi.V4L2_CAP_VIDEO_CAPTURE_MPLANE:
        buffer_type = uapi.V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
    driver, card, bus = (bytes(part).decode("utf-8", "replace") for part in (raw.driver, raw.card, raw.bus_info))
    return Capability(driver, card, bus, buffer_type, bool(can & uapi.V4L2_CAP_STREAMING))


def find_node(camera: str, wanted: str, nodes: list[str], open_device: OpenDevice) -> str:
    """Return the path that ``wanted`` means: itself, or the one capture node with that ``bus:`` or ``card:``.

    Raises HardwareError when none matches (it may come back), ConfigError when several do.
    """
    kind, _, name = wanted.partition(":")
    if kind not in {"bus", "card"}:
        return wanted
    seen: list[str] = []
    matching: list[str] = []
    for path in nodes:
        try:
            found = _capability_of(path, open_device)
        except OSError as error:
            seen.append(f"{path} ({error.strerror})")
            continue
        if found.buffer_type is None:
            continue
        seen.append(f"{path} (card:{found.card}, bus:{found.bus})")
        if name == (found.bus if kind == "bus" else found.card):
            matching.append(path)
    if not matching:
        raise HardwareError(
            f"{camera}: no capture device has {kind} {name!r}",
            hint=f"check cable and driver; here are: {', '.join(seen) or 'no video nodes'}",
        )
    if len(matching) > 1:
        raise ConfigError(
            f"{camera}: {wanted!r} fits {', '.join(matching)}",
            hint="name one by its path under /dev/v4l/by-path or by its bus",
        )
    return matching[0]


def _capability_of(path: str, open_device: OpenDevice) -> Capability:
    device = open_device(path)
    try:
        return query_capability(device)
    finally:
        device.close()


def open_failure(camera: int, path: str, error: OSError, doing: str = "open") -> TouchlineError:
    """The words for a device that cannot be claimed. What may mend itself is a HardwareError, so it is tried again."""
    name = f"camera {camera}: {path}"
    if error.errno in _GONE:
        return HardwareError(
            f"{name}: no such device", hint="check cable and driver; ls /dev/v4l/by-path shows what is"
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return HardwareError(f"{name}: permission denied", hint="add the service's user to the group 'video'")
    if error.errno == errno.EBUSY:
        return HardwareError(f"{name} is busy: another program uses it", hint=f"find it with: fuser -v {path}")
    if error.errno == errno.ENOTTY:
        return ConfigError(
            f"{name} is not a V4L2 device", hint="name a capture node; v4l2-ctl --list-devices shows them"
        )
    if error.errno in {errno.EREMOTEIO, errno.ETIMEDOUT}:
        return HardwareError(f"{name}: {doing}: the sensor does not answer", hint="check cable, power and device tree")
    return HardwareError(f"{name}: {doing}: {error.strerror}", hint="the kernel's log (dmesg) says more")


def went_away(camera: int, path: str, error: OSError | None, doing: str) -> HardwareError:
    """The words for a device that breaks while it streams."""
    number = errno.EIO if error is None or error.errno is None else error.errno
    why = {
        errno.ENODEV: "it was unplugged or its driver unloaded",
        errno.ENXIO: "it was unplugged or its driver unloaded",
        errno.EIO: "its driver gave the stream up",
        errno.EPIPE: "its stream was stopped",
        errno.EINVAL: "its stream was stopped",
    }.get(number, os.strerror(number))
    return HardwareError(
        f"camera {camera} went away: {path}: {doing}: {errno.errorcode.get(number, number)}, {why}",
        hint="check cable, power and the kernel's log (dmesg)",
    )


def ask(device: Device, request: int, argument: Argument) -> bool:
    """Ask for something that a driver may lack or be at the end of; False when it says so."""
    try:
        device.ioctl(request, argument)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        raise
    return True
