"""Power rails: two INA3221 with the labels of AGX Orin, stock driver, registers set from the host (THM-4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hil.virtual.devices.registers import (
    BUS_MV,
    CHIP_SILENT,
    INA_SHUNT_SUM,
    MAX_BUS_MV,
    SHUNT_UV,
    bus_code,
    chip_offset,
    ina_code,
    ina_word,
    one_of,
    shunt_code,
    within,
)
from hil.virtual.ports import Guest, Registers
from touchline.errors import HardwareError

SHUNT_OHM: Final = 0.002  # shunt-resistor-micro-ohms = <2000> in the device tree


@dataclass(frozen=True, slots=True)
class Rail:
    """One channel of one chip. ``summed``: counted in the chip's shunt sum (in7, curr4)."""

    chip: int
    channel: int
    usual_mv: float
    summed: bool = True


RAILS: Final = {
    "VDD_GPU_SOC": Rail(0x40, 0, 19_000.0),
    "VDD_CPU_CV": Rail(0x40, 1, 19_000.0),
    "VIN_SYS_5V0": Rail(0x40, 2, 5_000.0, summed=False),
    "VDDQ_VDD2_1V8AO": Rail(0x41, 1, 5_000.0),
}
STEP_MA: Final = SHUNT_UV / SHUNT_OHM / 1000  # 20 mA

_READ: Final = """for d in /sys/class/hwmon/hwmon*; do for n in 1 2 3; do
read -r label < "$d/in${{n}}_label" && [ "$label" = {rail} ] && exec cat "$d/in${{n}}_input" "$d/curr${{n}}_input"
done; done 2>/dev/null
exit 66"""


class Rails:
    """Voltage and current of each rail by its label. One step is 8 mV and 20 mA, so power comes in steps of its volts
    times 20 mA (0.38 W at 19 V), as on the board. Ranges: 0..26 V, +-81.9 A."""

    def __init__(self, guest: Guest, registers: Registers) -> None:
        self._guest = guest
        self._registers = registers

    def set_mv(self, rail: str, millivolts: float) -> None:
        """Bus voltage of a rail."""
        found = _rail(rail)
        self._write(found.chip, 2 + 2 * found.channel, ina_word(bus_code(millivolts)))

    def set_ma(self, rail: str, milliamps: float) -> None:
        """Current through a rail's shunt."""
        found = _rail(rail)
        self._write(found.chip, 1 + 2 * found.channel, ina_word(shunt_code(milliamps * SHUNT_OHM * 1000)))
        self._sum(found.chip)

    def set_mw(self, rail: str, milliwatts: float) -> None:
        """Current that makes this power at the rail's present voltage (its usual one if it has none yet)."""
        millivolts = self.set_as(rail)[0]
        if millivolts == 0:
            millivolts = _rail(rail).usual_mv
            self.set_mv(rail, millivolts)
        within(f"rail {rail}", milliwatts, 0.0, millivolts * 81.9, "mW")
        self.set_ma(rail, milliwatts / millivolts * 1000)

    def set_as(self, rail: str) -> tuple[float, float]:
        """Voltage and current in the registers, mV and mA."""
        found = _rail(rail)
        bus = ina_code(self._registers.read32(chip_offset(found.chip, 2 + 2 * found.channel)))
        shunt = ina_code(self._registers.read32(chip_offset(found.chip, 1 + 2 * found.channel)))
        return min(bus * BUS_MV, MAX_BUS_MV), shunt * STEP_MA

    def fail(self, rail: str) -> list[str]:
        """The chip of this rail answers no more (ENXIO); returns all rails that are gone with it."""
        return self._silence(rail, True)

    def recover(self, rail: str) -> list[str]:
        """The chip answers again; returns all rails that are back."""
        return self._silence(rail, False)

    def read(self, rail: str) -> tuple[int, int] | None:
        """What the guest's software reads: mV and mA; None when its read fails."""
        _rail(rail)
        result = self._guest.run(_READ.format(rail=rail), check=False)
        if result.exit_code == 66:
            raise HardwareError(
                f"the node has no rail {rail!r}", hint="is the ina3221 driver loaded? lsmod in the node"
            )
        if result.exit_code:
            return None
        millivolts, milliamps = result.out.split()
        return int(millivolts), int(milliamps)

    def read_mw(self, rail: str) -> float | None:
        """Power as software on the node computes it."""
        found = self.read(rail)
        return None if found is None else found[0] * found[1] / 1000

    def _write(self, chip: int, register: int, word: int) -> None:
        self._registers.write32(chip_offset(chip, register), word)

    def _sum(self, chip: int) -> None:
        codes = [
            ina_code(self._registers.read32(chip_offset(chip, 1 + 2 * rail.channel)))
            for rail in RAILS.values()
            if rail.chip == chip and rail.summed
        ]
        self._write(chip, INA_SHUNT_SUM, ina_word(sum(codes), shift=1))

    def _silence(self, rail: str, silent: bool) -> list[str]:
        chip = _rail(rail).chip
        offset = chip_offset(chip)
        word = self._registers.read32(offset)
        self._registers.write32(offset, word | CHIP_SILENT if silent else word & ~CHIP_SILENT)
        return [name for name, other in RAILS.items() if other.chip == chip]


def _rail(name: str) -> Rail:
    return RAILS[one_of("power rail", name, tuple(RAILS))]
