"""What came of a fault, from evidence alone. Pure: it asks nobody, it reads what was left behind.

Moments are monotonic ns of the one machine on which everything runs, exposures PTP ns.

- Records: every exposure of the grid between two moments is at the rack exactly once, whole, from one node. Where a
  fault takes what nobody can give back, its own time is spared: what is missing then is counted with its reason. Before
  it and behind it nothing may be missing, and nothing is ever there twice.
- Leases: grants of two holders never overlap, an epoch has one holder, a later grant never has a lower epoch.
- The virtual address: two kernels carry it at once only while one of the nodes does not run (frozen, without power);
  the observer never hears the old node again once it has heard the new one.
- The outcome: who is active afterwards, and whether the address moved at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Final, Literal

from agent.camera.grid import Trigger

NS_PER_MS: Final = 1_000_000
MOST_TOLD: Final = 5  # of the same kind of violation; the rest is a number
PHASES: Final = ("suspected", "lease", "gate", "first frame at the rack", "address", "total")

Must = Literal["yes", "no", "may"]


@dataclass(frozen=True, slots=True)
class Frame:
    """The records of one camera frame of one node, as the rack stored them."""

    ptp_ns: int
    node: str
    epoch: int
    arrived_ns: int
    records: int


@dataclass(frozen=True, slots=True)
class Lease:
    """One grant or renewal by the witness; it lasts until ``until_ns`` unless released before."""

    node: str
    epoch: int
    at_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Interval:
    """From ``begin_ns`` to ``end_ns``, of a node; None: it went on."""

    node: str
    begin_ns: int
    end_ns: int | None = None

    def overlap_ns(self, other: Interval) -> int:
        """How long both last at once, 0 or less for never; ongoing ones count to the later beginning and one more."""
        horizon = max(self.begin_ns, other.begin_ns) + 1
        ends = [horizon if one.end_ns is None else one.end_ns for one in (self, other)]
        return min(ends) - max(self.begin_ns, other.begin_ns)


@dataclass(frozen=True, slots=True)
class Spared:
    """A fault's own time: exposures may be missing from ``begin_ns`` on for this ``reason``; None: to the end."""

    reason: str
    begin_ns: int
    end_ns: int | None = None

    def covers(self, at_ns: int) -> bool:
        """Whether a moment lies in it."""
        return self.begin_ns <= at_ns and (self.end_ns is None or at_ns <= self.end_ns)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a fault did cost: of the ``exposures`` in its own time so many are not whole at the rack."""

    reason: str
    exposures: int
    missing: int


@dataclass(frozen=True, slots=True)
class Takeover:
    """A node became active, by its own account; None: not said."""

    node: str
    epoch: int
    at_ns: int
    trigger: str = ""
    suspected_ns: int | None = None
    lease_ns: int | None = None
    gate_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """Of one fault. ``takeover``: must, must not or may the twin become active."""

    takeover: Must


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one trial. ``active``: who was it before the fault. ``first_ptp_ns`` to ``last_ptp_ns``: exposures judged.

    ``carried``: when each node's kernel had the virtual address; ``answered``: whom the observer heard, in order;
    ``down``: when a node did not run.
    """

    active: str
    fault_ns: int
    end_ns: int
    grid: Trigger
    first_ptp_ns: int
    last_ptp_ns: int
    people: int
    frames: Sequence[Frame]
    ptp_offset_ns: int = 0  # PTP minus monotonic time
    leases: Sequence[Lease] = ()
    carried: Sequence[Interval] = ()
    answered: Sequence[Interval] = ()
    down: Sequence[Interval] = ()
    takeovers: Sequence[Takeover] = ()
    spared: Spared | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """``violations``: empty, or what must never be. ``phases``: ms after the fault; only of a takeover.

    ``quiet_ms``: the longest time after the fault in which nobody answered for the address. ``cost``: None where
    nothing was spared.
    """

    took_over: bool
    violations: tuple[str, ...]
    phases: Mapping[str, float] = field(default_factory=dict)
    quiet_ms: float = 0.0
    cost: Cost | None = None

    @property
    def total_ms(self) -> float | None:
        """Fault until records and address are at the new node."""
        return self.phases.get("total")


def judge(evidence: Evidence, expected: Expected) -> Verdict:
    """Judge one trial."""
    found, cost = _records(evidence)
    violations = [
        *found,
        *_leases(evidence.leases),
        *_address(evidence),
        *_back_and_forth(evidence),
        *_outcome(evidence, expected),
    ]
    taken = _takeover(evidence)
    phases = {} if taken is None else _phases(evidence, taken)
    return Verdict(taken is not None, tuple(violations), phases, quiet_ms(evidence), cost)


# --- records ----------------------------------------------------------------------------------------------------------


def half_period_ns(grid: Trigger) -> int:
    """So far from its place on the grid a frame's stamp may lie."""
    return (grid.exposure_ns(1) - grid.exposure_ns(0)) // 2


def grid_places(grid: Trigger, frames: Iterable[Frame]) -> dict[int, list[Frame]]:
    """Frames by their place on the grid, within half a period."""
    half_ns = half_period_ns(grid)
    places: dict[int, list[Frame]] = {}
    for frame in frames:
        places.setdefault(grid.index_at(frame.ptp_ns + half_ns), []).append(frame)
    return places


def exposures_of(evidence: Evidence) -> tuple[list[int], list[int]]:
    """Places on the grid: those that must be at the rack, and those of the fault's own time."""
    grid, spared = evidence.grid, evidence.spared
    every = range(grid.index_at(evidence.first_ptp_ns) + 1, grid.index_at(evidence.last_ptp_ns) + 1)
    if spared is None:
        return list(every), []
    own = [at for at in every if spared.covers(grid.exposure_ns(at) - evidence.ptp_offset_ns)]
    return sorted(set(every).difference(own)), own


def _records(evidence: Evidence) -> tuple[list[str], Cost | None]:
    """What is wrong with the records, and what the fault's own time did cost."""
    places = grid_places(evidence.grid, evidence.frames)
    due, own = exposures_of(evidence)
    if not due:
        return ["no exposure lies between the two moments: nothing was judged"], None
    if own and not due[0] < own[0] <= own[-1] < due[-1]:
        return ["no exposure lies before the fault's own time, or none behind it: nothing was judged"], None
    records = {at: sum(frame.records for frame in places.get(at, ())) for at in (*due, *own)}
    double = [at for at in sorted(records) if len({frame.node for frame in places.get(at, ())}) > 1]
    twice = [at for at in sorted(records) if records[at] > evidence.people and at not in double]
    missing = [at for at in due if not records[at]]
    torn = [at for at in due if 0 < records[at] < evidence.people and at not in double]

    def told(name: str, found: list[int], how: str = "") -> list[str]:
        if not found:
            return []
        grid, first_ns = evidence.grid, evidence.first_ptp_ns
        where = ", ".join(f"+{round((grid.exposure_ns(at) - first_ns) / NS_PER_MS)} ms" for at in found[:MOST_TOLD])
        more = ", ..." if len(found) > MOST_TOLD else ""
        return [f"{len(found)} of {len(records)} exposures {name}: {where}{more}{how}"]

    each = f" (each has {evidence.people})"
    violations = [
        *told("missing at the rack", missing),
        *told("there from both nodes", double),
        *told("there with more than their records", twice, each),
        *told("there without all their records", torn, each),
    ]
    if evidence.spared is None:
        return violations, None
    lacking = sum(records[at] < evidence.people for at in own)
    return violations, Cost(evidence.spared.reason, len(own), lacking)


# --- what only one may have -------------------------------------------------------------------------------------------


def _leases(leases: Iterable[Lease]) -> list[str]:
    ordered = sorted(leases, key=lambda one: one.at_ns)
    holder_of: dict[int, str] = {}
    ends: dict[str, int] = {}  # of each node's newest lease
    found = []
    for lease in ordered:
        if holder_of.setdefault(lease.epoch, lease.node) != lease.node:
            found.append(f"epoch {lease.epoch} was granted to {holder_of[lease.epoch]} and to {lease.node}")
        if lease.epoch < max(holder_of):
            found.append(f"epoch {lease.epoch} was granted after {max(holder_of)}")
        for node, end_ns in ends.items():
            if node != lease.node and lease.at_ns < end_ns:
                early_ms = (end_ns - lease.at_ns) / NS_PER_MS
                found.append(f"{lease.node} was granted the lease {early_ms:.1f} ms before that of {node} ended")
        ends[lease.node] = max(lease.until_ns, ends.get(lease.node, 0))
    return found[:MOST_TOLD]


def shared_times(carried: Sequence[Interval], down: Sequence[Interval]) -> list[Interval]:
    """When two nodes carried the address at once although both ran; ``node`` is empty."""
    found = []
    for one, other in combinations(carried, 2):
        if one.node == other.node or one.overlap_ns(other) <= 0:
            continue
        ends = [end for end in (one.end_ns, other.end_ns) if end is not None]
        shared = Interval("", max(one.begin_ns, other.begin_ns), min(ends) if ends else None)
        if not any(_excused(shared, at) for at in down):
            found.append(shared)
    return found


def _address(evidence: Evidence) -> list[str]:
    """Both kernels carry the address although both nodes run."""
    found = []
    for shared in shared_times(evidence.carried, evidence.down):
        length = (
            "and still do" if shared.end_ns is None else f"for {(shared.end_ns - shared.begin_ns) / NS_PER_MS:.1f} ms"
        )
        since_ms = (shared.begin_ns - evidence.fault_ns) / NS_PER_MS
        found.append(f"both nodes carried the address {length}, from {since_ms:+.1f} ms on")
    return found[:MOST_TOLD]


def _excused(shared: Interval, down: Interval) -> bool:
    """Whether a node was down from the beginning of a shared time to its end."""
    if down.begin_ns > shared.begin_ns:
        return False
    return down.end_ns is None or (shared.end_ns is not None and shared.end_ns <= down.end_ns)


def _back_and_forth(evidence: Evidence) -> list[str]:
    """The observer may hear one change of node a takeover."""
    heard = [one for one in evidence.answered if one.end_ns is None or one.end_ns >= evidence.fault_ns]
    changes = [after for before, after in pairwise(heard) if before.node != after.node]
    allowed = len([one for one in evidence.takeovers if one.at_ns >= evidence.fault_ns])
    if len(changes) <= allowed:
        return []
    walk = " -> ".join([heard[0].node, *(one.node for one in changes)])
    return [f"the address went {walk} with {allowed} takeover{'s' * (allowed != 1)}"]


def quiet_ms(evidence: Evidence) -> float:
    """The longest time between the fault and the end in which nobody answered, ms."""
    since_ns, longest_ns = evidence.fault_ns, 0
    for one in evidence.answered:
        longest_ns = max(longest_ns, min(one.begin_ns, evidence.end_ns) - since_ns)
        since_ns = max(since_ns, evidence.end_ns if one.end_ns is None else one.end_ns)
    return max(longest_ns, evidence.end_ns - since_ns, 0) / NS_PER_MS


# --- the outcome ------------------------------------------------------------------------------------------------------


def _takeover(evidence: Evidence) -> Takeover | None:
    """The first change to the other node after the fault."""
    later = [one for one in evidence.takeovers if one.at_ns >= evidence.fault_ns and one.node != evidence.active]
    return min(later, key=lambda one: one.at_ns, default=None)


def _outcome(evidence: Evidence, expected: Expected) -> list[str]:
    taken = _takeover(evidence)
    if expected.takeover == "no" and taken is not None:
        after_ms = (taken.at_ns - evidence.fault_ns) / NS_PER_MS
        return [f"{taken.node} took over after {after_ms:.0f} ms ({taken.trigger}); it was not to"]
    if expected.takeover == "yes" and taken is None:
        return [f"the twin of {evidence.active} did not take over"]
    found = []
    spared = taken is not None and evidence.spared is not None and evidence.spared.covers(taken.at_ns)
    if taken is not None and not spared and _first_frame(evidence, taken) is None:  # else it is among what that cost
        found.append(f"no frame of {taken.node} with epoch {taken.epoch} came to the rack after it took over")
    if taken is not None and _first_answer(evidence, taken) is None:
        found.append(f"the observer never heard {taken.node} after it took over")
    return found


def _first_frame(evidence: Evidence, taken: Takeover) -> int | None:
    moments = (
        frame.arrived_ns
        for frame in evidence.frames
        if frame.node == taken.node and frame.epoch >= taken.epoch and frame.arrived_ns >= evidence.fault_ns
    )
    return min(moments, default=None)


def _first_answer(evidence: Evidence, taken: Takeover) -> int | None:
    heard = (one.begin_ns for one in evidence.answered if one.node == taken.node)
    moments = (begin_ns for begin_ns in heard if begin_ns >= evidence.fault_ns)
    return min(moments, default=None)


def _phases(evidence: Evidence, taken: Takeover) -> dict[str, float]:
    moments = {
        "suspected": taken.suspected_ns,
        "lease": taken.lease_ns,
        "gate": taken.gate_ns,
        "first frame at the rack": _first_frame(evidence, taken),
        "address": _first_answer(evidence, taken),
    }
    ready_ns, address_ns = _records_ready(evidence, taken), moments["address"]
    moments["total"] = None if ready_ns is None or address_ns is None else max(ready_ns, address_ns)
    return {name: (moment - evidence.fault_ns) / NS_PER_MS for name, moment in moments.items() if moment is not None}


def _records_ready(evidence: Evidence, taken: Takeover) -> int | None:
    """When the new node's records flowed: its first frame at the rack.

    Where the old node delivered all that was exposed before the gate opened, that frame had to wait for the light;
    then only its way from exposure to rack counts, from the gate on. In a fault's own time nobody may expose; that wait
    is part of the switch.
    """
    first_ns = _first_frame(evidence, taken)
    if first_ns is None or taken.gate_ns is None or evidence.spared is not None:
        return first_ns
    exposed = (frame.ptp_ns - evidence.ptp_offset_ns for frame in evidence.frames if frame.arrived_ns == first_ns)
    waited_ns = max(0, min(exposed) - taken.gate_ns)
    return first_ns - waited_ns
