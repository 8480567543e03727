"""What a drill found: marks on one axis of time, figures, checks against their limits, advice. Pure, but for the store.

Marks count from the cut, ms. Those of the twin come from its own report by way of PTP time, and are as good as both
clocks' bounds (``bound_ms``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from failover.durable import replace_file
from touchline.config.failover import SWITCH_BUDGET_MS

FORMAT: Final = 1
KEEP: Final = 60  # a year of weekly drills, and some by hand
PICTURE_STEP_LIMIT_MS: Final = 33.367  # FOV-3: one frame at 29.97 Hz
CUT_TOLERANCE_MS: Final = 500.0
BACK_LIMIT_MS: Final = 10_000.0  # an Ethernet link may need seconds to find its speed again

Lane = Literal["node", "twin", "witness", "rack", "recording"]
LANES: Final[tuple[Lane, ...]] = ("node", "twin", "witness", "rack", "recording")
Kind = Literal[
    "cut", "last beat", "fenced", "dropped", "suspicion", "lease", "gate", "address", "announced", "first frame",
    "recorder", "restored", "heard again",
]  # fmt: skip
KINDS: Final[tuple[Kind, ...]] = (
    "cut", "last beat", "fenced", "dropped", "suspicion", "lease", "gate", "address", "announced", "first frame",
    "recorder", "restored", "heard again",
)  # fmt: skip

_OF_STEP: Final[Mapping[str, tuple[tuple[Lane, Kind], ...]]] = {
    "detect": (("twin", "suspicion"),),
    "lease": (("witness", "lease"),),
    "gate": (("twin", "gate"), ("rack", "first frame")),
    "address": (("twin", "address"),),
    "announce": (("twin", "announced"),),
    "recorder": (("recording", "recorder"),),
}
_OF_RELEASE: Final[Mapping[str, tuple[tuple[Lane, Kind], ...]]] = {
    "gate": (("node", "fenced"),),
    "address": (("node", "dropped"),),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, ``at_ms`` after the cut (before it: negative)."""

    lane: Lane
    kind: Kind
    at_ms: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Continuity:
    """The pictures of the joined match over the drill. ``step_ms``: the largest between two; ``limit_ms``: allowed.

    ``nodes``: whose they are. ``why``: why it is not measured. ``wanted``: it ought to be, so that a drill which could
    not has missed its bar.
    """

    step_ms: float | None = None
    missing: int | None = None
    limit_ms: float = PICTURE_STEP_LIMIT_MS
    pictures: int = 0
    nodes: tuple[str, ...] = ()
    why: str = ""
    wanted: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What the drill's plan itself knows. ``cut_ms``: asked; ``was_cut_ms``: from off to on, None: never cut."""

    node: str
    twin: str
    at: str
    ptp_ns: int
    links: str
    cut_ms: float
    was_cut_ms: float | None
    forced: bool
    trouble: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """A figure beside its limit. ``ok`` None: not measured, which fails what ``must`` be measured."""

    name: str
    value: float | None
    limit: float
    unit: str
    ok: bool | None
    must: bool = False


def marks_of(report: Mapping[str, Any], cut_ptp_ns: int) -> list[Mark]:
    """The marks of a takeover's or a release's document (of any node); none when its time is not known."""
    if not report.get("ptp_ns") or not cut_ptp_ns:
        return []
    begun_ms = (report["ptp_ns"] - cut_ptp_ns) / 1e6
    taking = report["kind"] == "takeover"
    found: list[Mark] = []
    if taking and report.get("start") == "last beat":
        found.append(Mark("twin", "last beat", begun_ms))
    for step in report["steps"]:
        if step["status"] != "ok" or "took_ms" not in step:
            continue
        end_ms = begun_ms + step["begun_ms"] + step["took_ms"]
        for lane, kind in (_OF_STEP if taking else _OF_RELEASE).get(step["step"], ()):
            found.append(Mark(lane, kind, end_ms, step.get("detail", "")))
    return found


def compose(
    facts: Facts, marks: Sequence[Mark], continuity: Continuity, budgets: Mapping[str, float]
) -> dict[str, Any]:
    """Return the drill's report. ``budgets``: planned ms of each step of the takeover, by the step's name."""
    ordered = sorted(marks, key=lambda mark: (mark.at_ms, KINDS.index(mark.kind)))
    figures = _figures(facts, ordered)
    checks = _checks(facts, figures, continuity)
    ok = not facts.trouble and all(check.ok or (check.ok is None and not check.must) for check in checks)
    return {
        "format": FORMAT,
        "kind": "drill",
        "node": facts.node,
        "twin": facts.twin,
        "at": facts.at,
        "ptp_ns": facts.ptp_ns,
        "links": facts.links,
        "forced": facts.forced,
        "cut_ms": facts.cut_ms,
        "was_cut_ms": _rounded(facts.was_cut_ms),
        "ok": ok,
        "summary": _summary(ok, figures, checks, facts),
        "figures": {name: _rounded(value) for name, value in figures.items()},
        "checks": [
            {
                "check": one.name,
                "value": _rounded(one.value),
                "limit": one.limit,
                "unit": one.unit,
                "result": {True: "ok", False: "failed", None: "not measured"}[one.ok],
            }
            for one in checks
        ],
        "recording": {
            "pictures": continuity.pictures,
            "nodes": list(continuity.nodes),
            "not_measured": continuity.why,
        },
        "trouble": list(facts.trouble),
        "advice": _advice(figures, continuity),
        "budgets": {name: round(value, 1) for name, value in budgets.items()},
        "marks": [
            {"lane": one.lane, "kind": one.kind, "at_ms": round(one.at_ms, 3), "text": one.text} for one in ordered
        ],
    }


def drill_text(report: Mapping[str, Any]) -> str:
    """The report for people."""
    words = {"ok": "ok", "failed": "FAILED", "not measured": "not measured"}
    lines = [f"drill on {report['node']}, twin {report['twin']}, {report['at']}: {report['summary']}", ""]
    for check in report["checks"]:
        value = "-" if check["value"] is None else f"{check['value']:g} {check['unit']}".strip()
        limit = f"limit {check['limit']:g} {check['unit']}".strip()
        lines.append(f"  {check['check']:<28} {value:>12}  {limit:<18} {words[check['result']]}")
    lines += ["", *(f"  {mark['at_ms']:>9.1f} ms  {mark['lane']:<9}  {mark['kind']}" for mark in report["marks"])]
    why = report.get("recording", {}).get("not_measured")
    lines += [f"picture time: not measured: {why}"] if why else []
    lines += [f"trouble: {one}" for one in report["trouble"]] + [f"advice: {one}" for one in report["advice"]]
    return "\n".join(lines)


def _advice(figures: Mapping[str, float | None], continuity: Continuity) -> list[str]:
    advice = []
    if continuity.step_ms is not None and continuity.step_ms > continuity.limit_ms:
        advice.append(
            "the picture tore: grow the packet ring from 512 to 768 and net.core.rmem_max to 16 MB "
            "(FOV-4; touchline node tune)"
        )
    if figures["overlap_ms"]:
        advice.append("two nodes were active at once: look at the lease and at late turns (touchline failover status)")
    return advice


def _first(marks: Sequence[Mark], kind: Kind, lane: Lane | None = None) -> float | None:
    return next((one.at_ms for one in marks if one.kind == kind and lane in (None, one.lane)), None)


def _figures(facts: Facts, marks: Sequence[Mark]) -> dict[str, float | None]:
    """Times in ms from the cut, and the differences that matter."""
    first = _first(marks, "first frame")
    switch = first if first is not None else _first(marks, "gate", "twin")
    fenced, lease = _first(marks, "fenced"), _first(marks, "lease")
    heard, suspicion = _first(marks, "last beat"), _first(marks, "suspicion")
    restored, again = _first(marks, "restored"), _first(marks, "heard again")
    return {
        "switch_ms": switch,
        "detect_ms": suspicion - heard if suspicion is not None and heard is not None else None,
        "lease_ms": lease,
        "fenced_ms": fenced,
        "overlap_ms": max(0.0, fenced - lease) if fenced is not None and lease is not None else None,
        "back_ms": again - restored if again is not None and restored is not None else None,
        "was_cut_ms": facts.was_cut_ms,
    }


def _checks(facts: Facts, figures: Mapping[str, float | None], continuity: Continuity) -> list[Check]:
    step, missing, wanted = continuity.step_ms, continuity.missing, continuity.wanted
    was_ms = facts.was_cut_ms
    return [
        _at_most("switch from the cut", figures["switch_ms"], SWITCH_BUDGET_MS, must=True),
        _at_most("both active", figures["overlap_ms"], 0.0),
        _at_most("largest step of picture time", step, continuity.limit_ms, must=wanted),
        _at_most("pictures missing", None if missing is None else float(missing), 0.0, "", must=wanted),
        _at_most("length of the cut", was_ms, facts.cut_ms + CUT_TOLERANCE_MS, must=True),
        _at_most("links back until heard", figures["back_ms"], BACK_LIMIT_MS),
    ]


def _at_most(name: str, value: float | None, limit: float, unit: str = "ms", *, must: bool = False) -> Check:
    return Check(name, value, limit, unit, None if value is None else value <= limit, must)


def _summary(ok: bool, figures: Mapping[str, float | None], checks: Sequence[Check], facts: Facts) -> str:
    if facts.trouble:
        return f"NOT ok: {facts.trouble[0]}"
    switch = figures["switch_ms"]
    said = "no switch was seen" if switch is None else f"switched {switch:.0f} ms after the cut"
    failed = [check.name for check in checks if check.ok is False]
    unknown = [check.name for check in checks if check.ok is None and check.must]
    said += f"; failed: {', '.join(failed)}" if failed else ""
    said += f"; not measured: {', '.join(unknown)}" if unknown else ""
    return f"{'ok' if ok else 'NOT ok'}: {said}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


class DrillStore:
    """Keeps the last ``KEEP`` reports and their pictures in a folder: ``drill-20261121T100000Z.json`` and ``.svg``."""

    def __init__(self, folder: Path, keep: int = KEEP) -> None:
        self._folder, self._keep = folder, keep

    def save(self, report: Mapping[str, Any], picture: str) -> Path:
        """Write both, each whole or not at all; returns the report's path. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        stem = "drill-" + "".join(letter for letter in str(report["at"]) if letter.isalnum())
        for suffix, text in ((".svg", picture), (".json", json.dumps(report, indent=2) + "\n")):
            replace_file(self._folder / (stem + suffix), text, 0o640)
        for old in self.reports()[: -self._keep]:
            old.unlink(missing_ok=True)
            old.with_suffix(".svg").unlink(missing_ok=True)
        return self._folder / f"{stem}.json"

    def reports(self) -> list[Path]:
        """The reports that there are, oldest first."""
        return sorted(self._folder.glob("drill-*.json"))
