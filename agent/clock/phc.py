"""PTP hardware clocks: found, read, and set against this machine's clocks, each way with a bound of its own.

Clocks count in ticks and a reading is the last tick's number, so the true time lies in the tick that follows: pairs
name the middle of it. Reading needs no right to write. Inside, errors pass as OSError; what opens and reads a clock
for others turns them into words.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from agent.character_device import CharacterDevice
from agent.clock import uapi
from agent.clock.mapping import Pair
from touchline.errors import ConfigError, HardwareError, TouchlineError
from touchline.timeline import Timebase, clock_id, read_clock_ns

_NS: Final = 1_000_000_000
ROUNDING_NS: Final = 2.0  # readings are cut to whole nanoseconds, and so are both times of a pair
_APART: Final = 1e-3  # two clocks never run apart by more, within a window

NOT_HERE: Final = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENODEV, errno.ETIMEDOUT})
"""How kernels and drivers say that they have no such request; ENODEV: PRECISE needs another clock source."""
NOT_NOW: Final = frozenset({errno.EAGAIN, errno.EBUSY, errno.ETIMEDOUT})


class ClockDevice(Protocol):
    """An open clock device."""

    def ioctl(self, request: int, argument: ctypes.Structure) -> None:
        """Ask the driver; ``argument`` is read and written. Raises OSError."""
        ...

    def read_ns(self) -> int:
        """Return the clock's own time, ns. Raises OSError."""
        ...

    def close(self) -> None:
        """Close the device; safe to call twice."""
        ...


OpenDevice: TypeAlias = Callable[[str], ClockDevice]


class KernelDevice(CharacterDevice):
    """A clock device of this machine, opened for reading. Raises OSError, ENOTTY for no character device."""

    def __init__(self, path: str) -> None:
        super().__init__(path, os.O_RDONLY)

    def read_ns(self) -> int:
        """clock_gettime(2) by the descriptor: FD_TO_CLOCKID of the kernel's testptp.c."""
        return read_clock_ns(fd_to_clockid(self._fd))


def fd_to_clockid(fd: int) -> int:
    """The clockid_t of an open clock device: bits 0..2 are CLOCKFD (3), the rest is the descriptor inverted."""
    return ~fd << 3 | 3


class Method(str, Enum):
    """The kernel's cross-timestamps, best first; OFFSET is all that Orin's nvethernet has."""

    PRECISE = "precise"
    EXTENDED = "extended"
    OFFSET = "offset"


@dataclass(frozen=True, slots=True)
class Ticks:
    """Steps of clocks, ns. ``phc_ns``: of the hardware clock. ``base_ns``: of the counter below all system clocks."""

    phc_ns: float
    base_ns: float


def ticks_of(driver: str, machine: str, compatible: str = "") -> Ticks:
    """Return the steps of a network driver's clock and of a machine (uname -m; the device tree's ``compatible``).

    The kernel tells neither, clock_getres(2) says 1 ns for both. Orin: 312.5 MHz and 31.25 MHz. Else the coarsest in
    common use: 125 MHz (Intel i210), 24 MHz (Arm boards); x86 counts in less than 1 ns.
    """
    phc_ns = {"nvethernet": 3.2, "ptp_mock": 1.0, "netdevsim": 1.0}.get(driver, 8.0)
    if machine in {"x86_64", "i686"}:
        return Ticks(phc_ns, 1.0)
    return Ticks(phc_ns, 32.0 if "nvidia,tegra" in compatible else 42.0)


# --- from the kernel's answers to pairs: pure ---


def bracket(before_ns: int, phc_ns: int, after_ns: int, ticks: Ticks) -> Pair | None:
    """The pair of a clock read between two readings of a base; None when the base went back meanwhile.

    The reading happened in [before, after + a tick of the base], and meant [phc, phc + a tick of the clock].
    """
    if after_ns < before_ns:
        return None
    window_ns = after_ns - before_ns + ticks.base_ns
    base_ns, ptp_ns = before_ns + round(window_ns / 2), phc_ns + round(ticks.phc_ns / 2)
    return Pair(base_ns, ptp_ns, (1 + _APART) * window_ns / 2 + ticks.phc_ns / 2 + ROUNDING_NS)


def pair_of_offset(answer: uapi.ptp_sys_offset, ticks: Ticks) -> Pair | None:
    """Narrowest of the samples, REALTIME: the clock was read somewhere between the system's readings around it."""
    times = [_ns(answer.ts[index]) for index in range(2 * answer.n_samples + 1)]
    samples = zip(times[0::2], times[1::2], times[2::2], strict=False)
    return _narrowest([bracket(before, phc, after, ticks) for before, phc, after in samples])


def pair_of_extended(answer: uapi.ptp_sys_offset_extended, ticks: Ticks) -> Pair | None:
    """Narrowest of the samples, on the clock asked for: the driver itself reads the system's clock before and after."""
    samples = [answer.ts[index] for index in range(answer.n_samples)]
    return _narrowest([bracket(_ns(sample[0]), _ns(sample[1]), _ns(sample[2]), ticks) for sample in samples])


def pairs_of_precise(answer: uapi.ptp_sys_offset_precise, ticks: Ticks) -> dict[Timebase, Pair]:
    """The hardware's own pair, on both clocks: wrong by half a tick of the clock and, across domains, one of a base."""
    ptp_ns = _ns(answer.device) + round(ticks.phc_ns / 2)
    half_ns = ticks.phc_ns / 2 + ticks.base_ns + ROUNDING_NS
    bases = {Timebase.MONOTONIC_RAW: answer.sys_monoraw, Timebase.REALTIME: answer.sys_realtime}
    return {base: Pair(_ns(time) + round(ticks.base_ns / 2), ptp_ns, half_ns) for base, time in bases.items()}


def _ns(time: uapi.ptp_clock_time) -> int:
    return int(time.sec) * _NS + int(time.nsec)


def _narrowest(pairs: list[Pair | None]) -> Pair | None:
    return min((pair for pair in pairs if pair is not None), key=lambda pair: pair.half_ns, default=None)


# --- the clock ---


@dataclass(frozen=True, slots=True)
class Caps:
    """What a clock can do. ``max_adj_ppb``: how far its rate may be bent. ``cross``: it has PRECISE."""

    max_adj_ppb: int
    pins: int
    cross: bool


class Phc:
    """An open hardware clock with the best cross-timestamp that it offers. ``base``: the clock that sets it against.

    ``samples``: readings of which the narrowest is taken, 1..25; each costs about 1 us of bus time.
    """

    def __init__(self, device: ClockDevice, path: str, ticks: Ticks, samples: int = 11) -> None:
        self.path = path
        self.ticks = ticks
        self._device = device
        self._samples = samples
        self.method, self.base = best_method(device, path)

    @property
    def bases(self) -> tuple[Timebase, ...]:
        """The clocks that :meth:`cross` sets it against."""
        return (self.base, Timebase.REALTIME) if self.method is Method.PRECISE else (self.base,)

    def caps(self) -> Caps:
        """Ask what it can do. Raises OSError."""
        return query_caps(self._device)

    def read_ns(self) -> int:
        """Its time, ns. Raises OSError."""
        return self._device.read_ns()

    def cross(self) -> dict[Timebase, Pair]:
        """Take a cross-timestamp; empty when the driver has none just now. Raises HardwareError when it went away."""
        try:
            return measure(self._device, self.method, self.base, self.ticks, self._samples)
        except OSError as error:
            if error.errno in NOT_NOW:
                return {}
            raise went_away(self.path, error) from error

    def close(self) -> None:
        """Close the device."""
        self._device.close()


def query_caps(device: ClockDevice) -> Caps:
    """PTP_CLOCK_GETCAPS. Raises OSError; ENOTTY: no PTP hardware clock."""
    answer = uapi.ptp_clock_caps()
    _ask(device, uapi.PTP_CLOCK_GETCAPS2, uapi.PTP_CLOCK_GETCAPS, answer)
    return Caps(int(answer.max_adj), int(answer.n_pins), bool(answer.cross_timestamping))


def measure(
    device: ClockDevice, method: Method, base: Timebase, ticks: Ticks, samples: int = 1
) -> dict[Timebase, Pair]:
    """Take one cross-timestamp; ``base`` counts for EXTENDED only. Raises OSError."""
    if method is Method.PRECISE:
        precise = uapi.ptp_sys_offset_precise()
        _ask(device, uapi.PTP_SYS_OFFSET_PRECISE2, uapi.PTP_SYS_OFFSET_PRECISE, precise)
        return pairs_of_precise(precise, ticks)
    if method is Method.EXTENDED:
        extended = uapi.ptp_sys_offset_extended(n_samples=samples, clockid=clock_id(base))
        _ask(device, uapi.PTP_SYS_OFFSET_EXTENDED2, uapi.PTP_SYS_OFFSET_EXTENDED, extended)
        pair = pair_of_extended(extended, ticks)
    else:
        offset = uapi.ptp_sys_offset(n_samples=samples)
        _ask(device, uapi.PTP_SYS_OFFSET2, uapi.PTP_SYS_OFFSET, offset)
        base, pair = Timebase.REALTIME, pair_of_offset(offset, ticks)
    return {} if pair is None else {base: pair}


def best_method(device: ClockDevice, path: str) -> tuple[Method, Timebase]:
    """Find out what the driver has, by asking; kernels before 6.12 refuse EXTENDED on MONOTONIC_RAW with EINVAL."""
    last = OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    for method, base in (
        (Method.PRECISE, Timebase.MONOTONIC_RAW),
        (Method.EXTENDED, Timebase.MONOTONIC_RAW),
        (Method.EXTENDED, Timebase.REALTIME),
        (Method.OFFSET, Timebase.REALTIME),
    ):
        try:
            measure(device, method, base, Ticks(1.0, 1.0))
        except OSError as error:
            if error.errno not in NOT_HERE:
                raise went_away(path, error) from error
            last = error
        else:
            return method, base
    raise went_away(path, last) from last


def _ask(device: ClockDevice, request: int, older: int, argument: ctypes.Structure) -> None:
    """Ask by the newer number; kernels before 5.4 know the older one only."""
    try:
        device.ioctl(request, argument)
    except OSError as error:
        if error.errno != errno.ENOTTY:
            raise
        device.ioctl(older, argument)


def open_phc(path: str, ticks: Ticks, open_device: OpenDevice = KernelDevice) -> Phc:
    """Open a hardware clock. Raises HardwareError or ConfigError with what to do about it."""
    try:
        device = open_device(path)
    except OSError as error:
        raise open_failure(path, error) from error
    try:
        query_caps(device)
        return Phc(device, path, ticks)
    except OSError as error:
        device.close()
        raise open_failure(path, error) from error
    except TouchlineError:
        device.close()
        raise


def open_failure(path: str, error: OSError) -> TouchlineError:
    """The words for a clock that cannot be opened."""
    if error.errno in {errno.ENOENT, errno.ENODEV, errno.ENXIO}:
        return HardwareError(f"{path}: no such clock", hint="ls /dev/ptp* shows what is; load the network's driver")
    if error.errno in {errno.EACCES, errno.EPERM}:
        rule = 'SUBSYSTEM=="ptp", GROUP="touchline", MODE="0640"'
        return HardwareError(f"{path}: permission denied", hint=f"let the service read it by a udev rule: {rule}")
    if error.errno == errno.ENOTTY:
        return ConfigError(f"{path} is no PTP hardware clock", hint='set [clock.ptp] phc = "auto" or to /dev/ptpN')
    return HardwareError(f"{path}: open: {error.strerror}", hint="the kernel's log (dmesg) says more")


def went_away(path: str, error: OSError) -> HardwareError:
    """The words for a clock that stops to answer, or never answered."""
    if error.errno in {errno.ENODEV, errno.ENXIO}:
        return HardwareError(f"{path} went away", hint="its network driver was unloaded or reset; see dmesg")
    if error.errno in NOT_HERE:
        return HardwareError(f"{path} offers no cross-timestamp", hint="use another clock or a newer driver")
    return HardwareError(f"{path}: {error.strerror}", hint="the kernel's log (dmesg) says more")


# --- which clock is an interface's ---

SYS_CLASS_NET: Final = Path("/sys/class/net")
AskIndex: TypeAlias = Callable[[str], int]


def ask_index(interface: str) -> int:
    """ETHTOOL_GET_TS_INFO: N of the interface's /dev/ptpN, -1 for none. Raises OSError."""
    name = os.fsencode(interface)
    if len(name) >= uapi.IFNAMSIZ:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), interface)
    info = uapi.ethtool_ts_info(cmd=uapi.ETHTOOL_GET_TS_INFO)
    request = uapi.ifreq(ifr_name=name, ifr_data=ctypes.addressof(info))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, uapi.SIOCETHTOOL, request, True)
    return int(info.phc_index)


def phc_of(interface: str, ask: AskIndex = ask_index, net: Path = SYS_CLASS_NET) -> str:
    """Return the /dev/ptpN of an interface of this network namespace; raises HardwareError when it has none.

    The kernel's word counts (ethtool -T shows the same); where its driver says nothing, what sysfs shows below it.
    """
    try:
        index = ask(interface)
    except OSError as error:
        if error.errno in {errno.ENODEV, errno.ENXIO} or not (net / interface).exists():
            hint = "ip link shows those that are; set [clock.ptp] interface"
            raise HardwareError(f"there is no network interface {interface!r}", hint=hint) from error
        index = -1
    if index < 0:
        found = sorted((net / interface / "device" / "ptp").glob("ptp*"), key=lambda path: (len(path.name), path.name))
        if not found:
            hint = f'ethtool -T {interface} shows none; use another or set [clock.ptp] time_stamping = "software"'
            raise HardwareError(f"interface {interface} has no PTP hardware clock", hint=hint)
        return f"/dev/{found[0].name}"
    return f"/dev/ptp{index}"


def driver_of(interface: str, net: Path = SYS_CLASS_NET) -> str:
    """Name of an interface's driver; empty when sysfs does not tell."""
    try:
        return (net / interface / "device" / "driver").resolve(strict=True).name
    except OSError:
        return ""
