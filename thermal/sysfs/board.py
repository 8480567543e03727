"""The real node as a :class:`thermal.types.Board`."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeVar

from thermal.aside import Aside
from thermal.sysfs.clocks import SysfsClocks
from thermal.sysfs.fan import SysfsFan, read_rpm
from thermal.sysfs.files import Files, read_number
from thermal.sysfs.find import Finder
from thermal.sysfs.rails import read_counters, read_rails
from thermal.sysfs.table import BOARD_ZONE
from thermal.types import Domain, Raw, Sample

FULL_PCT: Final = 100.0
WAIT_S: Final = 0.1  # a whole look takes some ms; the shortest period is 0.1 s
SILENT: Final = Raw(None, errno.ETIMEDOUT)  # a device whose read has not come back

NameT = TypeVar("NameT", bound=str)


class FanDaemon(Protocol):
    """The vendor's fan daemon; :class:`thermal.vendor.Vendor`."""

    def stop(self) -> str | None: ...

    def start(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Bus:
    """What hangs on I2C: power monitors, and the board's own sensor where there is one."""

    power_w: Mapping[str, Raw] = field(default_factory=dict)
    ambient_c: Raw | None = None


@dataclass(frozen=True, slots=True)
class Chip:
    """Of the chip, and not needed for the duty: the tachometer, over-current counters."""

    fan_rpm: Raw = SILENT
    oc_events: Mapping[str, Raw] = field(default_factory=dict)


class SysfsBoard:
    """Zones, fan, tachometer, rails, counters and clocks by name, looked up anew in each sample.

    What the duty does not need at once is read by threads, so that a bus that hangs costs its own values alone.
    ``memory``: where the clocks' own limits are kept while they are lowered (:class:`SysfsClocks`). ``wait_s``: how
    long a sample waits for each.
    """

    def __init__(self, files: Files, vendor: FanDaemon, memory: Path | None = None, *, wait_s: float = WAIT_S) -> None:
        self._files = files
        self._vendor = vendor
        self._finder = Finder(files)
        self._fan = SysfsFan(files, self._finder)
        self._clocks = SysfsClocks(files, memory)
        self.wait_s = wait_s
        chips, buses = Finder(files), Finder(files)  # one for each thread
        self._chip = Aside("thermal-chip", lambda: Chip(read_rpm(files, chips), read_counters(files, chips)))
        self._limits = Aside("thermal-clocks", self._clocks.limits)
        self._bus = Aside("thermal-bus", lambda: Bus(read_rails(files, buses), self._around(buses)))

    def sample(self, now_ns: int) -> Sample:
        """Look at everything once. What is not there is missing; what cannot be read has its errno.

        What does not come back has ETIMEDOUT, after one more sample in which the last look stands for this one.
        """
        for aside in (self._chip, self._bus, self._limits):
            aside.ask()
        zones = {name: self._temperature(folder) for name, folder in self._finder.zones().items()}
        duty = self._fan.duty_pct()
        chip = self._chip.answer(self.wait_s) or _silent_chip(self._chip.last or Chip())
        bus = self._bus.answer(self.wait_s) or _silent_bus(self._bus.last or Bus())
        clocks = self._limits.answer(self.wait_s) or _silent(self._limits.last or {})
        return Sample(
            at_ns=now_ns,
            zones_c=zones,
            fan_rpm=chip.fan_rpm,
            duty_pct=duty,
            power_w=bus.power_w,
            clock_hz=clocks,
            oc_events=chip.oc_events,
            ambient_c=bus.ambient_c,
        )

    def set_duty(self, duty_pct: float) -> str | None:
        """Drive the fan, switched on whatever it was; None when the register has it."""
        return self._fan.set_duty(duty_pct)

    def set_caps(self, cap_hz: Mapping[Domain, float]) -> str | None:
        """Cap these domains, release the others; None when every clock took it."""
        return self._clocks.set_caps(cap_hz)

    def take(self) -> str | None:
        """Full speed, then the vendor's daemon stops, then full speed again: it may have written on its way out."""
        first = self._fan.set_duty(FULL_PCT)
        stopped = self._vendor.stop()
        return _joined(stopped, self._fan.set_duty(FULL_PCT) or None, first if stopped else None)

    def give_back(self) -> str | None:
        """Full speed, the clocks as they were found, then the vendor's daemon, where the machine has one."""
        said = _joined(self._fan.set_duty(FULL_PCT), self._clocks.set_caps({}))
        self._vendor.start()
        return said

    def close(self) -> None:
        """End the threads."""
        for aside in (self._chip, self._bus, self._limits):
            aside.close()

    def _around(self, finder: Finder) -> Raw | None:
        folder = finder.zone(BOARD_ZONE)
        return None if folder is None else self._temperature(folder)

    def _temperature(self, folder: str) -> Raw:
        return read_number(self._files, f"{folder}/temp", 1e-3)


def _silent_chip(last: Chip) -> Chip:
    """A chip that was like this and says nothing now."""
    return Chip(SILENT, _silent(last.oc_events))


def _silent_bus(last: Bus) -> Bus:
    return Bus(_silent(last.power_w), None if last.ambient_c is None else SILENT)


def _silent(names: Iterable[NameT]) -> dict[NameT, Raw]:
    return dict.fromkeys(names, SILENT)


def _joined(*said: str | None) -> str | None:
    return "; ".join(dict.fromkeys(one for one in said if one)) or None
