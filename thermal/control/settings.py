"""What the law is set to: the configuration's keys in the units the law counts in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from thermal.judge.rules import NS_PER_S, Rules
from thermal.types import Domain

if TYPE_CHECKING:
    from touchline.config.thermal import ThermalSection

Rung = tuple[float, float]  # most Hz of CPU and GPU

MHZ: Final = 1e6
# Every third step of the CPU's 76.8 MHz and every one or two of the GPU's 102 MHz of a Jetson AGX Orin 64GB, whose tops
# are 2201.6 and 1300.5 MHz (scaling_available_frequencies, devfreq available_frequencies); which steps: judgement
ORIN_LADDER: Final[tuple[Rung, ...]] = (
    (1958.4 * MHZ, 1134.75 * MHZ),
    (1728.0 * MHZ, 1032.75 * MHZ),
    (1497.6 * MHZ, 930.75 * MHZ),
    (1267.2 * MHZ, 828.75 * MHZ),
    (1036.8 * MHZ, 624.75 * MHZ),
    (729.6 * MHZ, 420.75 * MHZ),
)
ORIN_LAST: Final[Rung] = (268.8 * MHZ, 114.75 * MHZ)


@dataclass(frozen=True, slots=True)
class Settings(Rules):
    """Everything judge and law need. Defaults are those of the configuration, for a Jetson AGX Orin 64GB."""

    period_ns: int = NS_PER_S
    deadline_ns: int = 5 * NS_PER_S // 2
    low_c: float = 55.0
    low_duty_pct: float = 30.0
    full_c: float = 70.0
    min_duty_pct: float = 30.0
    set_point_c: float = 66.5
    gain_pct_c: float = 4.7
    integral_s: float = 90.0
    sink_k_w: float = 0.35
    sink_s: float = 90.0
    ahead_s: float = 20.0
    up_pct_s: float = 20.0
    down_pct_s: float = 4.0
    band_pct: float = 2.0
    tachometer: bool = True
    full_rpm: float = 2900.0
    stall_rpm: float = 200.0
    stall_ns: int = 5 * NS_PER_S
    kick_duty_pct: float = 60.0
    ladder: tuple[Rung, ...] = ORIN_LADDER
    last_rung: Rung = ORIN_LAST
    cap_above_c: float = 70.0
    cap_now_c: float = 74.0
    cap_every_ns: int = 10 * NS_PER_S
    release_below_c: float = 67.0
    release_every_ns: int = 60 * NS_PER_S
    budget_w: float = 55.0

    @property
    def lowest(self) -> int:
        """The level of the ladder's lowest rung. One more is the last resort."""
        return len(self.ladder)

    @property
    def last(self) -> int:
        """The level of the last resort, where little but this law still runs."""
        return self.lowest + 1

    @classmethod
    def from_section(cls, section: ThermalSection) -> Settings:
        """The settings that ``[thermal]`` of node.toml asks for."""
        return cls(
            stale_ns=_ns(section.stale_s),
            stand_ins=tuple(section.stand_ins),
            stand_in_margin_c=section.stand_in_margin_c,
            period_ns=_ns(section.period_s),
            deadline_ns=_ns(section.deadline_s),
            low_c=section.low_c,
            low_duty_pct=section.low_duty_pct,
            full_c=section.full_c,
            min_duty_pct=section.min_duty_pct,
            set_point_c=section.set_point_c,
            gain_pct_c=section.gain_pct_c,
            integral_s=section.integral_s,
            sink_k_w=section.sink_k_w,
            sink_s=section.sink_s,
            ahead_s=section.ahead_s,
            up_pct_s=section.up_pct_s,
            down_pct_s=section.down_pct_s,
            band_pct=section.band_pct,
            tachometer=section.tachometer == "required",
            full_rpm=section.full_rpm,
            stall_rpm=section.stall_rpm,
            stall_ns=_ns(section.stall_s),
            kick_duty_pct=section.kick_duty_pct,
            ladder=tuple(
                (cpu * MHZ, gpu * MHZ) for cpu, gpu in zip(section.ladder_cpu_mhz, section.ladder_gpu_mhz, strict=True)
            ),
            last_rung=(section.last_cpu_mhz * MHZ, section.last_gpu_mhz * MHZ),
            cap_above_c=section.cap_above_c,
            cap_now_c=section.cap_now_c,
            cap_every_ns=_ns(section.cap_every_s),
            release_below_c=section.release_below_c,
            release_every_ns=_ns(section.release_every_s),
            budget_w=section.budget_w,
        )


def caps(settings: Settings, level: int) -> Mapping[Domain, float]:
    """What each domain may run at most at a level, Hz; empty at level 0: no cap of ours."""
    if level <= 0:
        return {}
    cpu_hz, gpu_hz = settings.ladder[level - 1] if level <= settings.lowest else settings.last_rung
    return {"cpu": cpu_hz, "gpu": gpu_hz}


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
