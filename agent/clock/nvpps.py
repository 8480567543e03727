# ruff: noqa: N801 (the structures carry the kernel's own names)
"""/dev/nvpps0: NVIDIA's snapshot of the system counter (TSC) and the PTP clock in one moment, once a second.

Facts from NVIDIA's public header nvpps_ioctl.h and driver nvpps_main.c (nvidia-oot of L4T 36, kernel/nvidia of L4T 35),
written anew. The request numbers hold the size of a pointer, not of the structure: which layout a kernel writes is told
by its API version alone, 0.2 and before without, 0.4 with a word for the second interface after ``ptp``.

The units are not told either. By version, mode and hardware time stamping of the pin, ``tsc`` comes in nanoseconds, in
ticks, or multiplied twice, whatever ``tsc_mode`` says, and one driver makes nonsense of ``ptp``. So two events decide:
that unit counts in which the counter ran as long as the PTP clock did, to 1000 ppm.
"""

from __future__ import annotations

import ctypes
import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from agent.clock.mapping import Pair
from agent.clock.phc import ROUNDING_NS, ClockDevice, KernelDevice, OpenDevice
from touchline.errors import ConfigError, HardwareError, TouchlineError

NVPPS: Final = "/dev/nvpps0"
DEVICE_TREE: Final = Path("/proc/device-tree")
_U32, _U64 = ctypes.c_uint32, ctypes.c_uint64
_SPARE: Final = 64  # bytes behind a structure, for a kernel that writes a longer one


class nvpps_version(ctypes.Structure):
    _fields_ = (
        ("version_major", _U32),
        ("version_minor", _U32),
        ("api_major", _U32),
        ("api_minor", _U32),
        ("spare", ctypes.c_uint8 * _SPARE),
    )


class nvpps_params(ctypes.Structure):
    _fields_ = (("evt_mode", _U32), ("tsc_mode", _U32), ("spare", ctypes.c_uint8 * _SPARE))


class nvpps_timeevent_2(ctypes.Structure):
    """Up to API 0.2: Xavier, and Orin's first kernels."""

    _fields_ = (
        ("evt_nb", _U32),
        ("tsc", _U64),
        ("ptp", _U64),
        ("tsc_res_ns", _U64),
        ("evt_mode", _U32),
        ("tsc_mode", _U32),
        ("irq_latency", _U64),
        ("spare", ctypes.c_uint8 * _SPARE),
    )


class nvpps_timeevent_4(ctypes.Structure):
    """API 0.4. ``secondary_ptp``: in L4T 35 its offset from ``ptp``, since then its time."""

    _fields_ = (
        ("evt_nb", _U32),
        ("tsc", _U64),
        ("ptp", _U64),
        ("secondary_ptp", _U64),
        ("tsc_res_ns", _U64),
        ("evt_mode", _U32),
        ("tsc_mode", _U32),
        ("irq_latency", _U64),
        ("spare", ctypes.c_uint8 * _SPARE),
    )


def _ior(number: int) -> int:
    return 2 << 30 | ctypes.sizeof(ctypes.c_void_p) << 16 | ord("p") << 8 | number


NVPPS_GETVERSION: Final = _ior(1)
NVPPS_GETPARAMS: Final = _ior(2)
NVPPS_GETEVENT: Final = _ior(4)
NVPPS_MODE_GPIO: Final = 1
NVPPS_MODE_TIMER: Final = 2

Unit: TypeAlias = tuple[int, int]  # nanoseconds: times the first, over the second
_WRAP: Final = 1 << 32
_INTERVAL_NS: Final = 2_000_000_000  # events come every 0.1 .. 1 s
_SAME: Final = 1e-3
_REBASE: Final = 1e-4  # drivers carry ``ptp`` back to the interrupt as if both clocks ran alike
_TWO_READS_NS: Final = 1_000.0  # with memmap_phc_regs the CPU reads two registers before the counter; not measured


@dataclass(frozen=True, slots=True)
class Event:
    """One snapshot as the driver gives it. ``mode``: NVPPS_MODE_GPIO (a pulse) or _TIMER, 0 before the first."""

    number: int
    tsc: int
    ptp_ns: int
    tick_ns: int
    mode: int
    tsc_mode: int
    latency_ns: int


class EventPairs:
    """From events to pairs; pure. ``why``: what kept the last event from being one, for people.

    The counter's reading is the last tick's number, the clock's as well: a pair names the middle of both ticks.
    ``extra_ns``: added to a pair's half for what the driver's way of reading leaves open.
    """

    def __init__(self, phc_tick_ns: float, extra_ns: float = 0.0) -> None:
        self._phc_tick_ns = phc_tick_ns
        self._extra_ns = extra_ns
        self._last: Event | None = None
        self._unit: Unit | None = None
        self.why = "no event yet"

    def take(self, event: Event) -> Pair | None:
        """Return the pair of a new event; None for one seen before, for an empty one, and while the unit is unknown."""
        last = self._last
        if last is not None and event.number == last.number:
            return None
        self._last = event
        if not event.ptp_ns or not event.tsc:
            self.why = "the driver has no PTP time: ptp4l must run on the interface named in the device tree"
            return None
        if last is None or (last.mode, last.tsc_mode, last.tick_ns) != (event.mode, event.tsc_mode, event.tick_ns):
            self._unit, self.why = None, "one event so far, two are needed"
            return None
        if self._unit is None:
            self._unit = unit_of(last, event)
        if self._unit is None:
            self.why = "counter and PTP clock do not run alike in any unit: a step, or the driver's mistake"
            return None
        self.why = ""
        return self._pair(event, self._unit)

    def _pair(self, event: Event, unit: Unit) -> Pair:
        half_tick_ns = event.tick_ns / 2
        tsc_ns = event.tsc * unit[0] // unit[1]
        half_ns = half_tick_ns + self._phc_tick_ns / 2 + event.latency_ns * _REBASE + self._extra_ns + ROUNDING_NS
        return Pair(tsc_ns + round(half_tick_ns), event.ptp_ns + round(self._phc_tick_ns / 2), half_ns)


def unit_of(first: Event, second: Event) -> Unit | None:
    """Return what a step of ``tsc`` is worth, from two events; None when no unit makes sense of them."""
    events = (second.number - first.number) % _WRAP
    ptp_ns, tsc = second.ptp_ns - first.ptp_ns, second.tsc - first.tsc
    if not 0 < ptp_ns <= events * _INTERVAL_NS or tsc <= 0:
        return None
    for times, over in ((1, 1), (first.tick_ns, 1), (1, first.tick_ns)):
        if abs(tsc * times // over - ptp_ns) <= ptp_ns * _SAME:
            return times, over
    return None


class Nvpps:
    """The open device."""

    def __init__(self, device: ClockDevice, path: str, phc_tick_ns: float, extra_ns: float = 0.0) -> None:
        self.path = path
        self._device = device
        self._event = layout_of(device, path)
        self.pairs = EventPairs(phc_tick_ns, extra_ns)

    def event(self) -> Event:
        """Return the newest event. Raises HardwareError when the device went away or its answer is none."""
        answer = self._event()
        try:
            self._device.ioctl(NVPPS_GETEVENT, answer)
        except OSError as error:
            raise HardwareError(f"{self.path}: {error.strerror}", hint="see dmesg | grep nvpps") from error
        event = Event(
            number=int(answer.evt_nb),
            tsc=int(answer.tsc),
            ptp_ns=int(answer.ptp),
            tick_ns=int(answer.tsc_res_ns),
            mode=int(answer.evt_mode),
            tsc_mode=int(answer.tsc_mode),
            latency_ns=int(answer.irq_latency),
        )
        if not 1 <= event.tick_ns <= 1000 or event.mode not in {0, NVPPS_MODE_GPIO, NVPPS_MODE_TIMER}:
            raise HardwareError(f"{self.path}: {event} is no event", hint="this driver's layout is not known; tell us")
        return event

    def pair(self) -> Pair | None:
        """Return the pair (TSC, PTP) of a new event; None when there is none, see :attr:`why`."""
        return self.pairs.take(self.event())

    @property
    def why(self) -> str:
        """What keeps pairs away; empty while they come."""
        return self.pairs.why

    def close(self) -> None:
        """Close the device."""
        self._device.close()


def layout_of(device: ClockDevice, path: str) -> type[nvpps_timeevent_2] | type[nvpps_timeevent_4]:
    """Return the structure that this kernel's events come in. Raises OSError, HardwareError for an unknown version."""
    version = nvpps_version()
    device.ioctl(NVPPS_GETVERSION, version)
    api = int(version.api_major), int(version.api_minor)
    if (0, 1) <= api <= (0, 2):
        return nvpps_timeevent_2
    if api == (0, 4):
        return nvpps_timeevent_4
    hint = 'set [clock.ptp] pairs = "phc" until this program knows it'
    raise HardwareError(f"{path} speaks API {api[0]}.{api[1]}, known are 0.1, 0.2 and 0.4", hint=hint)


def open_nvpps(
    phc_tick_ns: float, path: str = NVPPS, open_device: OpenDevice = KernelDevice, tree: Path = DEVICE_TREE
) -> Nvpps:
    """Open the device. Raises HardwareError or ConfigError with what to do about it."""
    extra_ns = _TWO_READS_NS if any((node / "memmap_phc_regs").exists() for node in nodes(tree)) else 0.0
    try:
        device = open_device(path)
    except OSError as error:
        raise open_failure(path, error, tree) from error
    try:
        return Nvpps(device, path, phc_tick_ns, extra_ns)
    except OSError as error:
        device.close()
        raise open_failure(path, error, tree) from error
    except TouchlineError:
        device.close()
        raise


def nodes(tree: Path = DEVICE_TREE) -> list[Path]:
    """The device tree's nvpps nodes: at its root, or one bus below."""
    return [path for pattern in ("nvpps*", "*/nvpps*") for path in sorted(tree.glob(pattern)) if path.is_dir()]


def tree_says(tree: Path = DEVICE_TREE) -> str:
    """Say what the device tree tells of the device. That Orin's developer kit enables it is unverified."""
    found = nodes(tree)
    if not found:
        return "the device tree has no nvpps node"
    status = found[0] / "status"
    if status.exists() and status.read_bytes().rstrip(b"\0") not in {b"okay", b"ok"}:
        return "the device tree's nvpps node is disabled"
    return "the device tree enables it, its driver did not start: see dmesg | grep nvpps"


def open_failure(path: str, error: OSError, tree: Path = DEVICE_TREE) -> TouchlineError:
    """The words for a device that cannot be opened."""
    if error.errno in {errno.ENOENT, errno.ENODEV, errno.ENXIO}:
        hint = 'enable it in the device tree, or set [clock.ptp] pairs = "phc"'
        return HardwareError(f"there is no {path}: {tree_says(tree)}", hint=hint)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return HardwareError(f"{path}: permission denied", hint="let the service read it: group 'nvpps' or a udev rule")
    if error.errno == errno.ENOTTY:
        return ConfigError(f"{path} is no nvpps device", hint='set [clock.ptp] pairs = "phc"')
    return HardwareError(f"{path}: open: {error.strerror}", hint="see dmesg | grep nvpps")
