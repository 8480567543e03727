"""A path measured with software stamps, as seen between namespaces of a busy machine: ptp4l's arithmetic on latencies.

Each way takes a constant time, plus what the CPU lets it wait: levels that last for seconds and differ from one way to
the other, noise, and now and then a spike. The delay is the median of the last ten exchanges, as ptp4l's is, and an
offset is a Sync's way less that. Both clocks are the same one: the truth is that the offset is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Final

import numpy as np

from agent.clock.core import ClockCore, ClockPolicy, ServoView
from agent.clock.mapping import Pair
from touchline.timeline import ClockState, Timebase

START_NS: Final = 1_800_000_000_000_000_000
LOOK_NS: Final = 250_000_000
EXCHANGES: Final = 2  # in the time of a look
FILTER: Final = 10  # exchanges: delay_filter_length of ptp4l
RATE_PPB: Final = 3_000.0  # of this machine's clock against the truth
POLICY: Final = ClockPolicy(limit_ns=200_000, servo_ns=100_000.0, wander_ppb_per_s=10.0)


@dataclass
class Way:
    """One direction: ns for each packet."""

    random: np.random.Generator
    level_ns: float
    base_ns: float = 1_500.0
    level: float = 0.0

    def take(self) -> float:
        """The time of one packet."""
        if self.random.random() < 0.06:  # a level lasts some two seconds
            self.level = float(self.random.exponential(self.level_ns)) * float(self.random.random() < 0.6)
        spike = float(self.random.exponential(60_000.0)) * float(self.random.random() < 0.02)
        return self.base_ns + self.level + float(self.random.exponential(800.0)) + spike


@dataclass
class SoftwarePath:
    """A node with software stamps, its core, and the share of stamps whose truth lies within their bound."""

    seed: int
    level_ns: float = 12_000.0
    errors: list[float] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)
    states: list[ClockState] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.core = ClockCore(POLICY)
        self.looks = 0
        self.meet("gm-a")

    def meet(self, grandmaster: str) -> None:
        """Follow a master: ptp4l forgets the path."""
        self.grandmaster = grandmaster
        self.there, self.back = (Way(self.random, self.level_ns) for _ in range(2))
        self.delays = [(self.there.take() + self.back.take()) / 2]

    def run(self, looks: int, *, silent: bool = False) -> None:
        """So many looks, and 25 stamps between each and the next, as any process makes them."""
        for _ in range(looks):
            self.looks += 1
            self._look(silent)

    def _look(self, silent: bool) -> None:
        base_ns = self.looks * LOOK_NS
        for _ in range(EXCHANGES):
            sync_ns = self.there.take()
            self.delays = [*self.delays, (sync_ns + self.back.take()) / 2][-FILTER:]
        delay_ns = median(self.delays)
        view = ServoView(base_ns, not silent, self.grandmaster, None, path_doubt_ns=delay_ns)
        self.core.servo(view)
        if not silent:
            ptp_ns = self._truth_ns(base_ns) - round(sync_ns - delay_ns)
            self.core.sample({Timebase.MONOTONIC_RAW: Pair(base_ns, ptp_ns, 120.0)}, view)
        mapping = self.core.mappings.get(Timebase.MONOTONIC_RAW)
        self.core.look(None if mapping is None else mapping.at(base_ns))
        if mapping is not None:
            for place in range(25):
                at_ns = base_ns + place * LOOK_NS // 25
                stamp = mapping.at(at_ns)
                self.errors.append(stamp.ptp_ns - self._truth_ns(at_ns))
                self.bounds.append(stamp.bound_ns)
                self.states.append(stamp.state)

    @staticmethod
    def _truth_ns(base_ns: int) -> int:
        return START_NS + base_ns + round(base_ns * RATE_PPB * 1e-9)
