"""What makes a reading believable. Temperatures in C, times in ns; each number says where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NS_PER_S: Final = 1_000_000_000
TJ: Final = "tj"  # canonical name of the zone that is the maximum of the die (tj-thermal)
MAX_NAMES: Final = 64  # zones, or rails, that are remembered; a real board has less than 20

COLDEST_C: Final = -40.0  # outside these two no running board is; the kernel's critical trips lie near 105 C
HOTTEST_C: Final = 130.0
DROP_C: Final = 10.0  # what a die may fall at once: some 60 W switched off times some 0.15 K/W from die to heatsink
FALL_C_S: Final = 0.5  # what the heatsink may fall beside that; 20 to 60 K in the time constant of a minute or two
RISE_C: Final = 10.0  # a jump of more than this (and RISE_C_S) may be a spike: believed, and so is its end
RISE_C_S: Final = 5.0
SPIKE_NS: Final = 5 * NS_PER_S  # longer than this it is no spike
AGREE_C: Final = 3.0  # tj is the maximum, so others lie above it by no more than what differs in time and calibration
FROZEN_NS: Final = 15 * NS_PER_S  # unchanged for so long after power or neighbours moved: frozen
FROZEN_W: Final = 10.0  # this much power moves the die by more than a kelvin within seconds
FROZEN_C: Final = 4.0  # or its neighbours moved by so much
TACH_NS: Final = 10 * NS_PER_S  # a rotor spins up in 1.5 s and coasts down in 2.5: four times the slower, rpm has moved
TACH_PCT: Final = 25.0  # of duty: some 700 rpm, far above a tachometer's step (30) and where fans level off at the ends

RPM: Final = (0.0, 30_000.0)
DUTY_PCT: Final = (0.0, 100.0)
RAIL_W: Final = (-1.0, 300.0)  # an INA3221 reads a little below 0 at no current
AMBIENT_C: Final = (-40.0, 85.0)
CLOCK_HZ: Final = (1e6, 1e10)


@dataclass(frozen=True, slots=True)
class Rules:
    """How old a value may be, and who speaks for tj when it is silent."""

    stale_ns: int = 3 * NS_PER_S
    stand_ins: tuple[str, ...] = ("cpu", "gpu")
    stand_in_margin_c: float = 5.0
