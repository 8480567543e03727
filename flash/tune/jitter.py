"""How punctual this machine is: a timer's wake-ups as cyclictest takes them, and packets over the loopback.

The loopback has no network card and no wire: the figures are the host's share of a packet's jitter, and the least there
can be. Figures are taken from Python and hold what Python costs; ``clock_read_ns`` says how much that is for a reading.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from flash.tune.measuring import PRIORITY, Measurer
from touchline.errors import ResourceError
from touchline.stats import percentile
from touchline.timeline import monotonic_ns

RATE_HZ: Final = 1000
PACKET_BYTES: Final = 200  # about a beat of the failover service
_HEAD: Final = struct.Struct("<qq")  # number, sent_ns
_PERIOD_NS: Final = 1_000_000_000 // RATE_HZ
_LEAD_NS: Final = 20_000_000  # from the start of a process to its first tick
_IDLE_S: Final = 1  # a receiver that hears nothing for so long is done
_CLOCK_MONOTONIC: Final = 1  # <time.h>
_TFD_TIMER_ABSTIME: Final = 1  # <sys/timerfd.h>
_CLOCK_READS: Final = 2000


@dataclass(frozen=True, slots=True)
class Spread:
    """Distribution of one delay, us."""

    count: int
    min_us: float
    median_us: float
    p99_us: float
    p999_us: float
    max_us: float

    @property
    def jitter_us(self) -> float:
        """How much later than the quickest, 999 times of 1000."""
        return round(self.p999_us - self.min_us, 2)


@dataclass(frozen=True, slots=True)
class Report:
    """Both measurements and the conditions under which they were taken.

    ``scheduler``: what was granted. ``clock_read_ns``: median cost of one reading of the clock. ``interarrival_us``:
    RFC 3550's running mean of the differences between transits, at the end.
    """

    timer: Spread
    packets: Spread
    lost: int
    interarrival_us: float
    scheduler: str
    memory_locked: bool
    cpu: int | None
    kernel: str
    clock_read_ns: int

    @property
    def jitter_us(self) -> float:
        """The worse of both."""
        return max(self.timer.jitter_us, self.packets.jitter_us)


def spread(delays_ns: Sequence[int]) -> Spread:
    """The distribution of delays, which must not be empty."""
    ordered = sorted(value / 1000 for value in delays_ns)
    p50, p99, p999 = (round(percentile(ordered, part), 2) for part in (0.5, 0.99, 0.999))
    return Spread(len(ordered), round(ordered[0], 2), p50, p99, p999, round(ordered[-1], 2))


def interarrival_us(transits_ns: Sequence[int]) -> float:
    """RFC 3550, 6.4.1: J += (|D| - J) / 16 over consecutive packets, us."""
    jitter = 0.0
    for before, after in pairwise(transits_ns):
        jitter += (abs(after - before) - jitter) / 16
    return round(jitter / 1000, 2)


def measure(seconds: float, cpu: int | None = None) -> Report:
    """Measure the timer, then the packets, each for ``seconds``. ``cpu``: where timer and receiver run; None: anywhere.

    Raises ResourceError when the measuring processes cannot run or no packet comes back.
    """
    ticks = max(1, round(seconds * RATE_HZ))
    pinned = None if cpu is None else frozenset({cpu})
    fifo, locked, read_ns = Measurer(_probe, pinned, seconds).result()
    timer = Measurer(lambda note: _timer(ticks), pinned, seconds).result()
    transits = _packets(ticks, pinned, seconds)
    if not timer or not transits:
        raise ResourceError("no packet came back over 127.0.0.1", hint="bring the loopback up: ip link set lo up")
    return Report(
        timer=spread(timer),
        packets=spread(transits),
        lost=ticks - len(transits),
        interarrival_us=interarrival_us(transits),
        scheduler=f"SCHED_FIFO {PRIORITY}" if fifo else "SCHED_OTHER (SCHED_FIFO was refused: run it with sudo)",
        memory_locked=bool(locked),
        cpu=cpu,
        kernel=f"{os.uname().release} {os.uname().version}",
        clock_read_ns=read_ns,
    )


# --- jobs of the measuring processes --------------------------------------------------------------------------------


def _probe(granted: tuple[bool, bool]) -> array[int]:
    """What was granted to a measuring process, and the cost of reading the clock."""
    reads = array("q", bytes(8 * _CLOCK_READS))
    for index in range(_CLOCK_READS):
        reads[index] = monotonic_ns()
    gaps = sorted(after - before for before, after in pairwise(reads))
    return array("q", [*map(int, granted), gaps[len(gaps) // 2]])


def _timer(ticks: int) -> array[int]:
    late = array("q", bytes(8 * ticks))
    for number, lateness_ns in _ticks(ticks):
        late[number] = lateness_ns
    return late


def _ticks(count: int) -> Iterator[tuple[int, int]]:
    """(number, lateness in ns) of each tick of an absolute timer. A tick that was slept through counts as well."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    first_ns = monotonic_ns() + _LEAD_NS
    # struct itimerspec: interval, then first expiry, each as seconds and nanoseconds
    spec = struct.pack("@4l", *divmod(_PERIOD_NS, 10**9), *divmod(first_ns, 10**9))
    if libc.timerfd_settime(descriptor, _TFD_TIMER_ABSTIME, spec, None) != 0:
        raise OSError(ctypes.get_errno(), "timerfd_settime")
    number = 0
    while number < count:
        passed = int.from_bytes(os.read(descriptor, 8), "little")
        now_ns = monotonic_ns()
        for missed in range(number, min(number + passed, count)):
            yield missed, now_ns - first_ns - missed * _PERIOD_NS
        number += passed
    os.close(descriptor)


def _packets(ticks: int, pinned: frozenset[int] | None, seconds: float) -> list[int]:
    """Transit times, ns, from before ``send`` in one process to after ``recv`` in another, in order of sending."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inbox,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outbox,
    ):
        inbox.bind(("127.0.0.1", 0))
        inbox.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@2l", _IDLE_S, 0))
        outbox.connect(inbox.getsockname())
        others = None if pinned is None else frozenset(os.sched_getaffinity(0) - pinned) or None
        receiver = Measurer(lambda note: _receive(inbox, ticks), pinned, seconds)
        Measurer(lambda note: _send(outbox, ticks), others, seconds).result()
        flat = receiver.result()
    by_number = dict(zip(flat[::2], flat[1::2], strict=True))
    return [by_number[number] for number in sorted(by_number)]


def _send(outbox: socket.socket, ticks: int) -> array[int]:
    padding = bytes(PACKET_BYTES - _HEAD.size)
    for number, _ in _ticks(ticks):
        outbox.send(_HEAD.pack(number, monotonic_ns()) + padding)
    return array("q")


def _receive(inbox: socket.socket, ticks: int) -> array[int]:
    found = array("q")
    buffer = bytearray(PACKET_BYTES)
    number = -1
    while number < ticks - 1:
        try:
            inbox.recv_into(buffer)
        except BlockingIOError:  # SO_RCVTIMEO ran out
            break
        now_ns = monotonic_ns()
        number, sent_ns = _HEAD.unpack_from(buffer)
        found.extend((number, now_ns - sent_ns))
    return found
