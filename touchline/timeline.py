"""Time with its error: the only file that calls Python's clock functions.

A time is never a bare number: a :class:`Stamp` says when, how wrong that may be, in which epoch of the clock, and
whether the clock was locked. All stamps are on the PTP timescale (TAI). :class:`Clock` is the port; the system clock
below fills it until a PTP hardware clock does (CLK-1).
"""

from __future__ import annotations

import ctypes
import os
import time
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from touchline.errors import HardwareError

TAI_MINUS_UTC_S: Final = 37  # IERS Bulletin C, in force since 2017-01-01; the kernel's own value wins when it has one
UNSYNCHRONISED_BOUND_NS: Final = (
    1_000_000_000  # what we claim of a clock that nobody disciplines: it may be a second off
)

_STA_UNSYNC: Final = 0x0040  # linux/timex.h
_ADJTIMEX_ERROR: Final = -1
_REFRESH_NS: Final = 1_000_000_000
_TIE_TRIES: Final = 5  # readings of two clocks; at least one of them is not interrupted


class ClockState(str, Enum):
    """How far a stamp's clock can be trusted."""

    LOCKED = "locked"
    HOLDOVER = "holdover"
    UNLOCKED = "unlocked"


@dataclass(frozen=True, slots=True)
class Stamp:
    """A time that says how wrong it may be.

    ``ptp_ns``: ns since the PTP (TAI) epoch. ``bound_ns``: the true time lies within +-bound. ``epoch``: grows by one
    whenever the clock stepped or changed its master, so that stamps of two epochs are never subtracted blindly.
    """

    ptp_ns: int
    bound_ns: int
    epoch: int
    state: ClockState


class Timebase(str, Enum):
    """The clocks of this machine that a reading may come from, each in ns.

    ``TSC``: the Arm system counter in which Tegra's video input stamps start of frame; no clock of the kernel's table.
    """

    MONOTONIC = "monotonic"
    MONOTONIC_RAW = "monotonic_raw"
    REALTIME = "realtime"
    TSC = "tsc"


class Clock(Protocol):
    """What maps this machine's own times to PTP time."""

    def now(self) -> Stamp:
        """Return the present moment."""
        ...

    def at(self, base_ns: int, timebase: Timebase = Timebase.MONOTONIC) -> Stamp:
        """Return the PTP time of a recent or near-future reading of one of this machine's clocks.

        Raises :class:`HardwareError` for a timebase that nothing maps here.
        """
        ...


def monotonic_ns() -> int:
    """CLOCK_MONOTONIC, ns: for intervals and deadlines on one machine, across its processes."""
    return time.monotonic_ns()


def read_clock_ns(clock_id: int) -> int:
    """Read any clock by its clockid_t, ns: CLOCK_*, or a PTP hardware clock's descriptor as one (clock_gettime(2))."""
    return time.clock_gettime_ns(clock_id)


_CLOCK_IDS: Final = {
    Timebase.MONOTONIC: time.CLOCK_MONOTONIC,
    Timebase.MONOTONIC_RAW: time.CLOCK_MONOTONIC_RAW,
    Timebase.REALTIME: time.CLOCK_REALTIME,
}


def clock_id(timebase: Timebase) -> int:
    """Return the clockid_t of a timebase; raises HardwareError for ``TSC``, which the kernel does not offer."""
    found = _CLOCK_IDS.get(timebase)
    if found is None:
        raise HardwareError(f"{timebase.value} is no clock of the kernel", hint="take its pairs from /dev/nvpps0")
    return found


@dataclass(frozen=True, slots=True)
class Tie:
    """Two clocks of this machine at one moment: ``to_ns - from_ns`` is ``difference_ns``, give or take ``half_ns``."""

    difference_ns: int
    half_ns: int


def tie(from_base: Timebase, to_base: Timebase, tries: int = _TIE_TRIES) -> Tie:
    """Return what to add to a reading of ``from_base`` to have ``to_base``: the narrowest bracket of a few tries."""
    if from_base is to_base:
        return Tie(0, 0)
    outer, inner = clock_id(from_base), clock_id(to_base)
    best = Tie(0, 1 << 62)
    for _ in range(tries):
        before, between, after = read_clock_ns(outer), read_clock_ns(inner), read_clock_ns(outer)
        half_ns = (after - before + 1) // 2
        if half_ns < best.half_ns:
            best = Tie(between - (before + after) // 2, half_ns)
    return best


def asleep_ns() -> int:
    """How long this machine has been suspended since it booted, ns, to the millisecond: all its clocks stood still.

    A thread that has to wait between the two readings finds less than there is: the most of a few is right.
    """
    differences = [time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns() for _ in range(_TIE_TRIES)]
    return round(max(differences) / 1e6) * 1_000_000


def sleep_until(deadline_monotonic_ns: int) -> None:
    """Sleep until CLOCK_MONOTONIC reaches the deadline; returns at once if it has passed."""
    remaining_ns = deadline_monotonic_ns - time.monotonic_ns()
    if remaining_ns > 0:
        time.sleep(remaining_ns / 1e9)


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2), 64-bit Linux."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", ctypes.c_long * 2),
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long),
        ("stbcnt", ctypes.c_long),
        ("tai", ctypes.c_int),
        ("padding", ctypes.c_int * 11),
    )


@dataclass(frozen=True, slots=True)
class KernelTime:
    """What the kernel says of its own clock: is it disciplined, its maximum error in us, its TAI offset in s."""

    synchronised: bool
    max_error_us: int
    tai_offset_s: int


def read_kernel_time() -> KernelTime:
    """Ask adjtimex(2), changing nothing; a kernel that refuses counts as unsynchronised."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = _Timex()
    if libc.adjtimex(ctypes.byref(state)) == _ADJTIMEX_ERROR:
        return KernelTime(synchronised=False, max_error_us=0, tai_offset_s=0)
    return KernelTime(not state.status & _STA_UNSYNC, int(state.maxerror), int(state.tai))


def system_bound(kernel: KernelTime) -> tuple[int, ClockState]:
    """Return (bound_ns, state) of a system clock that nothing ties to PTP.

    Never LOCKED: NTP's maximum error is a claim about UTC, not a PTP servo. An undisciplined clock claims one second.
    """
    if not kernel.synchronised:
        return UNSYNCHRONISED_BOUND_NS, ClockState.UNLOCKED
    return max(kernel.max_error_us * 1000, 1_000), ClockState.UNLOCKED


class SystemClock:
    """CLOCK_REALTIME plus the TAI offset, its bound read from the kernel about once a second.

    The mapping from monotonic to PTP time is the narrowest bracket of a few; it is refreshed with the bound. A jump of
    the system clock of more than the widths of both brackets plus 1 ms begins a new epoch.
    """

    def __init__(self) -> None:
        self._epoch = 0
        self._offset_ns = self._half_ns = 0
        self._bound_ns = UNSYNCHRONISED_BOUND_NS
        self._state = ClockState.UNLOCKED
        self._refreshed_ns = 0
        self._refresh(time.monotonic_ns())

    def now(self) -> Stamp:
        """Return the present moment."""
        return self.at(time.monotonic_ns())

    def at(self, base_ns: int, timebase: Timebase = Timebase.MONOTONIC) -> Stamp:
        """Return the PTP time of a reading; one of another clock than CLOCK_MONOTONIC is tied to that first."""
        now_ns = time.monotonic_ns()
        if now_ns - self._refreshed_ns > _REFRESH_NS:
            self._refresh(now_ns)
        link = tie(timebase, Timebase.MONOTONIC)
        ptp_ns = base_ns + link.difference_ns + self._offset_ns
        return Stamp(ptp_ns, self._bound_ns + link.half_ns, self._epoch, self._state)

    def _refresh(self, now_ns: int) -> None:
        kernel = read_kernel_time()
        link = tie(Timebase.MONOTONIC, Timebase.REALTIME)
        offset_ns = link.difference_ns + (kernel.tai_offset_s or TAI_MINUS_UTC_S) * 1_000_000_000
        bound_ns, self._state = system_bound(kernel)
        self._bound_ns = bound_ns + 2 * link.half_ns
        widths_ns = 2 * (link.half_ns + self._half_ns)
        if self._refreshed_ns and abs(offset_ns - self._offset_ns) > 1_000_000 + widths_ns:
            self._epoch += 1
        self._offset_ns, self._half_ns = offset_ns, link.half_ns
        self._refreshed_ns = now_ns


def utc_s() -> float:
    """Seconds since 1970 of the system clock, UTC: for dates on certificates and files, never for stamps."""
    return time.time()


def utc_text() -> str:
    """The wall-clock time as ``2026-11-21T10:00:00Z``, for reports and logs."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def new_boot_id() -> bytes:
    """A random 16-byte id of this start of the agent."""
    return os.urandom(16)
