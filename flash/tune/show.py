"""Plans, outcomes and measurements as text and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flash.tune.apply import Done, Outcome
from flash.tune.jitter import Report, Spread
from flash.tune.plan import Plan, Row, State


def row_value(row: Row) -> dict[str, Any]:
    """One row for a program."""
    return {
        "key": row.key,
        "path": row.path or None,
        "now": row.now,
        "want": row.want,
        "state": row.state.value,
        "need": row.need,
        "wrong": row.wrong,
        "note": row.note,
    }


def plan_value(plan: Plan) -> dict[str, Any]:
    """A plan for a program."""
    return {"rows": [row_value(row) for row in plan.rows], "wrong": len(plan.wrong), "advice": list(plan.advice)}


def plan_text(plan: Plan) -> str:
    """The table of a plan: what differs is marked, what is as wanted is there too."""
    marks = {State.DIFFERS: "change", State.RESTORE: "restore"}
    lines = [_line(marks.get(row.state, row.state.value), row) for row in plan.rows]
    return "\n".join([*_aligned(lines), *(f"note: {text}" for text in plan.advice)])


def outcome_value(outcome: Outcome) -> dict[str, Any]:
    """One outcome for a program."""
    return {**row_value(outcome.row), "done": outcome.done.value, "why": outcome.why}


def outcomes_text(outcomes: Sequence[Outcome]) -> str:
    """The table of an apply or undo."""
    return "\n".join(_aligned([_line(one.done.value, one.row, one.why) for one in outcomes]))


def count_text(outcomes: Sequence[Outcome]) -> str:
    """``3 changed, 2 unchanged``."""
    parts = [(sum(one.done is done for one in outcomes), done.value) for done in Done]
    return ", ".join(f"{count} {word}" for count, word in parts if count) or "nothing to do"


def differences(rows: Sequence[Row]) -> str:
    """What a check failed for, in one line."""
    return "; ".join(
        f"{row.key} is {row.now or 'absent'}, not {row.want}"
        if row.want and row.state is not State.BEYOND
        else f"{row.key}: {row.note}"
        for row in rows
    )


def _line(word: str, row: Row, why: str = "") -> tuple[str, str, str, str]:
    if row.state in {State.DIFFERS, State.RESTORE, State.REFUSED, State.FOREIGN, State.BEYOND}:
        values = f"{row.now} -> {row.want}"
    else:
        values = row.now or "-"
    return (word, row.key, values, why or row.note)


def _aligned(lines: Sequence[tuple[str, str, str, str]]) -> list[str]:
    widths = [max((len(line[column]) for line in lines), default=0) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]).rstrip()
        for line in lines
    ]


# --- jitter ---------------------------------------------------------------------------------------------------------


def report_value(report: Report, bar_us: float) -> dict[str, Any]:
    """A measurement for a program, us."""
    value = asdict(report)
    value["timer"]["jitter_us"] = report.timer.jitter_us
    value["packets"]["jitter_us"] = report.packets.jitter_us
    return {**value, "jitter_us": report.jitter_us, "bar_us": bar_us, "good": report.jitter_us <= bar_us}


def report_text(report: Report, bar_us: float) -> str:
    """A measurement for a person."""
    where = "any CPU" if report.cpu is None else f"CPU {report.cpu}"
    verdict = "within" if report.jitter_us <= bar_us else "MISSES"
    return "\n".join(
        [
            f"{'us':<9}{'count':>8}{'min':>9}{'median':>9}{'p99':>9}{'p99.9':>9}{'max':>9}{'jitter':>9}",
            _spread_line("timer", report.timer),
            _spread_line("packets", report.packets),
            f"jitter is p99.9 above min: {report.jitter_us:g} us {verdict} the bar of {bar_us:g} us; packets lost: "
            f"{report.lost}; RFC 3550 mean: {report.interarrival_us:g} us",
            f"{report.scheduler}, {where}, memory {'locked' if report.memory_locked else 'not locked'}, one reading of "
            f"the clock {report.clock_read_ns} ns, kernel {report.kernel}",
            "loopback: without network card, cable and switch, which add theirs",
        ]
    )


def _spread_line(name: str, one: Spread) -> str:
    figures = (one.min_us, one.median_us, one.p99_us, one.p999_us, one.max_us, one.jitter_us)
    return f"{name:<9}{one.count:>8}" + "".join(f"{value:>9.1f}" for value in figures)
