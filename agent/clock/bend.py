"""CLOCK_MONOTONIC by way of CLOCK_MONOTONIC_RAW. Pure.

NTP, phc2sys and ptp4l with software stamps bend CLOCK_MONOTONIC, in which most cameras stamp; nobody bends the raw
clock. So pairs and fits are made on the raw one alone, and MONOTONIC is tied to it anew with every page. Between two
pages its rate is the one seen last, and what a daemon may have done to it since is part of the growth of its bound.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final

from agent.clock.mapping import Growth, Mapping
from touchline.timeline import Tie, Timebase

STEER_PPB_PER_S: Final = 2_000.0
"""How fast a daemon in its locked state bends the clock; nobody sees it between two pages, or when pages stop coming.

phc2sys and chronyd correct once a second, by some 100 ppb each time. A slew of a large error (500 ppm) is seen with the
next page, 0.25 s later."""

UNKNOWN_PPB: Final = 500_000.0  # adjtimex(2): what the frequency of the clock may be off at most
_SPAN_NS: Final = 1_200_000_000
_LEAST_SPAN_NS: Final = 200_000_000
_REMEMBER_NS: Final = 20_000_000_000


@dataclass(slots=True)
class Bend:
    """What the last ties say of the rate of RAW against MONOTONIC; times are CLOCK_MONOTONIC."""

    _ties: deque[tuple[int, Tie]] = field(default_factory=deque)
    _rates: deque[tuple[int, float]] = field(default_factory=deque)
    rate_ppb: float = 0.0
    doubt_ppb: float = UNKNOWN_PPB

    def add(self, now_ns: int, link: Tie) -> None:
        """Take a tie: ``link`` is what to add to a reading of MONOTONIC to have RAW."""
        if self._ties and now_ns - self._ties[-1][0] < _LEAST_SPAN_NS:
            return
        if len(self._ties) > 1:
            lately_ppb, noise_ppb = _rate(self._ties[-1], (now_ns, link))
            if abs(lately_ppb - self.rate_ppb) > noise_ppb + _rate(self._ties[0], self._ties[-1])[1]:
                self._ties = deque([self._ties[-1]])  # what was before says nothing of the rate now
        self._ties.append((now_ns, link))
        while len(self._ties) > 2 and now_ns - self._ties[0][0] > _SPAN_NS:
            self._ties.popleft()
        if len(self._ties) > 1:
            self.rate_ppb, noise_ppb = _rate(self._ties[0], self._ties[-1])
            self._rates.append((now_ns, self.rate_ppb))
            while now_ns - self._rates[0][0] > _REMEMBER_NS:
                self._rates.popleft()
            seen = [rate for _, rate in self._rates]
            self.doubt_ppb = noise_ppb + max(seen) - min(seen)


def _rate(before: tuple[int, Tie], after: tuple[int, Tie]) -> tuple[float, float]:
    """RAW's rate against MONOTONIC between two ties, and how wrong their readings may make it, ppb."""
    span_ns = max(1, after[0] - before[0])
    rate = (after[1].difference_ns - before[1].difference_ns) / span_ns
    return rate * 1e9, (after[1].half_ns + before[1].half_ns) / span_ns * 1e9


def monotonic_by_raw(raw: Mapping, now_ns: int, link: Tie, bend: Bend) -> Mapping:
    """Return the mapping of MONOTONIC at ``now_ns``; it is locked as long as the raw one is, its bound no smaller."""
    raw_ns = now_ns + link.difference_ns
    age_ns = max(0, raw_ns - raw.newest_ns)
    wander = raw.growth.wander_ppb_per_s
    growth = Growth(raw.growth.rate_ppb + wander * age_ns * 1e-9 + bend.doubt_ppb, wander + STEER_PPB_PER_S)
    return replace(
        raw,
        timebase=Timebase.MONOTONIC,
        base_ns=now_ns,
        ptp_ns=raw.ptp_at(raw_ns),
        rate_ppb=raw.rate_ppb + bend.rate_ppb,
        newest_ns=now_ns,
        bound_ns=float(raw.bound_at(raw_ns) + link.half_ns),
        growth=growth,
        locked=raw.locked and age_ns <= raw.fresh_ns,
        fresh_ns=max(0, raw.fresh_ns - age_ns),
    )
