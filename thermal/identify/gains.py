"""Gains from the fitted cooling: SIMC, the smooth variant. Pure.

S. Skogestad, Simple analytic rules for model reduction and PID controller tuning (J. Process Control 13, 2003), and
Tuning for smooth PID control with acceptable disturbance rejection (Ind. Eng. Chem. Res. 45, 2006): lags are halved
into a delay; the gain is as low as the allowed deviation lets it be (from the line's duty at the set point to full, for
68 C less the set point) and no higher than the tight one (closed loop as fast as the delay).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from thermal.control import Settings
from thermal.control.duty import SMOOTH_S
from thermal.identify.model import EXPONENT, Cooling
from thermal.identify.series import Series

ASKED_C: Final = 68.0
FAN_LAG_S: Final = 1.5  # a four-wire fan's inertia
POLL_S: Final = 1.0  # the kernel refreshes zones about once a second: half of it is delay, and half the law's period


@dataclass(frozen=True, slots=True)
class Proposal:
    """Keys of ``[thermal]`` and the numbers they come from."""

    gain_pct_c: float
    integral_s: float
    sink_k_w: float
    sink_s: float
    full_rpm: float | None
    power_w: float
    air_c: float
    share: float
    process_k_pct: float  # how far 1 % of duty moves tj, K
    lag_s: float
    delay_s: float
    closed_loop_s: float
    reachable: bool  # the fan can hold the set point at this power and air


def propose(series: Series, cooling: Cooling, settings: Settings) -> Proposal:
    """Gains around the set point at the record's own heavy load (its heaviest quarter)."""
    power_w, die_w, air_c = _operating(series, cooling)
    sink_c = settings.set_point_c - cooling.r_die_k_w * die_w
    needed = power_w / max(sink_c - air_c, 0.1)
    share = (max(needed - cooling.g_still_w_k, 1e-6) / cooling.g_fan_w_k) ** (1.0 / EXPONENT)
    reachable, share = share <= 1.0, min(max(share, 0.3), 1.0)
    g = cooling.conductance(share)
    slope = cooling.g_fan_w_k * EXPONENT * share ** (EXPONENT - 1.0) / 100.0
    process = power_w / g**2 * slope
    lag_s = cooling.c_sink_j_k / g + cooling.tau_die_s / 2
    delay_s = cooling.tau_die_s / 2 + FAN_LAG_S + SMOOTH_S + (POLL_S + settings.period_ns / 1e9) / 2
    line_slope = (100.0 - settings.low_duty_pct) / (settings.full_c - settings.low_c)
    line_pct = settings.low_duty_pct + line_slope * (settings.set_point_c - settings.low_c)
    smooth = (100.0 - min(line_pct, 99.0)) / max(ASKED_C - settings.set_point_c, 0.5)
    total = min(max(smooth, line_slope + 1.0), lag_s / (process * 2.0 * delay_s))
    closed_s = max(lag_s / (process * total) - delay_s, delay_s)
    integral_s = min(lag_s, 4.0 * (closed_s + delay_s))
    gain = max(total - line_slope, 0.5)  # the line's own slope is part of the loop's gain
    return Proposal(
        gain_pct_c=round(gain, 1),
        integral_s=round(min(max(integral_s * gain / total, 5.0), 600.0)),
        sink_k_w=round(1.0 / cooling.conductance(1.0), 3),
        sink_s=round(cooling.c_sink_j_k / g),
        full_rpm=None if series.full_rpm is None else round(series.full_rpm, -1),
        power_w=power_w,
        air_c=air_c,
        share=share,
        process_k_pct=process,
        lag_s=lag_s,
        delay_s=delay_s,
        closed_loop_s=closed_s,
        reachable=reachable,
    )


def _operating(series: Series, cooling: Cooling) -> tuple[float, float, float]:
    """Power, die power and air of the heaviest quarter of the record."""
    order = sorted(range(len(series.power_w)), key=lambda place: series.power_w[place])
    heavy = order[int(0.75 * len(order)) :] or order
    air = series.air_c
    air_c = sum(air[place] for place in heavy) / len(heavy) if air is not None else cooling.air_c or 25.0
    power_w = sum(series.power_w[place] for place in heavy) / len(heavy)
    return power_w, sum(series.die_w[place] for place in heavy) / len(heavy), air_c


def keys(proposal: Proposal) -> dict[str, float]:
    """What to paste into ``[thermal]``."""
    found = {
        "gain_pct_c": proposal.gain_pct_c,
        "integral_s": proposal.integral_s,
        "sink_k_w": proposal.sink_k_w,
        "sink_s": proposal.sink_s,
    }
    return found if proposal.full_rpm is None else {**found, "full_rpm": proposal.full_rpm}
