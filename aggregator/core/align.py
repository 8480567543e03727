"""Which nodes are on one timeline, so that their frames may be fused by time stamp (CLK-3).

A node takes part when its word is fresh, its clock is locked or holds over, and it names its grandmaster and its bound.
Of those, the nodes that follow the grandmaster of most are on the site's timeline, as long as any two bounds together
stay below half a frame period: beyond it two frames of one moment could be taken for two moments, or the reverse. The
narrowest bounds are taken first, so a wide one is blamed and not its neighbours. Every other node has a timeline of its
own. The order of the nodes never matters, and a node that takes no part changes nothing for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aggregator.core.clocks import ALIVE_S, ClockWord
from touchline.units import format_duration

MIN_HALF_PERIOD_NS: Final = 500_000  # 1000 frames/s, the fastest that accept.rate_hz allows
_GOOD: Final = ("locked", "holdover")
_TELL_EVERY_NS: Final = 5_000_000_000  # of one node; what comes and goes faster is told when it lasts
_Master = tuple[str, str]  # grandmaster, timescale


@dataclass(frozen=True, slots=True)
class Claim:
    """A node's word on its clock, the word's age (None: it never spoke) and half its cameras' shortest frame period."""

    node: str
    clock: ClockWord
    age_s: float | None
    half_period_ns: int


@dataclass(frozen=True, slots=True)
class Standing:
    """``reason`` says in words why a node is not aligned; empty when it is."""

    aligned: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Alignment:
    """The verdict. ``spread_ns``: two aligned nodes' stamps of one instant differ by at most this; None below two."""

    nodes: Mapping[str, Standing] = field(default_factory=dict)
    spread_ns: float | int | None = None
    grandmaster: str = ""

    def timeline(self, node: str) -> str:
        """The timeline of a node's stamps: "" is the site's, any other the name of the node whose own it is."""
        standing = self.nodes.get(node)
        return "" if standing is not None and standing.aligned else node


def align(claims: Iterable[Claim]) -> Alignment:
    """Judge all nodes; names are unique."""
    nodes: dict[str, Standing] = {}
    fit: list[Claim] = []
    for claim in claims:
        fault = _own_fault(claim)
        if fault:
            nodes[claim.node] = Standing(False, fault)
        else:
            fit.append(claim)
    members = _of_one_master(fit, nodes)
    admitted = _admit(members, nodes)
    widest = sorted(_bound(claim) for claim in admitted)[-2:]
    return Alignment(
        nodes, sum(widest) if len(widest) == 2 else None, admitted[0].clock.grandmaster if admitted else ""
    )


def _own_fault(claim: Claim) -> str:
    """Why a node cannot take part, whatever the others say; "" when it can."""
    node, clock = claim.node, claim.clock
    bound = "" if clock.bound_ns is None else f" (± {format_duration(clock.bound_ns)})"
    if claim.age_s is None:
        fault = f"{node} has said nothing of its clock"
    elif claim.age_s > ALIVE_S:
        fault = f"{node}'s clock was last heard {claim.age_s:.0f} s ago"
    elif clock.source == "system" or (clock.state == "unlocked" and not clock.source and not clock.grandmaster):
        fault = f"{node}'s clock is the system clock"
    elif clock.state not in _GOOD:
        fault = f"{node}'s clock is {clock.state}{bound}"
    elif not clock.grandmaster:
        fault = f"{node} names no grandmaster"
    elif clock.bound_ns is None:
        fault = f"{node} states no bound"
    elif clock.limit_ns is not None and clock.bound_ns > clock.limit_ns:
        limit, bound = format_duration(clock.limit_ns), format_duration(clock.bound_ns)
        fault = f"{node}'s ± {bound} is beyond its own limit of ± {limit}"
    else:
        fault = ""
    return fault


def _of_one_master(fit: list[Claim], nodes: dict[str, Standing]) -> list[Claim]:
    """The followers of the grandmaster that most follow; the others get their standing. None when two have as many."""
    by_master: dict[_Master, list[Claim]] = {}
    for claim in fit:
        by_master.setdefault((claim.clock.grandmaster, claim.clock.timescale or "PTP"), []).append(claim)
    if not by_master:
        return []
    most = max(len(followers) for followers in by_master.values())
    leaders = sorted(master for master, followers in by_master.items() if len(followers) == most)
    for master, followers in by_master.items():
        rival = next((leader for leader in leaders if leader != master), None)
        if rival is None:
            continue
        tail = ": neither has more nodes" if master in leaders else ""
        names = _names(by_master[rival])
        for claim in followers:
            text = f"{claim.node} follows grandmaster {_master_text(master)}, {names} {_master_text(rival)}{tail}"
            nodes[claim.node] = Standing(False, text)
    return by_master[leaders[0]] if len(leaders) == 1 else []


def _names(followers: list[Claim]) -> str:
    names = sorted(claim.node for claim in followers)
    return f"{names[0]} follows" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more follow"


def _master_text(master: _Master) -> str:
    grandmaster, timescale = master
    return grandmaster if timescale == "PTP" else f"{grandmaster} (timescale {timescale})"


def _admit(members: list[Claim], nodes: dict[str, Standing]) -> list[Claim]:
    """Take members from the narrowest bound on, each if it fuses with all that were taken before it.

    Of those the widest (the last one) and the tightest (the least half period beyond its bound) leave the least room.
    """
    admitted: list[Claim] = []
    tightest: Claim | None = None
    for claim in sorted(members, key=lambda c: (_bound(c), -_half_ns(c), c.node)):
        worst = min((admitted[-1], tightest), key=lambda other: _room_ns(claim, other)) if tightest else None
        if worst is None or _room_ns(claim, worst) > 0:
            admitted.append(claim)
            nodes[claim.node] = Standing(True, "")
            if tightest is None or _half_ns(claim) - _bound(claim) < _half_ns(tightest) - _bound(tightest):
                tightest = claim
            continue
        total_ns, allowed_ns = _bound(claim) + _bound(worst), min(_half_ns(claim), _half_ns(worst))
        nodes[claim.node] = Standing(
            False,
            f"{claim.node}'s ± {format_duration(_bound(claim))} and "
            f"{worst.node}'s ± {format_duration(_bound(worst))} make "
            f"{format_duration(total_ns)}, fusing needs less than {format_duration(allowed_ns)} (half a frame period)",
        )
    return admitted


def _room_ns(one: Claim, other: Claim) -> float:
    """What is left of half a frame period after both bounds; two nodes fuse while it is positive."""
    return min(_half_ns(one), _half_ns(other)) - _bound(one) - _bound(other)


def _half_ns(claim: Claim) -> int:
    return max(claim.half_period_ns, MIN_HALF_PERIOD_NS)


def _bound(claim: Claim) -> float | int:
    return claim.clock.bound_ns or 0


class AlignmentWatch:
    """The latest verdict, and what of its changes belongs in the log."""

    def __init__(self) -> None:
        self.verdict = Alignment()
        self._told: dict[str, tuple[bool, int]] = {}

    def review(self, claims: list[Claim], now_ns: int) -> list[tuple[str, str]]:
        """Judge anew; return (node, why it is not aligned, or "") of each node whose standing is news."""
        self.verdict = align(claims)
        news: list[tuple[str, str]] = []
        for claim in claims:
            standing = self.verdict.nodes[claim.node]
            told = self._told.get(claim.node)
            if told is None and claim.age_s is None:
                continue
            if told is None or (told[0] is not standing.aligned and now_ns - told[1] >= _TELL_EVERY_NS):
                self._told[claim.node] = (standing.aligned, now_ns)
                news.append((claim.node, standing.reason))
        return news
