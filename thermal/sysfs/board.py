"""The real node as a :class:`thermal.types.Board`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from thermal.sysfs.clocks import SysfsClocks
from thermal.sysfs.fan import SysfsFan
from thermal.sysfs.files import Files, read_number
from thermal.sysfs.find import Finder
from thermal.sysfs.rails import read_counters, read_rails
from thermal.sysfs.table import BOARD_ZONE
from thermal.types import Domain, Raw, Sample

FULL_PCT = 100.0


class FanDaemon(Protocol):
    """The vendor's fan daemon; :class:`thermal.vendor.Vendor`."""

    def stop(self) -> str | None: ...

    def start(self) -> bool: ...


class SysfsBoard:
    """Zones, fan, tachometer, rails, counters and clocks by name, looked up anew in each sample.

    ``memory``: where the clocks' own limits are kept while they are lowered (:class:`SysfsClocks`).
    """

    def __init__(self, files: Files, vendor: FanDaemon, memory: Path | None = None) -> None:
        self._files = files
        self._vendor = vendor
        self._finder = Finder(files)
        self._fan = SysfsFan(files, self._finder)
        self._clocks = SysfsClocks(files, memory)

    def sample(self, now_ns: int) -> Sample:
        """Look at everything once. What is not there is missing; what cannot be read has its errno."""
        zones = {name: self._temperature(folder) for name, folder in self._finder.zones().items()}
        around = self._finder.zone(BOARD_ZONE)
        return Sample(
            at_ns=now_ns,
            zones_c=zones,
            fan_rpm=self._fan.rpm(),
            duty_pct=self._fan.duty_pct(),
            power_w=read_rails(self._files, self._finder),
            clock_hz=self._clocks.limits(),
            oc_events=read_counters(self._files, self._finder),
            ambient_c=None if around is None else self._temperature(around),
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
        """Nothing is held open."""

    def _temperature(self, folder: str) -> Raw:
        return read_number(self._files, f"{folder}/temp", 1e-3)


def _joined(*said: str | None) -> str | None:
    return "; ".join(dict.fromkeys(one for one in said if one)) or None
