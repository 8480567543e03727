"""A drill as it goes well, for the tests of its report and its picture; and one in which nothing does."""

from __future__ import annotations

from typing import Any

from failover.actions.sequence import Start, Takeover, release_steps, takeover_steps
from failover.core.types import Changed, Role, Settings, Trigger
from failover.drill_report import Continuity, Facts, Mark, compose, marks_of

MS = 1_000_000
CUT_PTP_NS = 1_795_000_000_000_000_000
SETTINGS = Settings("pitch-a2", "pitch-a1")
BUDGETS = {step.name: step.budget_ms for step in takeover_steps(SETTINGS)}


def takeover(heard_ms: float = -8.0) -> dict[str, Any]:
    """The twin's report: last beat 8 ms before the cut, active 92 ms after it."""
    zero_ns = 5_000_000_000
    change = Changed(
        Role.ACTIVE, 8, Trigger.DRILL, "silent", zero_ns + round(heard_ms * MS), zero_ns + round((heard_ms + 62) * MS)
    )
    now_ns = zero_ns + round((heard_ms + 100) * MS)
    start = Start("pitch-a2", "pitch-a1", now_ns, CUT_PTP_NS + now_ns - zero_ns, 100)
    one = Takeover(change, start, takeover_steps(SETTINGS))
    for name, begun_ms, took_ms in (
        ("gate", 0.0, 9.1),
        ("address", 0.2, 1.1),
        ("announce", 1.4, 0.3),
        ("recorder", 0.2, 31.0),
    ):
        one.begin(name, now_ns + round(begun_ms * MS))
        one.end(
            name, now_ns + round((begun_ms + took_ms) * MS), detail="192.0.2.10/24 on eth0" if name == "address" else ""
        )
    return one.report().document()


def release() -> dict[str, Any]:
    """The drilled node's report: it fenced itself 81 ms after the cut."""
    start = Start("pitch-a1", "pitch-a2", 81 * MS, CUT_PTP_NS + 81 * MS, 100)
    one = Takeover(Changed(Role.STANDBY, 7, None, "lease over"), start, release_steps())
    one.begin("address", 81 * MS)
    one.end("address", 82 * MS)
    return one.report().document()


def example(step_ms: float | None = 8.34, missing: int | None = 0) -> dict[str, Any]:
    """The report of a whole drill."""
    marks = [
        *marks_of(takeover(), CUT_PTP_NS),
        *marks_of(release(), CUT_PTP_NS),
        Mark("node", "cut", 0.0, "eth0, eth1"),
        Mark("node", "restored", 1_003.0),
        Mark("twin", "heard again", 3_180.0, "both paths"),
    ]
    facts = Facts(
        "pitch-a1",
        "pitch-a2",
        "2026-11-21T10:00:00Z",
        CUT_PTP_NS,
        "eth0, eth1 (6 routes and addresses kept)",
        1_000.0,
        1_003.0,
        False,
    )
    return compose(
        facts, marks, Continuity(step_ms, missing, pictures=362, nodes=("pitch-a1", "pitch-a2"), wanted=True), BUDGETS
    )
