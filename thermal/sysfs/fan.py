"""The fan: a PWM of 0..255 that may be switched off underneath, and a tachometer that is another device.

``pwm1_enable`` (pwm-fan, Linux 6.1 and later): 0 is **off**, whatever ``pwm1`` says, and a ``pwm1`` written while it is
0 is accepted and lost. So: duty, then enable, then the duty again.
"""

from __future__ import annotations

import errno
import math

from thermal.sysfs.files import GONE, Files, read_number, why, write_number
from thermal.sysfs.find import Finder
from thermal.sysfs.table import FAN, PWM_FULL, TACHOMETER, TACHOMETER_FILES
from thermal.types import Raw

_NO_FAN = "no hwmon device named pwmfan: is the pwm-fan driver loaded?"


def pwm_of(duty_pct: float) -> int:
    """The register's value, rounded up (the error is cooling); what is no number is full speed."""
    if not math.isfinite(duty_pct):
        return PWM_FULL
    return math.ceil(min(max(duty_pct, 0.0), 100.0) * PWM_FULL / 100 - 1e-9)


def read_rpm(files: Files, finder: Finder) -> Raw:
    """The rotor's speed, from the tachometer's own device or, in mainline, the fan's."""
    for row in (TACHOMETER, FAN):
        folder = finder.hwmon(row)
        for name in TACHOMETER_FILES if folder is not None else ():
            raw = read_number(files, f"{folder}/{name}")
            if raw.errno != errno.ENOENT:
                return raw
    return Raw(None, errno.ENODEV)


class SysfsFan:
    """See the module. Nothing here raises for a device."""

    def __init__(self, files: Files, finder: Finder) -> None:
        self._files = files
        self._finder = finder

    def duty_pct(self) -> Raw:
        """The duty that the fan gets: the register read back, 0 while the output is off."""
        folder = self._finder.hwmon(FAN)
        if folder is None:
            return Raw(None, errno.ENODEV)
        duty = read_number(self._files, f"{folder}/pwm1", 100 / PWM_FULL)
        enable = read_number(self._files, f"{folder}/pwm1_enable")
        if duty.value is not None and enable.value is None and enable.errno not in GONE:
            return enable  # it may be off
        return Raw(0.0) if duty.value is not None and enable.value == 0 else duty

    def set_duty(self, duty_pct: float) -> str | None:
        """Duty first, then on; read back. None when the fan has it."""
        folder = self._finder.hwmon(FAN)
        if folder is None:
            return _NO_FAN
        wanted = pwm_of(duty_pct)
        troubles = [write_number(self._files, f"{folder}/pwm1", wanted), self._switch_on(folder, wanted)]
        said = "; ".join(trouble for trouble in troubles if trouble is not None)
        return said or self._differs(folder, wanted)

    def _switch_on(self, folder: str, wanted: int) -> str | None:
        """Enable where there is such a switch and it is not on; the duty once more then, see the module."""
        path = f"{folder}/pwm1_enable"
        enable = read_number(self._files, path)
        if enable.value == 1 or enable.errno in GONE:
            return None
        return write_number(self._files, path, 1) or write_number(self._files, f"{folder}/pwm1", wanted)

    def _differs(self, folder: str, wanted: int) -> str | None:
        raw = read_number(self._files, f"{folder}/pwm1")
        if raw.value is None:
            return f"{folder}/pwm1 was written and cannot be read back: {why(raw)}"
        return None if raw.value == wanted else f"{folder}/pwm1 reads {raw.value:g} after {wanted} was written"
