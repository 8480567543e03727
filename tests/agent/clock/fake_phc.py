"""A pretended kernel with clocks that have physics: rates, ticks, steps, latencies; truth is known exactly.

Time is that of an ideal MONOTONIC_RAW, in ns, as a fraction. Answers are packed by hand to the layouts that the
kernel's headers show, not by the structures under test.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import cycle
from typing import Any
from unittest import mock

from agent.clock.mapping import Pair
from touchline import timeline
from touchline.timeline import Timebase

TIME = struct.Struct("<qII")
PPB = Fraction(1, 10**9)


def fail(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Machine:
    """The clocks of one machine. Every reading takes the next of ``latencies_ns`` before and after it."""

    def __init__(self, *, base_tick: Fraction | int = 1, phc_tick: Fraction | int = 1) -> None:
        self.now = Fraction(5_000_000_000_123)
        self.base_tick, self.phc_tick = Fraction(base_tick), Fraction(phc_tick)
        self.slew_ppb = 0  # of MONOTONIC and REALTIME against RAW
        self.mono_offset = Fraction(-77_000)
        self.real_offset = Fraction(1_763_700_000_000_000_000)  # REALTIME less MONOTONIC
        self.tsc_offset = Fraction(29_000_000_000)  # TSC less RAW
        self._phc = (self.now, Fraction(1_763_700_037_000_000_000), 0)  # since, its time then, its rate less one in ppb
        self.latencies_ns: Iterator[int] = cycle([40, 90, 55])

    def run(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)

    def set_phc(self, ns: Fraction | int, rate_ppb: int = 0) -> None:
        self._phc = (self.now, Fraction(ns), rate_ppb)

    def step_phc(self, ns: int) -> None:
        self.set_phc(self.phc_at(self.now) + ns, self._phc[2])

    def phc_at(self, now: Fraction) -> Fraction:
        since, value, rate_ppb = self._phc
        return value + (now - since) * (1 + rate_ppb * PPB)

    def clock_at(self, base: Timebase, now: Fraction) -> Fraction:
        if base is Timebase.MONOTONIC_RAW:
            return now
        if base is Timebase.TSC:
            return now + self.tsc_offset
        mono = now * (1 + self.slew_ppb * PPB) + self.mono_offset
        return mono if base is Timebase.MONOTONIC else mono + self.real_offset

    def moment_of(self, base: Timebase, reading: Fraction | int) -> Fraction:
        if base is Timebase.MONOTONIC_RAW:
            return Fraction(reading)
        if base is Timebase.TSC:
            return reading - self.tsc_offset
        mono = reading - self.real_offset if base is Timebase.REALTIME else reading
        return (mono - self.mono_offset) / (1 + self.slew_ppb * PPB)

    def error_ns(self, base: Timebase, pair: Pair) -> float:
        """How far the clock truly was from the pair's, when the base truly was at the pair's."""
        return float(self.phc_at(self.moment_of(base, pair.base_ns)) - pair.ptp_ns)

    def wait(self) -> None:
        self.now += next(self.latencies_ns)

    def read(self, base: Timebase) -> int:
        self.wait()
        counted = self.now // self.base_tick * self.base_tick
        return int(self.clock_at(base, counted) // 1)

    def read_phc(self) -> int:
        self.wait()
        return int(self.phc_at(self.now) // self.phc_tick * self.phc_tick // 1)

    def read_id(self, clock_id: int) -> int:
        return self.read(next(base for base, number in timeline._CLOCK_IDS.items() if number == clock_id))

    @contextmanager
    def in_charge(self) -> Iterator[Machine]:
        """This machine's clocks are what the timeline reads."""
        with mock.patch.object(timeline, "read_clock_ns", self.read_id):
            yield self


REQUESTS = {
    (1, 80): "getcaps",
    (5, 832): "offset",
    (8, 64): "precise",
    (9, 1216): "extended",
    (10, 80): "getcaps",
    (14, 832): "offset",
    (17, 64): "precise",
    (18, 1216): "extended",
}
EVENTS = {(0, 1): "<I4xQQQIIQ", (0, 2): "<I4xQQQIIQ", (0, 4): "<I4xQQQQIIQ"}


class FakeDevice:
    """A PTP hardware clock's device. ``methods``: what the driver has. ``second``: the kernel knows the newer numbers.

    ``chooses``: EXTENDED on other clocks than REALTIME (Linux 6.12). ``errors``: raised by method.
    """

    def __init__(
        self, machine: Machine, *methods: str, second: bool = True, chooses: bool = True, caps: bool = True
    ) -> None:
        self.machine, self.methods, self.second, self.chooses, self.caps = machine, methods, second, chooses, caps
        self.errors: dict[str, int] = {}
        self.gone = self.closed = False
        self.asked: list[str] = []

    def ioctl(self, request: int, argument: ctypes.Structure) -> None:
        if self.gone:
            raise fail(errno.ENODEV)
        number, size = request & 0xFF, request >> 16 & 0x3FFF
        name = REQUESTS.get((number, size))
        if request >> 8 & 0xFF != ord("=") or name is None or (number >= 10 and not self.second):
            raise fail(errno.ENOTTY)
        assert ctypes.sizeof(argument) == size
        self.asked.append(name)
        if name in self.errors:
            raise fail(self.errors[name])
        if name == "getcaps" and not self.caps:
            raise fail(errno.ENOTTY)
        if name != "getcaps" and name not in self.methods:
            raise fail(errno.EOPNOTSUPP)
        getattr(self, name)(memoryview(argument).cast("B"))

    def read_ns(self) -> int:
        if self.gone:
            raise fail(errno.ENODEV)
        return self.machine.read_phc()

    def close(self) -> None:
        self.closed = True

    def getcaps(self, raw: memoryview) -> None:
        struct.pack_into("<8i48x", raw, 0, 62_499_999, 0, 0, 0, 0, 4, int("precise" in self.methods), 0)

    def precise(self, raw: memoryview) -> None:
        machine = self.machine
        machine.wait()
        counted = machine.now // machine.base_tick * machine.base_tick
        phc = int(machine.phc_at(machine.now) // machine.phc_tick * machine.phc_tick // 1)
        real, mono = (int(machine.clock_at(base, counted) // 1) for base in (Timebase.REALTIME, Timebase.MONOTONIC_RAW))
        for index, value in enumerate((phc, real, mono)):
            self._put(raw, 16 * index, value)
        machine.wait()

    def extended(self, raw: memoryview) -> None:
        count, clock, *rest = struct.unpack_from("<IiII", raw)
        if count > 25 or any(rest) or (clock != 0 and not (self.chooses and clock in {1, 4})):
            raise fail(errno.EINVAL)
        base = {0: Timebase.REALTIME, 1: Timebase.MONOTONIC, 4: Timebase.MONOTONIC_RAW}[clock]
        for index in range(count):
            for place in range(3):
                value = self.read_ns() if place == 1 else self.machine.read(base)
                self._put(raw, 16 + 48 * index + 16 * place, value)

    def offset(self, raw: memoryview) -> None:
        count, *_ = struct.unpack_from("<I", raw)
        if count > 25:
            raise fail(errno.EINVAL)
        for index in range(2 * count + 1):
            value = self.read_ns() if index % 2 else self.machine.read(Timebase.REALTIME)
            self._put(raw, 16 + 16 * index, value)

    @staticmethod
    def _put(raw: memoryview, offset: int, ns: int) -> None:
        TIME.pack_into(raw, offset, *divmod(ns, 10**9), 0)


class FakeNvpps:
    """/dev/nvpps0. ``unit``: what the counter is given in, as the drivers do it: ns, ticks, twice, or nonsense."""

    def __init__(self, machine: Machine, *, api: tuple[int, int] = (0, 4), unit: str = "ns", tick_ns: int = 32) -> None:
        self.machine, self.api, self.unit, self.tick_ns = machine, api, unit, tick_ns
        self.number, self.tsc, self.ptp = 0, 0, 0
        self.mode, self.latency_ns = 2, 0
        self.running = True  # PTP on the interface
        self.gone = self.closed = False

    def pulse(self) -> None:
        """The event of this moment."""
        machine = self.machine
        ticks = int(machine.clock_at(Timebase.TSC, machine.now) // self.tick_ns)
        self.number = (self.number + 1) % (1 << 32)
        self.tsc = (
            ticks * {"ns": self.tick_ns, "ticks": 1, "twice": self.tick_ns**2, "nonsense": self.tick_ns}[self.unit]
        )
        self.ptp = int(machine.phc_at(machine.now) // machine.phc_tick * machine.phc_tick // 1)
        if self.unit == "nonsense":  # L4T 36 with a time-stamped pin: ticks less nanoseconds, times the tick
            self.ptp = (self.ptp - (ticks - self.tsc) * self.tick_ns) % (1 << 64)
        if not self.running:
            self.tsc = self.ptp = 0

    def ioctl(self, request: int, argument: ctypes.Structure) -> None:
        if self.gone:
            raise fail(errno.ENODEV)
        raw: Any = memoryview(argument).cast("B")
        if request == 0x80087001:
            struct.pack_into("<4I", raw, 0, 0, 2, *self.api)
        elif request == 0x80087004:
            layout = EVENTS[self.api]
            second = (123,) if self.api >= (0, 4) else ()
            mode = self.mode if self.number else 0
            fields = (self.number, self.tsc, self.ptp, *second, self.tick_ns, mode, 0, self.latency_ns)
            struct.pack_into(layout, raw, 0, *fields)
        else:
            raise fail(errno.ENOTTY)

    def read_ns(self) -> int:
        raise fail(errno.EINVAL)

    def close(self) -> None:
        self.closed = True
