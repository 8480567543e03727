"""The model that is fitted, and the fit: heatsink over fan speed, die above it. Gray box, output error.

    sink' = (power - (sink - air) (g0 + g1 share^0.8)) / C         tj = sink + R low-pass(die power, tau)

``power`` is the sum of the rails: what they do not show (regulators, about 5 %) is in R, g0, g1 and C. Parameters are
fitted as logarithms, so none can be negative; the error is that of tj over the whole run (no one-step cheating).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from thermal.identify.lsq import Solution, fit
from thermal.identify.series import Series
from touchline.errors import InputError

EXPONENT: Final = 0.8  # of the fan's speed: forced convection over plates (Nu ~ Re^0.8)
HELD_OUT: Final = 0.3  # the last share of the record is not fitted, only foretold
LEAST_POWER_W: Final = 8.0  # 5th to 95th percentile
LEAST_SHARE: Final = 0.15
MOST_ERROR: Final = 0.25  # relative standard error of a parameter
MOST_RMS_K: Final = 1.5
_START: Final = (0.3, 6.0, 250.0, 0.4, 1.5)  # R, tau, C, g0, g1: any cooler of a 15 to 60 W module is near it
_NAMES: Final = ("die over heatsink", "die's time constant", "heat capacity", "still air", "fan's effect")


@dataclass(frozen=True, slots=True)
class Cooling:
    """The node's cooling, per watt of the rails' sum (die rails for ``r_die``)."""

    r_die_k_w: float
    tau_die_s: float
    c_sink_j_k: float
    g_still_w_k: float
    g_fan_w_k: float
    sink0_c: float
    air_c: float | None  # where no sensor is: fitted as a constant

    def conductance(self, share: float) -> float:
        """W/K of the heatsink at this fan speed."""
        return self.g_still_w_k + self.g_fan_w_k * math.pow(max(share, 0.0), EXPONENT)


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found and how good it is. ``errors``: relative standard error by the parameter's name."""

    cooling: Cooling
    errors: dict[str, float]
    rms_k: float
    held_out_rms_k: float
    held_out_worst_k: float
    fitted_s: float
    held_out_s: float
    steps: int


def predict(series: Series, cooling: Cooling) -> list[float]:
    """tj over the whole series from its powers, air and fan alone, C."""
    step_s, sink_c = series.step_s, cooling.sink0_c
    air = series.air_c if series.air_c is not None else (cooling.air_c or 0.0,) * len(series.tj_c)
    keep = math.exp(-step_s / cooling.tau_die_s)
    die_k = cooling.r_die_k_w * series.die_w[0]
    g_still, g_fan, capacity = cooling.g_still_w_k, cooling.g_fan_w_k, cooling.c_sink_j_k
    found = []
    for power_w, die_w, share, air_c in zip(series.power_w, series.die_w, series.share, air, strict=True):
        found.append(sink_c + die_k)
        g = g_still + g_fan * share**EXPONENT
        end_c = air_c + power_w / g
        sink_c = end_c + (sink_c - end_c) * math.exp(-step_s * g / capacity)
        die_k = die_k * keep + cooling.r_die_k_w * die_w * (1.0 - keep)
    return found


def identify_cooling(series: Series) -> Fit:
    """Fit the first part, foretell the rest. Raises InputError where the record cannot tell."""
    _must_excite(series)
    count = round(len(series.tj_c) * (1.0 - HELD_OUT))
    learn = _part(series, count)

    def residuals(values: Sequence[float]) -> list[float]:
        try:
            seen = predict(learn, _cooling(learn, values))
        except OverflowError:
            return [1e6] * count
        return [a - b for a, b in zip(seen, learn.tj_c, strict=True)]

    start = [math.log(value) for value in _START] + [0.0] * (1 if series.air_c is not None else 2)
    solution = fit(residuals, start)
    cooling = _cooling(series, solution.values)
    found = predict(series, cooling)
    rest = [a - b for a, b in zip(found[count:], series.tj_c[count:], strict=True)]
    errors = _errors(solution, residuals(solution.values))
    result = Fit(
        cooling=cooling,
        errors=errors,
        rms_k=solution.rms,
        held_out_rms_k=math.sqrt(sum(value * value for value in rest) / len(rest)),
        held_out_worst_k=max(abs(value) for value in rest),
        fitted_s=learn.seconds,
        held_out_s=series.seconds - learn.seconds,
        steps=solution.steps,
    )
    _must_be_known(result)
    return result


def _part(series: Series, count: int) -> Series:
    return Series(
        step_s=series.step_s,
        tj_c=series.tj_c[:count],
        power_w=series.power_w[:count],
        die_w=series.die_w[:count],
        share=series.share[:count],
        duty_pct=series.duty_pct[:count],
        rpm=None if series.rpm is None else series.rpm[:count],
        air_c=None if series.air_c is None else series.air_c[:count],
        full_rpm=series.full_rpm,
    )


def _cooling(series: Series, values: Sequence[float]) -> Cooling:
    r_die, tau, capacity, g_still, g_fan = (math.exp(min(max(value, -12.0), 12.0)) for value in values[:5])
    sink0_c = series.tj_c[0] - r_die * series.die_w[0] + 10.0 * values[5]
    air_c = None if series.air_c is not None else 25.0 + 10.0 * values[6]
    return Cooling(r_die, tau, capacity, g_still, g_fan, sink0_c, air_c)


def _errors(solution: Solution, residuals: Sequence[float]) -> dict[str, float]:
    """Standard errors, widened because neighbouring residuals are alike (effective number of points)."""
    total = sum(value * value for value in residuals) or 1e-12
    alike = sum(a * b for a, b in pairwise(residuals)) / total
    alike = min(max(alike, 0.0), 0.99)
    wider = math.sqrt((1.0 + alike) / (1.0 - alike))
    return {name: sigma * wider for name, sigma in zip(_NAMES, solution.sigma, strict=False)}


def _spread(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[int(0.95 * (len(ordered) - 1))] - ordered[int(0.05 * (len(ordered) - 1))]


def _must_excite(series: Series) -> None:
    """What never moved cannot be found. Raises InputError."""
    learn = _part(series, round(len(series.tj_c) * (1.0 - HELD_OUT)))
    power_w, share = _spread(learn.power_w), _spread(learn.share)
    if power_w < LEAST_POWER_W:
        raise InputError(
            f"power moved by only {power_w:.1f} W in the record; {LEAST_POWER_W:g} are needed to tell R and C",
            hint="record from rest through warm-up into play",
        )
    if share < LEAST_SHARE:
        raise InputError(
            f"the fan moved by only {100 * share:.0f} % of its speed; {100 * LEAST_SHARE:.0f} are needed",
            hint="record a run in which it goes from its floor to match speed",
        )


def _must_be_known(found: Fit) -> None:
    """A parameter that is wide open, or a model that does not foretell, is no result. Raises InputError."""
    checked = ("die over heatsink", "heat capacity", "fan's effect")
    worst = max(checked, key=lambda name: found.errors[name])
    if not found.errors[worst] <= MOST_ERROR:
        raise InputError(
            f"the record does not tell the {worst}: its standard error is {100 * found.errors[worst]:.0f} %",
            hint="record longer, with changes of load and of fan speed that do not always come together",
        )
    if not max(found.held_out_rms_k, found.rms_k) <= MOST_RMS_K:
        raise InputError(
            f"the model misses tj by {found.rms_k:.2f} K where it was fitted and {found.held_out_rms_k:.2f} K where it "
            f"was not; {MOST_RMS_K:g} K are allowed",
            hint="was a sensor broken, the air blocked or the sun on the box? record another run",
        )
