"""How the simulated node's truth is read: lagged, polled, noisy, in steps, and broken where the profile says so."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from random import Random
from typing import Final

from thermal.plant.physics import State
from thermal.plant.spec import CPU_MAX_HZ, GPU_MAX_HZ, PlantSpec
from thermal.plant.troubles import Trouble, first, of_zone
from thermal.types import Domain, Raw

GATED: Final = ("cv0", "cv1", "cv2")  # power-gated while little runs: EAGAIN on every read (field note)
GATED_BELOW_LOAD: Final = 0.3
ZONES: Final = ("cpu", "gpu", "soc0", "soc1", "soc2", *GATED)
RAILS: Final = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO")


def hottest_c(spec: PlantSpec, state: State) -> float:
    """The true junction temperature: the hotter of the GPU's and the CPU's spot."""
    gpu_k = spec.sensors.gpu_spot_k_per_w * state.watts.gpu_soc
    return state.die_c + max(gpu_k, spec.sensors.cpu_spot_k_per_w * state.watts.cpu_cv)


def _stepped(value: float, step: float) -> float:
    return round(value / step) * step


class Sensors:
    """The sensors of one node. ``follow`` moves them on with the truth; the rest are reads."""

    def __init__(self, spec: PlantSpec, state: State, random: Random) -> None:
        self._spec, self._random = spec, random
        self._load = 0.0
        self._since_poll_s = spec.sensors.poll_s  # the first follow polls
        self._lagged = dict.fromkeys((*ZONES, "tj"), state.die_c)
        self._shown: dict[str, float] = {}
        self._box_c = state.box_c
        self._oc = 0
        self._kept: dict[str, Raw] = {}  # what frozen zones show
        self._rpm: Raw | None = None  # what the tachometer shows

    def follow(self, state: State, load: float, seconds: float) -> None:
        """Lag the zones behind the truth and take a new value of each when the poll is due."""
        spec, sensors = self._spec, self._spec.sensors
        self._load = load
        true = self._true(state)
        gain = seconds / (sensors.lag_s + seconds)
        for name, value in true.items():
            self._lagged[name] += gain * (value - self._lagged[name])
        self._box_c += (state.box_c - self._box_c) * seconds / (sensors.ambient_lag_s + seconds)
        self._oc += state.watts.module > spec.power.oc_limit_w
        self._since_poll_s += seconds
        if self._since_poll_s >= sensors.poll_s - 1e-6:
            self._since_poll_s = 0.0
            for name, value in self._lagged.items():
                self._shown[name] = _stepped(value + self._random.gauss(0.0, sensors.noise_c), sensors.step_c)
            self._shown["tj"] = max(self._shown["cpu"], self._shown["gpu"], self._shown["tj"])

    def _true(self, state: State) -> dict[str, float]:
        sensors, die_c, watts = self._spec.sensors, state.die_c, state.watts
        gpu_c = die_c + sensors.gpu_spot_k_per_w * watts.gpu_soc
        cpu_c = die_c + sensors.cpu_spot_k_per_w * watts.cpu_cv
        rest = {name: die_c - 0.6 * (number % 3) for number, name in enumerate(ZONES[2:])}
        return {"cpu": cpu_c, "gpu": gpu_c, **rest, "tj": max(cpu_c, gpu_c)}

    def zones(self, broken: Sequence[Trouble]) -> dict[str, Raw]:
        """Every zone as a read of its file gives it now."""
        found: dict[str, Raw] = {}
        for name, value in self._shown.items():
            raw: Raw | None = Raw(value)
            if name in GATED and self._load < GATED_BELOW_LOAD:
                raw = Raw(None, errno.EAGAIN)
            for trouble in of_zone(broken, name) if broken else ():
                raw = self._broken(trouble, name, raw)
            if raw is not None:
                found[name] = raw
        self._frozen(broken)
        return found

    def _broken(self, trouble: Trouble, name: str, raw: Raw | None) -> Raw | None:
        if trouble.kind == "zone_errno":
            return Raw(None, int(trouble.value))
        if trouble.kind == "zone_zero":
            return Raw(0.0)
        if trouble.kind == "zone_offset" and raw is not None and raw.value is not None:
            return Raw(raw.value + trouble.value)
        if trouble.kind == "zone_frozen":
            return self._kept.setdefault(name, raw) if raw is not None else None
        return None if trouble.kind == "zone_gone" else raw

    def _frozen(self, broken: Sequence[Trouble]) -> None:
        """Forget kept values when nothing is frozen any more."""
        if first(broken, "zone_frozen") is None:
            self._kept = {}

    def rpm(self, state: State, broken: Sequence[Trouble]) -> Raw:
        """The tachometer: 0 for a standing rotor, else counted edges."""
        failed = first(broken, "tach_errno")
        if failed is not None:
            return Raw(None, int(failed.value))
        if self._rpm is None or first(broken, "tach_frozen") is None:
            self._rpm = self._turns(state, broken)
        return self._rpm

    def _turns(self, state: State, broken: Sequence[Trouble]) -> Raw:
        if state.rpm < 60.0 or first(broken, "tach_zero") is not None:
            return Raw(0.0)
        sensors = self._spec.sensors
        return Raw(_stepped(state.rpm + self._random.gauss(0.0, sensors.tach_noise_rpm), sensors.tach_step_rpm))

    def rails(self, state: State, broken: Sequence[Trouble]) -> dict[str, Raw]:
        """The INA3221 rails, W; regulator losses show on none."""
        failed = first(broken, "rails_errno")
        if failed is not None:
            return {name: Raw(None, int(failed.value)) for name in RAILS}
        watts, sensors = state.watts, self._spec.sensors
        true = (watts.gpu_soc, watts.cpu_cv, watts.sys_5v0, watts.ddr)
        return {
            name: Raw(_stepped(value * self._random.gauss(1.0, sensors.rail_noise_share), sensors.rail_step_w))
            for name, value in zip(RAILS, true, strict=True)
        }

    def ambient(self, broken: Sequence[Trouble]) -> Raw | None:
        """The sensor in the box's air, if the node has one."""
        if not self._spec.sensors.has_ambient:
            return None
        failed = first(broken, "ambient_errno")
        if failed is not None:
            return Raw(None, int(failed.value))
        noisy = self._box_c + self._random.gauss(0.0, self._spec.sensors.noise_c)
        return Raw(_stepped(noisy, self._spec.sensors.ambient_step_c))

    def over_current(self) -> dict[str, Raw]:
        """Cumulative events, as soctherm_oc counts them."""
        return {"oc1": Raw(0.0), "oc2": Raw(float(self._oc)), "oc3": Raw(float(self._oc))}


def clocks(state: State) -> dict[Domain, Raw]:
    """What each domain may run at most, read back, Hz."""
    return {"cpu": Raw(state.cpu_share * CPU_MAX_HZ), "gpu": Raw(state.gpu_share * GPU_MAX_HZ)}
