"""What the simulated node is made of: every constant with its unit and where it comes from.

Nothing here was measured on a node. What NVIDIA publishes is named; the rest is assumed and chosen so that the known
points hold (``tests/thermal/plant/test_known_points.py``): the asked line settles at 68 C at the 240 fps load and
25 C outside, the full fan at 32 C outside needs the clocks of THM-3 to stay below 74 C, idle is about 15 W.
``touchline thermal identify`` finds a real node's numbers from a recorded run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CPU_MAX_HZ: Final = 2_201_600_000.0  # AGX Orin 64 GB, MAXN: NVIDIA's table of power modes
GPU_MAX_HZ: Final = 1_300_500_000.0


@dataclass(frozen=True, slots=True)
class Heat:
    """Die, heatsink and box as three masses in a row; K, W, J.

    Time constants that follow: die ``r_die_sink * c_die`` = 5 s; heatsink ``c_sink / g(fan)`` = 117 s at full fan and
    230 s at 30 %, which is what a 0.3 kg aluminium sink does; box 8 min.
    """

    r_die_sink_k_per_w: float = 0.28  # die, lid, transfer plate, paste; assumed
    c_die_j_per_k: float = 18.0  # so that a step of load settles in 5 s on top of the slow part; assumed
    c_sink_j_per_k: float = 270.0  # 0.3 kg at 900 J/kgK (aluminium)
    g_still_w_per_k: float = 0.5  # fan at rest: 0.06 m2 of fins and cover at 8 W/m2K (still air, radiation); assumed
    g_fan_w_per_k: float = 1.82  # more at full speed: with it the line settles at 68 C (known point); fitted
    air_exponent: float = 0.8  # conductance grows with speed to this power (turbulent plate: Nu ~ Re^0.8)
    r_box_k_per_w: float = 0.08  # a ventilated outdoor box: 55 W make its air 4.4 K warmer; assumed
    c_box_j_per_k: float = 6000.0  # sheet steel and carrier of 12 kg; assumed


@dataclass(frozen=True, slots=True)
class Power:
    """Where the watts go. Dynamic power is work x voltage^2; work that exceeds the capped clock is not done.

    The sum at full work and 68 C is the 55 W envelope of THM-4.
    """

    gpu_static_w: float = 3.5
    gpu_dynamic_w: float = 18.0  # at full work, full clock
    cpu_static_w: float = 1.5
    cpu_dynamic_w: float = 14.0
    sys_static_w: float = 3.5  # carrier, I/O
    sys_dynamic_w: float = 3.5
    ddr_static_w: float = 1.5
    ddr_dynamic_w: float = 2.5
    loss_share: float = 0.05  # regulators: heat that no rail shows (the sum reads below the wall)
    cpu_need: float = 0.8  # of the full CPU clock, for full work; what is beyond can be capped at no cost; assumed
    gpu_need: float = 0.92
    leak_w: float = 3.0  # of the die at ``leak_at_c``, on the GPU's and CPU's rails by half
    leak_at_c: float = 50.0
    leak_double_k: float = 30.0  # leakage doubles each 30 K: a usual figure of 8 nm silicon; assumed
    volt_floor: float = 0.6  # relative voltage = floor + (1 - floor) x relative clock: Orin's DVFS span; assumed
    throttle_c: float = 99.0  # the chip itself halves its clocks from here on, until 4 K below (field note: near 100)
    off_c: float = 105.0  # and switches itself off here: NVIDIA's GROUP_MAX_TEMP of the fan table
    oc_limit_w: float = 75.0  # module power that counts as an over-current event; assumed


@dataclass(frozen=True, slots=True)
class Fan:
    """A four-wire fan. Speed against duty: the PWM and RPM columns of NVIDIA's own fan table for Orin.

    255 gives 2900 rpm, 202 2300, 149 1700, 88 1000: a line through the origin within 30 rpm.
    """

    max_rpm: float = 2900.0
    spin_up_s: float = 1.5
    spin_down_s: float = 2.5  # it coasts
    start_duty_pct: float = 18.0  # a rotor at rest needs so much; assumed
    stop_duty_pct: float = 8.0  # a turning one stops below; assumed
    full_w: float = 3.0  # electrical, at full speed; goes with the cube of the speed (fan law)
    full_dba: float = 42.0  # at full speed, 1 m; goes with 50 log10 of the speed (fan law); assumed


@dataclass(frozen=True, slots=True)
class Sensors:
    """How the truth is read."""

    poll_s: float = 1.0  # the kernel refreshes a zone about once a second (field note)
    lag_s: float = 0.5
    step_c: float = 0.03125  # zones of Orin move in thirty-seconds of a degree
    noise_c: float = 0.05
    gpu_spot_k_per_w: float = 0.07  # hot spots above the mean die, by the unit's own watts; assumed
    cpu_spot_k_per_w: float = 0.05
    tach_noise_rpm: float = 12.0
    tach_step_rpm: float = 30.0  # one edge more or less in a second, two a turn
    rail_noise_share: float = 0.01
    rail_step_w: float = 0.008
    ambient_lag_s: float = 20.0
    ambient_step_c: float = 0.0625  # TMP102 class
    has_ambient: bool = True


@dataclass(frozen=True, slots=True)
class PlantSpec:
    """The whole node."""

    heat: Heat = Heat()
    power: Power = Power()
    fan: Fan = Fan()
    sensors: Sensors = Sensors()
    load_noise: float = 0.04  # share; the work of a frame depends on what is seen
    load_noise_s: float = 8.0  # correlation time of that
