"""Fan laws of others, written anew from what is published about them, to stand beside ours."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from thermal.plant.profiles import Profile
from thermal.simulate.figures import BUSY_LOAD
from thermal.simulate.laws import LineLaw, Order, tj_of
from thermal.simulate.run import BEGIN_NS
from thermal.types import Command, Sample

# NVIDIA Jetson Linux Developer Guide (r34.1), "nvfancontrol.conf" for Jetson Orin: profile cool (the default), TMARGIN
# ENABLED, GROUP_MAX_TEMP 105. Columns there: margin below 105 C, hysteresis K, PWM of 255.
NVFANCONTROL_COOL: Final = ((0.0, 0.0, 255.0), (18.0, 9.0, 255.0), (30.0, 11.0, 202.0), (45.0, 11.0, 149.0),
                            (60.0, 14.0, 88.0), (105.0, 0.0, 0.0))  # fmt: skip
GROUP_MAX_C: Final = 105.0
STEP_SIZE: Final = 10.0  # FAN_GOVERNOR pid, PWM counts a poll; how the closed daemon uses it is assumed


class NvFanControl:
    """nvfancontrol's stock table: a poll each 2 s, straight lines between its points, at most ``STEP_SIZE`` a poll.

    Hysteresis (assumed from the guide's example): a lower duty comes only when tj has fallen by the point's hysteresis
    below where the present duty was set. A failed read leaves the fan as it is.
    """

    name = "nvfancontrol cool"
    period_s = 2.0

    def __init__(self) -> None:
        self._pwm = 88.0
        self._set_at_c = 0.0

    def order(self, sample: Sample, now_ns: int) -> Order:
        """One poll."""
        tj_c = tj_of(sample)
        if tj_c is not None:
            goal, hysteresis_k = table(GROUP_MAX_C - tj_c)
            if goal > self._pwm:
                self._pwm, self._set_at_c = min(goal, self._pwm + STEP_SIZE), tj_c
            elif goal < self._pwm and tj_c <= self._set_at_c - hysteresis_k:
                self._pwm = max(goal, self._pwm - STEP_SIZE)
                if self._pwm == goal:
                    self._set_at_c = tj_c
        return Order(Command(100.0 * self._pwm / 255.0, 0))


def table(margin_k: float) -> tuple[float, float]:
    """PWM and hysteresis at this margin below the limit."""
    points = NVFANCONTROL_COOL
    if margin_k <= points[0][0]:
        return points[0][2], points[0][1]
    for (low, _, low_pwm), (high, hysteresis_k, high_pwm) in pairwise(points):
        if margin_k <= high:
            return low_pwm + (margin_k - low) / (high - low) * (high_pwm - low_pwm), hysteresis_k
    return points[-1][2], points[-1][1]


class FullInPlay:
    """No law at all: told the schedule to the second, the asked line at rest and the full fan from kick-off on.

    Whoever learns of the match when it begins cannot be cooler in it: what the full fan alone has over this, it has
    from running at full speed through rest and warm-up, by a heatsink and a box that are cooler at kick-off.
    """

    name = "full fan in play"
    period_s = 1.0

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._line = LineLaw()

    def order(self, sample: Sample, now_ns: int) -> Order:
        """One tick."""
        load = self._profile.at((now_ns - BEGIN_NS) / 1e9)[1].load
        return Order(Command(100.0, 0)) if load >= BUSY_LOAD else self._line.order(sample, now_ns)


class Openpilot:
    """openpilot's fan law by its description (MIT): 2 Hz, whole percent, 30 to 100 while driving.

    An integral of 0.004 %/K/s about its set point, and straight on top a feed-forward of the temperature: 0 at 15 K
    below the set point (60 C of 75), 100 at 25 K above. The integral stands while it would push further beyond a limit.
    """

    period_s = 0.5
    gain_pct_k_s = 4e-3

    def __init__(self, set_point_c: float = 75.0) -> None:
        self.name = "openpilot" if set_point_c == 75.0 else f"openpilot at {set_point_c:g} C"
        self._set_point_c, self._integral = set_point_c, 0.0
        self._duty_pct = 30.0

    def order(self, sample: Sample, now_ns: int) -> Order:
        """One tick. A failed read leaves the fan as it is (there, it ended the daemon)."""
        tj_c = tj_of(sample)
        if tj_c is not None:
            error_k = tj_c - self._set_point_c
            forward = min(max((error_k + 15.0) / 40.0, 0.0), 1.0) * 100.0
            moved = self._integral + error_k * self.gain_pct_k_s * self.period_s
            if 30.0 <= forward + moved <= 100.0 or abs(moved) < abs(self._integral):
                self._integral = moved
            self._duty_pct = float(int(min(max(forward + self._integral, 30.0), 100.0)))
        return Order(Command(self._duty_pct, 0))
