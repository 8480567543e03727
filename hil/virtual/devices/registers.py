"""The reserved megabyte as the guest's drivers read it: offsets and the encoding of each register. Pure.

The megabyte starts at physical 0x9ff00000. Layouts: ``pwm-tegra.c`` (Tegra194 and later), ``bcm2711_thermal.c``,
``ina3221.c`` and ``st_accel_core.c`` (LIS3DH) of Linux 6.12; the tachometer and the I2C window are ours, in
``../kernel``.
"""

from __future__ import annotations

import math
from typing import Final

from touchline.errors import ConfigError

PWM: Final = 0x02000
TACHOMETER: Final = 0x03000
ZONES: Final = ("cpu-thermal", "gpu-thermal", "soc0-thermal", "tj-thermal")

_AVS_BASE: Final = 0x10000
_AVS_STRIDE: Final = 0x1000
_AVS_TEMPERATURE: Final = 0x200
_I2C_BASE: Final = 0x20000
_I2C_CHIP_BYTES: Final = 0x400
CHIP_SILENT: Final = 1 << 31  # in a chip's register 0: it does not answer

_VALID: Final = (1 << 16) | (1 << 10)
_CODE_MASK: Final = 0x3FF
_CODE_C: Final = 0.25  # coefficients = <250 (-50000)>
_OFFSET_C: Final = -50.0
MIN_C: Final = _OFFSET_C
MAX_C: Final = _OFFSET_C + _CODE_MASK * _CODE_C

DUTY_FULL: Final = 256
_PWM_ENABLE: Final = 1 << 31
_TACH_VALID: Final = 1 << 31
MAX_RPM: Final = 0xFFFF

SHUNT_UV: Final = 40.0  # INA3221, one step of the shunt register
BUS_MV: Final = 8.0  # INA3221, one step of the bus register
MAX_BUS_MV: Final = 26_000.0  # INA3221 data sheet, common-mode range
_SHUNT_CODE_MAX: Final = 4095
INA_SHUNT_SUM: Final = 0x0D

LIS_FULL_SCALE: Final = 0x23  # CTRL_REG4
LIS_OUT_X_LOW: Final = 0x28
_LIS_MG: Final = (1, 2, 4, 12)  # mg for one step at +-2, 4, 8, 16 g
_LIS_CODE_MAX: Final = 2047


def within(name: str, value: float, low: float, high: float, unit: str) -> float:
    """Return ``value``, or raise ConfigError that names the device, the range and the unit."""
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(
            f"{name}: {value:g} {unit} is outside {low:g}..{high:g} {unit}", hint="give a value inside the range"
        )
    return value


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return ``value``, or raise ConfigError that lists what there is."""
    if value not in allowed:
        raise ConfigError(f"{name}: there is no {value!r}", hint="use one of: " + ", ".join(allowed))
    return value


def zone_offset(zone: str) -> int:
    """Offset of a zone's temperature register."""
    return _AVS_BASE + _AVS_STRIDE * ZONES.index(one_of("thermal zone", zone, ZONES)) + _AVS_TEMPERATURE


def temperature_word(temp_c: float) -> int:
    """A valid temperature, to the nearest 0.25 C."""
    within("temperature", temp_c, MIN_C, MAX_C, "C")
    return _VALID | round((temp_c - _OFFSET_C) / _CODE_C)


def temperature_c(word: int) -> float | None:
    """The temperature in a register; None without its valid bits, where the guest reads EIO."""
    if word & _VALID == 0:
        return None
    return _OFFSET_C + (word & _CODE_MASK) * _CODE_C


def failed_temperature(word: int) -> int:
    """The same word with its valid bits cleared."""
    return word & ~_VALID


def pwm_enabled(word: int) -> bool:
    """Whether the PWM output runs."""
    return bool(word & _PWM_ENABLE)


def pwm_duty_raw(word: int) -> int:
    """Duty 0..256 as set, whether the output runs or not."""
    return (word >> 16) & 0x7FFF


def pwm_duty_pct(word: int) -> float:
    """Duty of the output in percent: 0 while it does not run."""
    return 100.0 * min(pwm_duty_raw(word), DUTY_FULL) / DUTY_FULL if pwm_enabled(word) else 0.0


def tachometer_word(rpm: float) -> int:
    """A valid speed, to the nearest revolution per minute."""
    return _TACH_VALID | round(within("tachometer", rpm, 0, MAX_RPM, "rpm"))


def tachometer_rpm(word: int) -> int | None:
    """The speed in the register; None when it is not valid, where the guest reads EIO."""
    return word & MAX_RPM if word & _TACH_VALID else None


def chip_offset(address: int, register: int = 0) -> int:
    """Offset of one register of the chip at a 7-bit I2C address."""
    return _I2C_BASE + address * _I2C_CHIP_BYTES + register * 4


def swapped(word: int) -> int:
    """A 16-bit register of a big-endian chip in SMBus byte order."""
    return ((word & 0xFF) << 8) | (word >> 8)


def shunt_code(microvolts: float) -> int:
    """Steps of 40 uV, -4095..4095."""
    limit_uv = _SHUNT_CODE_MAX * SHUNT_UV
    return round(within("INA3221 shunt", microvolts, -limit_uv, limit_uv, "uV") / SHUNT_UV)


def bus_code(millivolts: float) -> int:
    """Steps of 8 mV, 0..3250."""
    return round(within("INA3221 bus", millivolts, 0.0, MAX_BUS_MV, "mV") / BUS_MV)


def ina_word(code: int, shift: int = 3) -> int:
    """A signed code in an INA3221 register, in SMBus byte order. ``shift``: 3, or 1 for the shunt sum."""
    return swapped((code << shift) & 0xFFFF)


def ina_code(word: int, shift: int = 3) -> int:
    """The signed code of an INA3221 register."""
    value = swapped(word & 0xFFFF)
    return (value - 0x10000 if value & 0x8000 else value) >> shift


def lis_step_mg(full_scale_register: int) -> int:
    """mg for one step at the full scale that the guest's driver chose (CTRL_REG4)."""
    return _LIS_MG[(full_scale_register >> 4) & 0b11]


def lis_bytes(g: float, step_mg: int) -> tuple[int, int]:
    """Low and high byte of one axis: 12 bits, left aligned, saturating as the chip does."""
    within("accelerometer", g, -16.0, 16.0, "g")
    code = max(-_LIS_CODE_MAX - 1, min(_LIS_CODE_MAX, round(g * 1000 / step_mg)))
    word = (code << 4) & 0xFFFF
    return word & 0xFF, word >> 8


def lis_g(low: int, high: int, step_mg: int) -> float:
    """Acceleration of one axis from its two bytes."""
    word = ((high & 0xFF) << 8) | (low & 0xFF)
    return ((word - 0x10000 if word & 0x8000 else word) >> 4) * step_mg / 1000
