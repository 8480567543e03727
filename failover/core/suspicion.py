"""How long a twin may be silent before it is believed dead: phi-accrual with a floor and a cap.

N. Hayashibara, X. Defago, R. Yared, T. Katayama: "The phi accrual failure detector", SRDS 2004. phi(t) is minus the
decimal logarithm of the chance that a beat still comes after a silence of t, from the mean and the standard deviation
of the gaps between the last beats, taken as normal. Here phi is turned round: what silence reaches the threshold. It
is never less than two beats that did not come, whatever the statistics say, and never more than the cap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist
from typing import Final

WINDOW: Final = 100  # gaps remembered: two seconds of beats
ENOUGH: Final = 10  # gaps before statistics are believed; until then the cap alone rules
FLOOR_BEATS: Final = 2.5  # two beats were due and did not come, and the second had half a beat to be late
SPREAD_FLOOR: Final = 20  # the deviation is at least a beat divided by this: no network is a metronome
PHI_MOST: Final = 99.0


@dataclass(frozen=True, slots=True)
class Suspicion:
    """The estimator of one twin. ``limit_ns``: a silence that is believed. Build it with :func:`unknown`."""

    beat_ns: int
    cap_ns: int
    phi: float
    limit_ns: int
    gaps_ns: tuple[int, ...] = ()
    total_ns: int = 0
    squares: int = 0

    @property
    def mean_ns(self) -> float:
        """Mean gap between two beats; the agreed beat while too few are known."""
        return self.total_ns / len(self.gaps_ns) if len(self.gaps_ns) >= ENOUGH else float(self.beat_ns)

    @property
    def deviation_ns(self) -> float:
        """Standard deviation of the gaps, with its floor."""
        floor_ns = self.beat_ns / SPREAD_FLOOR
        count = len(self.gaps_ns)
        if count < ENOUGH:
            return floor_ns
        variance = (self.squares - self.total_ns * self.total_ns / count) / count
        return max(floor_ns, math.sqrt(max(0.0, variance)))

    def heard(self, gap_ns: int) -> Suspicion:
        """Return the estimator after a beat that came ``gap_ns`` after the one before.

        A gap below half a beat is a burst (a beat sent at a change, or a socket read late) and one above the cap an
        outage: neither says anything of how beats come when all is well.
        """
        if not self.beat_ns // 2 <= gap_ns <= self.cap_ns:
            return self
        total_ns, squares = self.total_ns + gap_ns, self.squares + gap_ns * gap_ns
        gaps_ns = (*self.gaps_ns, gap_ns)
        if len(gaps_ns) > WINDOW:
            oldest = gaps_ns[0]
            gaps_ns, total_ns, squares = gaps_ns[1:], total_ns - oldest, squares - oldest * oldest
        taken = replace(self, gaps_ns=gaps_ns, total_ns=total_ns, squares=squares)
        if len(gaps_ns) < ENOUGH:
            return taken
        reached_ns = int(taken.mean_ns + sigmas(self.phi) * taken.deviation_ns)
        return replace(taken, limit_ns=min(self.cap_ns, max(int(FLOOR_BEATS * self.beat_ns), reached_ns)))

    def phi_at(self, silent_ns: int) -> float:
        """Return phi of a silence, for people; :data:`PHI_MOST` beyond what a float can tell."""
        chance = 0.5 * math.erfc((silent_ns - self.mean_ns) / (self.deviation_ns * math.sqrt(2.0)))
        return PHI_MOST if chance <= 0.0 else min(PHI_MOST, abs(math.log10(chance)))


def unknown(beat_ns: int, cap_ns: int, phi: float) -> Suspicion:
    """Return the estimator of a twin of which nothing is known: the cap rules."""
    return Suspicion(beat_ns, cap_ns, phi, limit_ns=cap_ns)


@lru_cache(maxsize=64)
def sigmas(phi: float) -> float:
    """How many standard deviations above the mean have the chance 10^-phi: 5.6 for phi 8."""
    return -NormalDist().inv_cdf(10.0**-phi)
