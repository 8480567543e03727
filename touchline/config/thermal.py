"""``[thermal]``: fan law, clock ladder and how sensors are judged (THM-1 to THM-4). Temperatures in C, duties in %."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from touchline.config.loader import Section

MAX_RUNGS: Final = 16
Zone = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$", description="canonical zone name, as cpu, gpu, soc0")]
Mhz = Annotated[float, Field(ge=50.0, le=5000.0, description="MHz")]


class ThermalSection(Section):
    """``[thermal]``. Absent: fan and clocks are left to the vendor's daemon and the kernel.

    The asked line (``low_duty_pct`` at ``low_c`` to 100 % at ``full_c``) is the floor; what else stands here may only
    add cooling to it.
    """

    period_s: float = Field(default=1.0, ge=0.1, le=2.0, description="between two looks at the board")
    deadline_s: float = Field(default=2.5, ge=0.3, le=4.0, description="a tick later than this: full duty that tick")
    low_c: float = Field(default=55.0, ge=30.0, le=70.0, description="foot of the asked line (THM-1)")
    low_duty_pct: float = Field(default=30.0, ge=20.0, le=100.0, description="duty at low_c (THM-1)")
    full_c: float = Field(default=70.0, ge=40.0, le=85.0, description="full duty from here on (THM-1)")
    min_duty_pct: float = Field(default=30.0, ge=20.0, le=100.0, description="least duty, however cool")
    set_point_c: float = Field(default=66.5, ge=40.0, le=80.0, description="tj above it is worked down to it")
    gain_pct_c: float = Field(default=4.7, ge=0.0, le=50.0, description="proportional gain above set_point_c, %/K")
    integral_s: float = Field(default=90.0, ge=5.0, le=600.0, description="integral time")
    sink_k_w: float = Field(default=0.35, ge=0.0, le=3.0, description="heatsink to air at full fan, K/W; 0: unknown")
    sink_s: float = Field(default=90.0, ge=5.0, le=1000.0, description="the heatsink's time constant")
    ahead_s: float = Field(
        default=20.0, ge=0.0, le=120.0, description="power's effect on tj is foreseen so far; 0: not"
    )
    up_pct_s: float = Field(default=20.0, ge=1.0, le=100.0, description="fastest rise of what is above the line")
    down_pct_s: float = Field(default=4.0, ge=0.1, le=100.0, description="fastest fall of the duty")
    band_pct: float = Field(default=2.0, ge=0.0, le=10.0, description="a fall smaller than this is not followed")
    tachometer: Literal["required", "off"] = Field(default="required", description="off: this fan has none")
    full_rpm: float = Field(default=2900.0, ge=0.0, le=30_000.0, description="rpm at full duty; 0: not judged")
    stall_rpm: float = Field(default=200.0, ge=1.0, le=5000.0, description="below it the fan stands")
    stall_s: float = Field(default=5.0, ge=1.0, le=60.0, description="standing for so long while driven: a fault")
    kick_duty_pct: float = Field(default=60.0, ge=20.0, le=100.0, description="least duty while the rotor is at rest")
    stale_s: float = Field(default=3.0, ge=0.2, le=10.0, description="a value older than this is good for nothing")
    stand_ins: list[Zone] = Field(
        default=["cpu", "gpu"], max_length=16, description="zones that must all be fresh to stand in for tj"
    )
    stand_in_margin_c: float = Field(default=5.0, ge=0.0, le=30.0, description="added to the hottest of them")
    ladder_cpu_mhz: list[Mhz] = Field(
        default=[1958.4, 1728.0, 1497.6, 1267.2, 1036.8, 729.6],
        min_length=1,
        max_length=MAX_RUNGS,
        description="CPU clock cap of each rung, falling",
    )
    ladder_gpu_mhz: list[Mhz] = Field(
        default=[1134.75, 1032.75, 930.75, 828.75, 624.75, 420.75],
        min_length=1,
        max_length=MAX_RUNGS,
        description="GPU clock cap of each rung, falling; as many as ladder_cpu_mhz",
    )
    last_cpu_mhz: Mhz = Field(default=268.8, description="last resort, where the lowest rung does not hold cap_now_c")
    last_gpu_mhz: Mhz = Field(default=114.75, description="the same of the GPU")
    cap_above_c: float = Field(
        default=70.0, ge=50.0, le=95.0, description="above it, with the fan at full: a rung down"
    )
    cap_now_c: float = Field(
        default=74.0, ge=55.0, le=100.0, description="from here on the lowest rung at once (THM-3)"
    )
    cap_every_s: float = Field(default=10.0, ge=1.0, le=120.0, description="between two rungs down")
    release_below_c: float = Field(default=67.0, ge=40.0, le=90.0, description="a rung up needs tj below it")
    release_every_s: float = Field(
        default=60.0, ge=5.0, le=3600.0, description="between two rungs up; doubles on relapse"
    )
    budget_w: float = Field(default=55.0, ge=1.0, le=200.0, description="alarm above it, sum of the rails (THM-4)")

    @model_validator(mode="after")
    def _temperatures_rise(self) -> ThermalSection:
        names = ("low_c", "set_point_c", "full_c", "cap_now_c")
        values = [getattr(self, name) for name in names]
        if any(a >= b for a, b in pairwise(values)):
            raise ValueError(f"{', '.join(names)} must rise, and are {', '.join(f'{v:g}' for v in values)}")
        if not self.set_point_c < self.cap_above_c < self.cap_now_c:
            raise ValueError(f"cap_above_c {self.cap_above_c:g} must lie between set_point_c and cap_now_c")
        if not self.release_below_c < self.cap_above_c:
            raise ValueError(f"release_below_c {self.release_below_c:g} must lie below cap_above_c")
        return self

    @model_validator(mode="after")
    def _times_fit(self) -> ThermalSection:
        if self.deadline_s <= self.period_s:
            raise ValueError(f"deadline_s {self.deadline_s:g} must be longer than period_s {self.period_s:g}")
        if self.stale_s <= self.period_s:
            raise ValueError(f"stale_s {self.stale_s:g} must be longer than period_s {self.period_s:g}")
        return self

    @model_validator(mode="after")
    def _ladder_falls(self) -> ThermalSection:
        if len(self.ladder_cpu_mhz) != len(self.ladder_gpu_mhz):
            raise ValueError("ladder_cpu_mhz and ladder_gpu_mhz must have as many rungs")
        for ladder in ([*self.ladder_cpu_mhz, self.last_cpu_mhz], [*self.ladder_gpu_mhz, self.last_gpu_mhz]):
            if any(a < b for a, b in pairwise(ladder)):
                raise ValueError(f"the rungs {ladder} must fall")
        return self

    @model_validator(mode="after")
    def _stand_ins_are_not_tj(self) -> ThermalSection:
        if "tj" in self.stand_ins:
            raise ValueError("stand_ins stand in for tj; name others, or none for full duty without it")
        return self
