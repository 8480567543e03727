"""MONOTONIC by way of RAW, beside a truth in which a daemon bends MONOTONIC."""

import math
from dataclasses import replace

import pytest

from agent.clock.bend import Bend, monotonic_by_raw
from agent.clock.mapping import Growth, Mapping
from touchline.timeline import ClockState, Tie, Timebase

S_NS = 1_000_000_000
PAGE_NS = 250_000_000
PTP_NS = 1_800_000_000 * S_NS
APART_NS = -7 * S_NS
RAW = Mapping(
    timebase=Timebase.MONOTONIC_RAW,
    base_ns=0,
    ptp_ns=PTP_NS,
    rate_ppb=0.0,
    newest_ns=0,
    bound_ns=120.0,
    growth=Growth(3.0, 10.0),
    locked=True,
    fresh_ns=3 * S_NS,
    limit_ns=10**9,
    epoch=4,
)
"""RAW shows PTP time exactly, so the truth of a moment of MONOTONIC is what RAW shows then."""


class Bent:
    """MONOTONIC as a daemon bends it: a function of raw time; pages every 250 ms, stamps in between."""

    def __init__(self, bend_ppb, *, jitter_ns: int = 40) -> None:
        self.bend_ppb = bend_ppb
        self.jitter_ns = jitter_ns
        self.worst: list[tuple[float, float]] = []  # error, bound

    def run(self, seconds: int, raw: Mapping = RAW) -> None:
        bend, monotonic, step_ns = Bend(), -APART_NS, 10_000_000
        mapping: Mapping | None = None
        for tick in range(seconds * S_NS // step_ns):
            raw_ns = tick * step_ns
            if tick % (PAGE_NS // step_ns) == 0:
                wrong_ns = round(self.jitter_ns * math.sin(tick))
                link = Tie(raw_ns - monotonic + wrong_ns, self.jitter_ns)
                bend.add(monotonic, link)
                fresh = replace(raw, base_ns=raw_ns // S_NS * S_NS, newest_ns=raw_ns // S_NS * S_NS)
                mapping = monotonic_by_raw(replace(fresh, ptp_ns=PTP_NS + fresh.base_ns), monotonic, link, bend)
            assert mapping is not None
            error_ns = mapping.ptp_at(monotonic) - PTP_NS - raw_ns
            self.worst.append((abs(error_ns), mapping.bound_at(monotonic)))
            monotonic += round(step_ns * (1 + self.bend_ppb(raw_ns / S_NS) * 1e-9))

    def covered(self) -> float:
        return sum(error <= bound for error, bound in self.worst) / len(self.worst)


@pytest.mark.parametrize(
    "bend_ppb",
    [
        lambda _at: 0.0,
        lambda _at: 20_000.0,
        lambda at: 300.0 * math.sin(at / 3),
        lambda at: 100.0 * (int(at) % 2),
        lambda at: 500_000.0 if 20 < at < 25 else 0.0,
    ],
    ids=["alone", "constantly", "a wavering servo", "a servo that hunts", "a slew of a large error"],
)
def test_the_truth_stays_within_the_bound_while_a_daemon_bends_the_clock(bend_ppb):
    bent = Bent(bend_ppb)
    bent.run(60)
    missed = [index for index, (error, bound) in enumerate(bent.worst) if error > bound]
    assert len(missed) <= 25, "at most the time of one page, when a slew begins"
    assert bent.covered() >= 0.995


def test_a_steady_clock_costs_little():
    bent = Bent(lambda _at: 20_000.0)
    bent.run(30)
    assert max(bound for _, bound in bent.worst[500:]) < RAW.bound_ns + 600


def test_it_is_locked_as_long_as_raw_is_and_loses_trust_soon_without_pages():
    bend, link = Bend(), Tie(APART_NS, 30)
    for page in range(8):
        bend.add(-APART_NS + page * PAGE_NS, link)
    now_ns = -APART_NS + 7 * PAGE_NS
    mapping = monotonic_by_raw(RAW, now_ns, link, bend)
    assert mapping.at(now_ns).state is ClockState.LOCKED
    assert mapping.at(now_ns + RAW.fresh_ns).state is ClockState.HOLDOVER
    assert mapping.bound_at(now_ns + 30 * S_NS) > 20 * RAW.bound_at(30 * S_NS)
    assert not monotonic_by_raw(replace(RAW, locked=False), now_ns, link, bend).locked
    assert not monotonic_by_raw(RAW, now_ns + 4 * S_NS, link, bend).locked
