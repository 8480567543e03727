"""A board that is simulated: :class:`thermal.types.Board` over the physics, driven by a profile.

The plant moves when it is looked at: ``sample(now_ns)`` brings it to that time. Deterministic by its seed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from thermal.plant.physics import STEP_S, Outside, State, advance, settled, shares
from thermal.plant.profiles import Phase, Profile
from thermal.plant.sensors import Sensors, clocks, hottest_c
from thermal.plant.spec import PlantSpec
from thermal.plant.troubles import Trouble, active, first
from thermal.types import Domain, Raw, Sample

_MOST_CATCH_UP_S: Final = 3600.0  # somebody who looks after hours sees the plant an hour later
_PWM_STEPS: Final = 255


class PlantBoard:
    """The simulated node.

    Args:
        profile: what is asked of it and what the weather does.
        spec: what it is made of.
        seed: of noise and of the load's wander; the same seed is the same run.
        duty_pct: what the vendor's daemon had set before.
    """

    def __init__(
        self, profile: Profile, spec: PlantSpec | None = None, *, seed: int = 0, duty_pct: float = 40.0
    ) -> None:
        self.spec = spec or PlantSpec()
        self._profile, self._random = profile, Random(seed)
        phase, outside = profile.at(0.0)
        self.state: State = settled(self.spec, outside, duty_pct)
        self.at_s = 0.0
        self.phase: Phase = phase
        self.outside: Outside = outside
        self._wander = 0.0
        self._begin_ns: int | None = None
        self._sensors = Sensors(self.spec, self.state, self._random)
        self._sensors.follow(self.state, outside.load, STEP_S)
        self._duty_pct = duty_pct

    @property
    def tj_c(self) -> float:
        """The true junction temperature, which no law sees."""
        return hottest_c(self.spec, self.state)

    @property
    def broken(self) -> list[Trouble]:
        """What is broken now."""
        return active(self._profile.troubles, self.at_s)

    def sample(self, now_ns: int) -> Sample:
        """Bring the plant to ``now_ns`` (the first call is the profile's begin) and read it."""
        if self._begin_ns is None:
            self._begin_ns = now_ns
        to_s = (now_ns - self._begin_ns) / 1e9
        self._to(to_s)
        broken, state = self.broken, self.state
        return Sample(
            at_ns=now_ns,
            zones_c=self._sensors.zones(broken),
            fan_rpm=self._sensors.rpm(state, broken),
            duty_pct=Raw(state.duty_pct),
            power_w=self._sensors.rails(state, broken),
            clock_hz=clocks(state),
            oc_events=self._sensors.over_current(),
            ambient_c=self._sensors.ambient(broken),
        )

    def _to(self, to_s: float) -> None:
        self.at_s = max(self.at_s, to_s - _MOST_CATCH_UP_S)
        while to_s - self.at_s > 1e-6:
            step = min(STEP_S, to_s - self.at_s)
            self.at_s += step
            self.phase, self.outside = self._profile.at(self.at_s)
            self.outside.load = self._wandering(self.outside.load, step)
            self._break(self.broken if self._profile.troubles else ())
            advance(self.spec, self.state, self.outside, step)
            self._sensors.follow(self.state, self.outside.load, step)

    def _wandering(self, load: float, step_s: float) -> float:
        """The load with its short-term wander: an Ornstein-Uhlenbeck process, as a share of the load."""
        keep = 1.0 - step_s / self.spec.load_noise_s
        spread = self.spec.load_noise * (1.0 - keep * keep) ** 0.5
        self._wander = keep * self._wander + self._random.gauss(0.0, spread)
        return min(max(load * (1.0 + self._wander), 0.0), 1.05)

    def _break(self, broken: Sequence[Trouble]) -> None:
        state = self.state
        state.stalled = bool(broken) and first(broken, "fan_stalled") is not None
        weak = first(broken, "fan_weak") if broken else None
        state.weak = 1.0 if weak is None else min(max(weak.value, 0.0), 1.0)
        foreign = first(broken, "foreign_duty") if broken else None
        state.duty_pct = self._duty_pct if foreign is None else foreign.value

    def set_duty(self, duty_pct: float) -> str | None:
        """Set the PWM, in its 255 steps."""
        if not 0.0 <= duty_pct <= 100.0:
            return f"pwm1: duty {duty_pct:g} % is not 0 to 100"
        if first(self.broken, "write_refused") is not None:
            return f"pwm1: {os.strerror(errno.EIO)}"
        self._duty_pct = round(duty_pct / 100.0 * _PWM_STEPS) * 100.0 / _PWM_STEPS
        self.state.duty_pct = self._duty_pct
        return None

    def set_caps(self, cap_hz: Mapping[Domain, float]) -> str | None:
        """Cap clocks; a domain that is not named is not capped."""
        if first(self.broken, "caps_ignored") is None:
            self.state.cpu_share, self.state.gpu_share = shares({str(name): hz for name, hz in cap_hz.items()})
        return None

    def take(self) -> str | None:
        """Nobody else is on a simulated fan; full speed until the first duty comes."""
        return self.set_duty(100.0)

    def give_back(self) -> str | None:
        """Full speed, as a node without a vendor's daemon leaves it."""
        return self.set_duty(100.0)

    def close(self) -> None:
        """Nothing is open."""
