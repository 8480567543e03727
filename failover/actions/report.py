"""A takeover as one structured event: what was done, in which order, how long it took, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

from touchline.config.failover import SWITCH_BUDGET_MS

FORMAT: Final = 1
MAX_TEXT: Final = 200  # bytes of a detail: the whole event stays below the link's 4 KiB
_CUT: Final = "..."

Kind = Literal["takeover", "release"]


class Status(str, Enum):
    """How a step ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    WAITING = "waiting"  # not yet begun when the report was written
    RUNNING = "running"  # begun and not ended when the report was written


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step. ``begun_ms`` counts from the report's start, ``code``: 0, an errno or an exit code."""

    step: str
    order: int
    budget_ms: float
    status: Status
    begun_ms: float | None = None
    took_ms: float | None = None
    code: int = 0
    detail: str = ""

    @property
    def late(self) -> bool:
        """It took longer than planned, however it ended."""
        return self.took_ms is not None and self.took_ms > self.budget_ms

    def document(self) -> dict[str, Any]:
        """For JSON; a skipped step says why in ``detail``."""
        found: dict[str, Any] = {"step": self.step, "order": self.order, "budget_ms": round(self.budget_ms, 1)}
        found["status"] = self.status.value
        for name, value in (("begun_ms", self.begun_ms), ("took_ms", self.took_ms)):
            if value is not None:
                found[name] = round(value, 3)
        if self.status in (Status.OK, Status.FAILED):
            found["code"] = self.code
        if self.late:
            found["late"] = True
        if self.detail:
            found["detail"] = clean(self.detail)
        return found


@dataclass(frozen=True, slots=True)
class TakeoverReport:
    """See the module. ``start``: what the times count from; ``ptp_ns``: that moment, 0 where no clock says.

    ``planned_ms`` and ``sum_ms`` add up the steps; since some run side by side, ``elapsed_ms`` is what it took.
    """

    kind: Kind
    node: str
    twin: str
    epoch: int
    trigger: str
    reason: str
    start: Literal["last beat", "change"]
    ptp_ns: int
    bound_ns: int
    steps: tuple[StepResult, ...]
    limit_ms: float = SWITCH_BUDGET_MS

    @property
    def planned_ms(self) -> float:
        """Budgets of the steps that were not skipped."""
        return sum(step.budget_ms for step in self.steps if step.status is not Status.SKIPPED)

    @property
    def sum_ms(self) -> float:
        """What the steps took, added up."""
        return sum(step.took_ms or 0.0 for step in self.steps)

    @property
    def elapsed_ms(self) -> float:
        """From the start to the end of the last step that ended."""
        return max(
            ((step.begun_ms or 0.0) + step.took_ms for step in self.steps if step.took_ms is not None), default=0
        )

    @property
    def ok(self) -> bool:
        """Every step that was not skipped ended well, and all within the limit."""
        done = all(step.status in (Status.OK, Status.SKIPPED) for step in self.steps)
        return done and self.elapsed_ms <= self.limit_ms

    def line(self) -> str:
        """The report in one line, for the log."""
        return report_line(self.document())

    def document(self) -> dict[str, Any]:
        """For MQTT, the log and the history: below 4 KiB of JSON."""
        return {
            "format": FORMAT,
            "kind": self.kind,
            "node": self.node,
            "twin": self.twin,
            "epoch": self.epoch,
            "trigger": self.trigger,
            "reason": clean(self.reason),
            "start": self.start,
            "ptp_ns": self.ptp_ns,
            "bound_ns": self.bound_ns,
            "ok": self.ok,
            "elapsed_ms": round(self.elapsed_ms, 3),
            "sum_ms": round(self.sum_ms, 3),
            "planned_ms": round(self.planned_ms, 1),
            "limit_ms": self.limit_ms,
            "steps": [step.document() for step in self.steps],
        }


def clean(text: str) -> str:
    """One line of printable letters that takes at most ``MAX_TEXT`` bytes in JSON, however that is written."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[:MAX_TEXT])
    if len(line) == len(text) and len(json.dumps(line)) <= MAX_TEXT:
        return line
    while len(json.dumps(line)) > MAX_TEXT - len(_CUT):
        line = line[:-1]
    return line + _CUT


def report_line(document: Mapping[str, Any]) -> str:
    """The report's document in one line: what, how long, and what went wrong."""
    bad = [f"{step['step']} {step['status']} ({step.get('code', '-')})" for step in document["steps"] if _is_bad(step)]
    trouble = f"; {', '.join(bad)}" if bad else ""
    what = f"{document['kind']} with epoch {document['epoch']}, {document['trigger'] or document['reason']}"
    verdict = "ok" if document["ok"] else "NOT ok"
    return f"{what}: {verdict}, {document['elapsed_ms']:.1f} of {document['limit_ms']:g} ms{trouble}"


def _is_bad(step: Mapping[str, Any]) -> bool:
    return step["status"] not in (Status.OK.value, Status.SKIPPED.value)


def report_text(document: Mapping[str, Any]) -> str:
    """The report as a table for people, from its document (of this process or read back from the history)."""
    words = {"takeover": "takes over from", "release": "hands over to"}
    head = f"{document['node']} {words[document['kind']]} {document['twin']}, epoch {document['epoch']}"
    lines = [f"{head}: {document['reason'] or document['trigger']}", ""]
    rows: list[tuple[str, ...]] = [("#", "step", "budget", "begun", "took", "result")]
    rows += [_row(step) for step in document["steps"]]
    total = f"{'ok' if document['ok'] else 'NOT ok'}, limit {document['limit_ms']:g} ms (FOV-1)"
    rows.append(("", "sum", _ms(document["planned_ms"]), "", _ms(document["sum_ms"]), "steps run side by side"))
    rows.append(("", "elapsed", "", "", _ms(document["elapsed_ms"]), total))
    return "\n".join(lines + _columns(rows))


def _row(step: Mapping[str, Any]) -> tuple[str, ...]:
    result = str(step["status"])
    if step["status"] == Status.FAILED.value:
        result = f"FAILED ({step.get('code', 1)})"
    if step.get("late"):
        result += ", late"
    if step.get("detail"):
        result += f": {step['detail']}"
    return (
        str(step["order"]),
        step["step"],
        _ms(step["budget_ms"]),
        _ms(step.get("begun_ms")),
        _ms(step.get("took_ms")),
        result,
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    found = []
    for row in rows:
        cells = [f"{row[0]:>{widths[0]}}", f"{row[1]:<{widths[1]}}"]
        cells += [f"{row[column]:>{widths[column]}}" for column in (2, 3, 4)]
        found.append(("  ".join(cells) + "  " + row[5]).rstrip())
    return found
