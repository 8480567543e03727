"""A synthetic Orin's clocks: an oscillator that heat bends, a hardware clock that a servo steers, and the exact truth.

Pairs of TSC and hardware clock at 1 Hz, ticks of 32 ns and 3.2 ns, 20 ns of jitter, +-20 ppm of rate error,
temperature wander, steps. Everything is a function of true time and a seed; time is the grandmaster's, in seconds from
0, so that the error of any stamp is known exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.clock.core import ServoView
from agent.clock.mapping import Pair

TSC_TICK_NS: Final = 32
PHC_TICK_NS: Final = 3.2
EPOCH_NS: Final = 1_800_000_000_000_000_000  # true time 0 on the first timeline, TAI
_TSC_START_NS: Final = 5_000_000_000_000
_GRID_S: Final = 0.125


@dataclass(frozen=True, slots=True)
class OrinSettings:
    """``rate_ppm``: limit of the constant rate error. Wander: ``warm_ppm`` approached with ``warm_s`` after power-on,

    and a swing of ``swing_ppm`` with a period of ``swing_s``; the defaults bend the rate by 7 ppb/s at true time 0,
    ``on_s`` after power-on (a node needs as long to boot and its servo to lock), and by 1.6 ppb/s later: an
    uncompensated crystal of 0.1 ppm/K in air that moves by a degree a minute.
    ``servo_ns``: sigma of what the locked servo leaves; ``offset_noise_ns``: sigma of ptp4l's own measurement of it.
    """

    rate_ppm: float = 20.0
    jitter_ns: float = 20.0
    warm_ppm: float = 1.2
    warm_s: float = 90.0
    on_s: float = 60.0
    swing_ppm: float = 0.15
    swing_s: float = 600.0
    servo_ns: float = 8.0
    servo_s: float = 4.0
    offset_noise_ns: float = 8.0
    pair_period_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that happens at ``at_s``.

    ``phc_ns``: the hardware clock jumps by so much (its driver resets it) and the servo needs ``away_s`` to be back.
    ``time_ns``: the grandmaster's time itself jumps; with ``grandmaster`` it is another one. The servo follows.
    ``silent_s``: no pairs for so long.
    """

    at_s: float
    phc_ns: float = 0.0
    time_ns: float = 0.0
    grandmaster: str = ""
    silent_s: float = 0.0
    away_s: float = 4.0


class SyntheticOrin:
    """One node's clocks over ``seconds``; the same seed gives the same life."""

    def __init__(
        self, seed: int, seconds: float, settings: OrinSettings | None = None, troubles: tuple[Trouble, ...] = ()
    ) -> None:
        self.settings = settings or OrinSettings()
        self.troubles = troubles
        self._random = np.random.default_rng(seed)
        self._rate = self._random.uniform(-1.0, 1.0) * self.settings.rate_ppm * 1e-6
        self._phase = self._random.uniform(0.0, 2.0 * math.pi)
        self._phc_error = self._servo_path(seconds)

    # --- truth ---

    def tsc_ns(self, true_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """The oscillator's count at true times, ns, unrounded: its rate error integrated."""
        one = self.settings
        swing = 2.0 * math.pi / one.swing_s
        bent = self._rate * true_s
        cold = math.exp(-one.on_s / one.warm_s)
        bent = bent + one.warm_ppm * 1e-6 * (true_s - one.warm_s * cold * (1.0 - np.exp(-true_s / one.warm_s)))
        bent = bent + one.swing_ppm * 1e-6 * (math.cos(self._phase) - np.cos(swing * true_s + self._phase)) / swing
        return (true_s + bent) * 1e9

    def moved_ns(self, at_s: float) -> float:
        """By how much the timeline that runs at ``at_s`` differs from the first one, ns."""
        return sum(trouble.time_ns for trouble in self.troubles if trouble.at_s <= at_s)

    def grandmaster(self, at_s: float) -> str:
        """Whose time it is."""
        named = [trouble.grandmaster for trouble in self.troubles if trouble.at_s <= at_s and trouble.grandmaster]
        return named[-1] if named else "gm-a"

    # --- what can be read ---

    def pair(self, at_s: float) -> Pair | None:
        """What /dev/nvpps0 gives for a moment; both readings are rounded down and centred by half a tick."""
        if any(one.silent_s and one.at_s <= at_s < one.at_s + one.silent_s for one in self.troubles):
            return None
        read_s = at_s + self._random.normal(0.0, self.settings.jitter_ns) * 1e-9
        return Pair(
            base_ns=int(self.stamp_ns(np.array([read_s]))[0]),
            ptp_ns=EPOCH_NS + math.floor((at_s * 1e9 + self.phc_error_ns(at_s)) / PHC_TICK_NS) * 16 // 5 + 2,
            half_ns=(TSC_TICK_NS + PHC_TICK_NS) / 2,
        )

    def stamp_ns(self, true_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """The camera's stamps of exposures at true times: TSC ticks, centred."""
        ticks = np.floor(self.tsc_ns(true_s) / TSC_TICK_NS).astype(np.int64)
        return ticks * TSC_TICK_NS + TSC_TICK_NS // 2 + _TSC_START_NS

    def servo(self, at_s: float) -> ServoView:
        """What ptp4l says at a moment: its last sync is up to a second old and its offset is a measurement."""
        sync_s = math.floor(at_s)
        error_ns = self.phc_error_ns(sync_s) - self.moved_ns(sync_s)
        offset_ns = error_ns + self._random.normal(0.0, self.settings.offset_noise_ns)
        away = any(
            (one.phc_ns or one.time_ns or one.grandmaster) and one.at_s <= sync_s < one.at_s + one.away_s
            for one in self.troubles
        )
        return ServoView(int(at_s * 1e9), not away, self.grandmaster(at_s), offset_ns)

    def phc_error_ns(self, at_s: float) -> float:
        """The hardware clock less the first timeline, ns."""
        noise = float(np.interp(at_s, *self._phc_error))
        jumped = 0.0
        for one in self.troubles:
            if at_s < one.at_s:
                continue
            since_s = at_s - one.at_s
            if since_s < one.away_s:  # the servo has not seen it, or is on its way
                jumped += one.phc_ns
            else:
                left = math.exp(-(since_s - one.away_s) / 0.7)
                jumped += one.time_ns + left * math.copysign(min(200.0, abs(one.phc_ns)), one.phc_ns)
        return noise + jumped

    def _servo_path(self, seconds: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the servo leaves: noise that it forgets within ``servo_s`` (Ornstein-Uhlenbeck)."""
        at_s = np.arange(0.0, seconds + 2.0, _GRID_S)
        keep = math.exp(-_GRID_S / self.settings.servo_s)
        kicks = self._random.normal(0.0, self.settings.servo_ns * math.sqrt(1.0 - keep * keep), len(at_s))
        path = np.empty(len(at_s))
        value = self._random.normal(0.0, self.settings.servo_ns)
        for place, kick in enumerate(kicks):
            value = keep * value + kick
            path[place] = value
        return at_s, path
