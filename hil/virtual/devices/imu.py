"""The accelerometer: a LIS3DH with the stock st_accel driver, registers set from the host (PRT-1)."""

from __future__ import annotations

from typing import Final

from hil.virtual.devices.registers import (
    CHIP_SILENT,
    LIS_FULL_SCALE,
    LIS_OUT_X_LOW,
    chip_offset,
    lis_bytes,
    lis_g,
    lis_step_mg,
)
from hil.virtual.ports import Guest, Registers
from touchline.errors import HardwareError

ADDRESS: Final = 0x19
NAME: Final = "lis3dh"
STANDARD_G: Final = 9.80665  # m/s^2

_READ: Final = f"""for d in /sys/bus/iio/devices/iio:device*; do
read -r name < "$d/name" && [ "$name" = {NAME} ] && cd "$d" && exec cat \\
in_accel_x_raw in_accel_y_raw in_accel_z_raw in_accel_x_scale in_accel_y_scale in_accel_z_scale
done 2>/dev/null
exit 66"""


class Imu:
    """Acceleration in g, 1 mg steps at the driver's default of +-2 g, where the chip saturates.

    The guest widens the range by writing ``in_accel_x_scale``; call :meth:`set_g` again afterwards, since the steps of
    the registers have changed with it.
    """

    def __init__(self, guest: Guest, registers: Registers) -> None:
        self._guest = guest
        self._registers = registers

    def set_g(self, x: float, y: float, z: float) -> None:
        """What the chip measures from now on; at rest (0, 0, 1)."""
        step_mg = self._step_mg()
        for axis, value in enumerate((x, y, z)):
            for byte, part in enumerate(lis_bytes(value, step_mg)):
                self._registers.write32(chip_offset(ADDRESS, LIS_OUT_X_LOW + 2 * axis + byte), part)

    def set_as(self) -> tuple[float, float, float]:
        """The acceleration in the registers, g."""
        step_mg = self._step_mg()
        raw = [self._registers.read32(chip_offset(ADDRESS, LIS_OUT_X_LOW + byte)) for byte in range(6)]
        x, y, z = (lis_g(raw[2 * axis], raw[2 * axis + 1], step_mg) for axis in range(3))
        return x, y, z

    def fail(self) -> None:
        """The chip answers no more: the guest's reads fail with ENXIO."""
        self._registers.write32(chip_offset(ADDRESS), self._registers.read32(chip_offset(ADDRESS)) | CHIP_SILENT)

    def recover(self) -> None:
        """The chip answers again."""
        self._registers.write32(chip_offset(ADDRESS), self._registers.read32(chip_offset(ADDRESS)) & ~CHIP_SILENT)

    def read_g(self) -> tuple[float, float, float] | None:
        """What the guest's software reads through IIO; None when a read fails.

        The driver starts at 1 Hz, where it takes 1.6 s for each axis; ``sampling_frequency`` is the guest's to raise.
        """
        result = self._guest.run(_READ, timeout_s=60.0, check=False)
        if result.exit_code == 66:
            raise HardwareError(
                f"the node has no accelerometer {NAME!r}", hint="is st_accel_i2c loaded? lsmod in the node"
            )
        if result.exit_code:
            return None
        numbers = [float(line) for line in result.out.split()]
        x, y, z = (raw * scale / STANDARD_G for raw, scale in zip(numbers[:3], numbers[3:], strict=True))
        return x, y, z

    def _step_mg(self) -> int:
        return lis_step_mg(self._registers.read32(chip_offset(ADDRESS, LIS_FULL_SCALE)))
