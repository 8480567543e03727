"""The fan: stock pwm-fan on a RAM-backed PWM, and a rotor modelled on the host behind the tachometer (THM-2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hil.virtual.devices import sysfs
from hil.virtual.devices.registers import (
    PWM,
    TACHOMETER,
    pwm_duty_pct,
    pwm_duty_raw,
    pwm_enabled,
    tachometer_rpm,
    tachometer_word,
    within,
)
from hil.virtual.ports import Guest, Registers


@dataclass(frozen=True, slots=True)
class Rotor:
    """A first-order fan: its speed follows the duty with one time constant. A model, not a measured fan.

    Below ``start_pct`` a standing rotor does not start; below ``stop_pct`` a turning one comes to rest.
    """

    full_rpm: float = 3000.0
    tau_s: float = 1.5
    start_pct: float = 20.0
    stop_pct: float = 10.0

    def target_rpm(self, duty_pct: float, rpm: float) -> float:
        """Speed at which this duty ends, given the present one."""
        least_pct = self.stop_pct if rpm > 0 else self.start_pct
        return self.full_rpm * duty_pct / 100 if duty_pct >= least_pct else 0.0

    def after(self, rpm: float, duty_pct: float, elapsed_s: float) -> float:
        """Speed after ``elapsed_s`` at constant duty."""
        target = self.target_rpm(duty_pct, rpm)
        speed = target + (rpm - target) * math.exp(-max(0.0, elapsed_s) / self.tau_s)
        return 0.0 if target == 0 and speed < 1 else speed


class Fan:
    """What the guest commands (read from the PWM register) and what its tachometer shows.

    Nothing turns by itself: call :meth:`step` with the time, as often as the tachometer shall move. The guest reads
    the speed as Tegra's driver gives it, hwmon ``pwm_tach`` with the attribute ``rpm``.
    """

    def __init__(self, guest: Guest, registers: Registers, rotor: Rotor | None = None) -> None:
        self._guest = guest
        self._registers = registers
        self._rotor = rotor if rotor is not None else Rotor()
        self._rpm = float(tachometer_rpm(registers.read32(TACHOMETER)) or 0)
        self._at_s: float | None = None
        self._stalled = False
        self._silent = False

    @property
    def duty_raw(self) -> int:
        """Duty as set, 0..256."""
        return pwm_duty_raw(self._registers.read32(PWM))

    def duty_pct(self) -> float:
        """Duty of the output, 0 while it is off."""
        return pwm_duty_pct(self._registers.read32(PWM))

    def enabled(self) -> bool:
        """Whether the guest has the PWM output on."""
        return pwm_enabled(self._registers.read32(PWM))

    def rpm(self) -> float:
        """Speed of the rotor at the last step."""
        return self._rpm

    def step(self, at_s: float) -> float:
        """Move the rotor to the time ``at_s`` (any zero, growing) and set the tachometer; returns rpm."""
        elapsed_s = 0.0 if self._at_s is None else at_s - self._at_s
        self._at_s = at_s
        self._rpm = 0.0 if self._stalled else self._rotor.after(self._rpm, self.duty_pct(), elapsed_s)
        self._show()
        return self._rpm

    def spin_rpm(self, rpm: float) -> None:
        """Set the speed at once, for a test that wants no lag."""
        self._rpm = within("fan", rpm, 0.0, 65535.0, "rpm")
        self._show()

    def stall(self) -> None:
        """Block the rotor: the tachometer reads 0 whatever the duty."""
        self._stalled = True
        self._rpm = 0.0
        self._show()

    def release(self) -> None:
        """Let the rotor go; it speeds up with the next steps."""
        self._stalled = False

    def fail_tachometer(self) -> None:
        """The tachometer's reads end with EIO, whatever turns."""
        self._silent = True
        self._show()

    def recover_tachometer(self) -> None:
        """The tachometer reads again."""
        self._silent = False
        self._show()

    def read_rpm(self) -> int | None:
        """What the guest's software reads; None when its read fails."""
        return sysfs.number(sysfs.hwmon(self._guest, "pwm_tach", "rpm"))

    def read_pwm(self) -> int | None:
        """The guest's own pwm1, 0..255."""
        return sysfs.number(sysfs.hwmon(self._guest, "pwmfan", "pwm1"))

    def _show(self) -> None:
        self._registers.write32(TACHOMETER, 0 if self._silent else tachometer_word(self._rpm))
