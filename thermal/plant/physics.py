"""The simulated node's physics: watts in, temperatures and fan speed out. No clock, no randomness; time is a step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from thermal.plant.spec import CPU_MAX_HZ, GPU_MAX_HZ, Fan, Heat, PlantSpec, Power

STEP_S: Final = 0.25  # of the integration: a twentieth of the fastest mass


@dataclass(slots=True)
class Watts:
    """Power now, by rail as the node's INA3221 names them, and what the rails do not show."""

    gpu_soc: float = 0.0
    cpu_cv: float = 0.0
    sys_5v0: float = 0.0
    ddr: float = 0.0
    loss: float = 0.0

    @property
    def die(self) -> float:
        """What heats the die."""
        return self.gpu_soc + self.cpu_cv

    @property
    def module(self) -> float:
        """All of it: what the wall gives, and what the heatsink must lose."""
        return self.gpu_soc + self.cpu_cv + self.sys_5v0 + self.ddr + self.loss


@dataclass(slots=True)
class Outside:
    """What the world does to the node: air outside the box, C; sun on the box, W; work asked, share of 240 fps."""

    ambient_c: float = 25.0
    sun_w: float = 0.0
    load: float = 0.0


@dataclass(slots=True)
class State:
    """The node now. ``done``: share of the asked work that the capped clocks manage."""

    die_c: float
    sink_c: float
    box_c: float
    rpm: float = 0.0
    duty_pct: float = 0.0
    cpu_share: float = 1.0  # of the full clock
    gpu_share: float = 1.0
    stalled: bool = False
    weak: float = 1.0  # share of its speed that a worn or clogged fan reaches
    done: float = 1.0
    throttled: bool = False  # by the chip itself
    off: bool = False  # tripped: it stays off
    watts: Watts = field(default_factory=Watts)


def clock_share(hz: float, most_hz: float) -> float:
    """A clock as a share of the full one; a cap above it is none, and no cap stops a clock."""
    return min(max(hz / most_hz, 0.1), 1.0)


def shares(cap_hz: dict[str, float]) -> tuple[float, float]:
    """CPU's and GPU's clock under these caps, as shares of the full ones."""
    return (
        clock_share(cap_hz.get("cpu", CPU_MAX_HZ), CPU_MAX_HZ),
        clock_share(cap_hz.get("gpu", GPU_MAX_HZ), GPU_MAX_HZ),
    )


def sink_conductance(heat: Heat, fan_share: float) -> float:
    """W/K from the heatsink to the box's air at this share of the full fan speed."""
    return heat.g_still_w_per_k + heat.g_fan_w_per_k * math.pow(fan_share, heat.air_exponent)


def powers(spec: Power, state: State, load: float) -> None:
    """Set ``state.watts`` and ``state.done``: work limited by the clocks, leakage by the die's temperature."""
    watts = state.watts
    _trips(spec, state)
    if state.off:
        watts.gpu_soc = watts.cpu_cv = watts.sys_5v0 = watts.ddr = watts.loss = state.done = 0.0
        return
    most = 0.5 if state.throttled else 1.0
    cpu, gpu = min(state.cpu_share, most), min(state.gpu_share, most)
    leak_w = spec.leak_w * 2.0 ** ((state.die_c - spec.leak_at_c) / spec.leak_double_k)
    state.done = min(1.0, cpu / (spec.cpu_need * load), gpu / (spec.gpu_need * load)) if load > 0 else 1.0
    work = load * state.done
    cpu_v, gpu_v = (spec.volt_floor + (1.0 - spec.volt_floor) * share for share in (cpu, gpu))
    watts.gpu_soc = spec.gpu_static_w * gpu_v * gpu_v + spec.gpu_dynamic_w * work * gpu_v * gpu_v + leak_w / 2
    watts.cpu_cv = spec.cpu_static_w * cpu_v * cpu_v + spec.cpu_dynamic_w * work * cpu_v * cpu_v + leak_w / 2
    watts.sys_5v0 = spec.sys_static_w + spec.sys_dynamic_w * work
    watts.ddr = spec.ddr_static_w + spec.ddr_dynamic_w * work
    watts.loss = spec.loss_share * (watts.gpu_soc + watts.cpu_cv + watts.sys_5v0 + watts.ddr)


def _trips(spec: Power, state: State) -> None:
    """The chip's own backstop: half the clocks, then off for good."""
    if state.die_c >= spec.throttle_c:
        state.throttled = True
        state.off = state.off or state.die_c >= spec.off_c
    elif state.die_c < spec.throttle_c - 4.0:
        state.throttled = False


def target_rpm(spec: Fan, state: State) -> float:
    """Where the fan's speed goes: a line through the origin, nothing when it is stalled or too weakly driven."""
    turning = state.rpm > 0.05 * spec.max_rpm
    least = spec.stop_duty_pct if turning else spec.start_duty_pct
    if state.stalled or state.duty_pct < least:
        return 0.0
    return spec.max_rpm * state.weak * min(state.duty_pct, 100.0) / 100.0


def advance(spec: PlantSpec, state: State, outside: Outside, seconds: float) -> None:
    """Move the node on by ``seconds``, in steps of ``STEP_S`` at most."""
    left = seconds
    while left > 1e-9:
        step = min(left, STEP_S)
        _step(spec, state, outside, step)
        left -= step


def _step(spec: PlantSpec, state: State, outside: Outside, dt_s: float) -> None:
    heat, fan = spec.heat, spec.fan
    goal = target_rpm(fan, state)
    tau_s = fan.spin_up_s if goal > state.rpm else fan.spin_down_s
    state.rpm += (goal - state.rpm) * min(1.0, dt_s / tau_s)
    if goal == 0.0 and state.rpm < 20.0:
        state.rpm = 0.0
    powers(spec.power, state, outside.load)
    watts = state.watts
    up_w = (state.die_c - state.sink_c) / heat.r_die_sink_k_per_w
    out_w = (state.sink_c - state.box_c) * sink_conductance(heat, state.rpm / fan.max_rpm)
    box_w = (state.box_c - outside.ambient_c) / heat.r_box_k_per_w
    state.die_c += dt_s * (watts.die - up_w) / heat.c_die_j_per_k
    state.sink_c += dt_s * (watts.module - watts.die + up_w - out_w) / heat.c_sink_j_per_k
    state.box_c += dt_s * (out_w + outside.sun_w - box_w) / heat.c_box_j_per_k


def fan_watts(spec: Fan, rpm: float) -> float:
    """Electrical power of the fan at this speed, W: the cube law."""
    return float(spec.full_w * (rpm / spec.max_rpm) ** 3)


def settled(spec: PlantSpec, outside: Outside, duty_pct: float, seconds: float = 7200.0) -> State:
    """The node after hours under these conditions; where profiles begin, and the known points."""
    state = State(outside.ambient_c + 10.0, outside.ambient_c + 6.0, outside.ambient_c + 2.0, duty_pct=duty_pct)
    state.rpm = spec.fan.max_rpm * duty_pct / 100.0
    advance(spec, state, outside, seconds)
    return state
