"""Thermal zones: stock drivers on RAM-backed sensors (THM-1)."""

from __future__ import annotations

from dataclasses import dataclass

from hil.virtual.devices import sysfs
from hil.virtual.devices.registers import (
    ZONES,
    failed_temperature,
    temperature_c,
    temperature_word,
    within,
    zone_offset,
)
from hil.virtual.ports import Guest, Registers
from touchline.errors import HardwareError


@dataclass(frozen=True, slots=True)
class Ramp:
    """A straight line from one temperature to another; the caller brings the time."""

    thermal: Thermal
    zone: str
    from_c: float
    to_c: float
    c_per_s: float

    @property
    def duration_s(self) -> float:
        """How long the way takes."""
        return abs(self.to_c - self.from_c) / self.c_per_s

    def at_c(self, elapsed_s: float) -> float:
        """Temperature that long after the start."""
        share = 1.0 if self.duration_s == 0 else min(1.0, max(0.0, elapsed_s / self.duration_s))
        return self.from_c + share * (self.to_c - self.from_c)

    def step(self, elapsed_s: float) -> bool:
        """Set the temperature due now; True once the end is reached."""
        self.thermal.set_c(self.zone, self.at_c(elapsed_s))
        return elapsed_s >= self.duration_s


class Thermal:
    """The sensors behind cpu-, gpu-, soc0- and tj-thermal, 0.25 C steps, -50..205.75 C.

    The governor (step_wise) raises the fan only while the trend rises: a jump raises it by one level, a ramp by all.
    At 104.5 C on cpu-thermal the kernel powers the guest off, as on the board.
    """

    def __init__(self, guest: Guest, registers: Registers) -> None:
        self._guest = guest
        self._registers = registers

    def set_c(self, zone: str, temp_c: float) -> None:
        """Set what a zone's sensor measures; a failed one works again."""
        self._registers.write32(zone_offset(zone), temperature_word(temp_c))

    def set_all_c(self, temp_c: float) -> None:
        """Set all zones."""
        for zone in ZONES:
            self.set_c(zone, temp_c)

    def ramp_c(self, zone: str, to_c: float, *, c_per_s: float = 5.0) -> Ramp:
        """A ramp from the present temperature; call its ``step`` with the seconds since its start, once a second."""
        within("ramp", c_per_s, 0.01, 1000.0, "C/s")
        from_c = temperature_c(self._registers.read32(zone_offset(zone)))
        if from_c is None:
            raise HardwareError(f"{zone} has failed: no temperature to start from", hint=f"call recover({zone!r})")
        temperature_word(to_c)
        return Ramp(self, zone, from_c, to_c, c_per_s)

    def fail(self, zone: str) -> None:
        """Clear the sensor's valid bits: every read of the guest ends with EIO."""
        offset = zone_offset(zone)
        self._registers.write32(offset, failed_temperature(self._registers.read32(offset)))

    def recover(self, zone: str) -> None:
        """The sensor is valid again, at the temperature it had."""
        offset = zone_offset(zone)
        self._registers.write32(offset, self._registers.read32(offset) | temperature_word(-50.0))

    def read_c(self, zone: str) -> float | None:
        """What the guest's software reads; None when its read fails."""
        zone_offset(zone)
        millidegrees = sysfs.number(sysfs.zone(self._guest, zone))
        return None if millidegrees is None else millidegrees / 1000
