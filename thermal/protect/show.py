"""The protect status for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thermal.protect.status import Told


def status_text(told: Told, now_ns: int) -> str:
    """A few lines; what is wrong comes first."""
    document = told.document
    if not document:
        return told.why
    lines = [] if told.good else [f"NOT GUARDED   {told.why}"]
    lines.append(_latch(document))
    lines += [_sensor(document.get("accelerometer")), _relay(document.get("relay")), _disk(document.get("disk"))]
    lines.append(_flush(document.get("flush"), now_ns))
    if document.get("events_lost"):
        lines.append(f"events        {document['events_lost']} could not be written")
    lines += [_fault(fault, now_ns) for fault in document.get("faults", ())]
    return "\n".join(lines)


def _latch(document: Mapping[str, Any]) -> str:
    if not document.get("latched"):
        return "cameras       fed"
    event = document.get("event") or {}
    why = event.get("kind", "the latch cannot be read")
    effect = str(document.get("effect") or "cut")
    head = f"CAMERAS {effect};" if effect.startswith("NOT") else "CAMERAS CUT  "
    return f"{head} {why} at {event.get('at', 'an unknown time')}; touchline protect reset, once it is looked at"


def _sensor(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "accelerometer none"
    if found.get("lost") or found.get("deviation_g") is None:
        return f"accelerometer {found['name']}: {found.get('lost') or 'no sample yet'}"
    state = "SHAKING" if found["shaking"] else "at rest" if found["rest"] else "moving"
    source = "the learnt rest" if found.get("gravity") else "1 g"
    return (
        f"accelerometer {found['name']}: {found['deviation_g']:.2f} g from {source}, {state}, {found.get('rate', '')}"
    )


def _relay(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "relay         none: events only"
    read = {True: "cut", False: "fed"}.get(found.get("cut"), "cannot be read back")  # type: ignore[arg-type]
    return f"relay         {found.get('trouble') or read}{', test' if found.get('test') else ''}"


def _disk(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "disk          none"
    used = "unknown" if found.get("used_pct") is None else f"{found['used_pct']:.1f} % used"
    mode = ", read-only" if found.get("read_only") else ""
    return f"disk          {found['mount']}: {used}, {found['phase']}{mode}, {found['deleted']} recordings deleted"


def _flush(found: Mapping[str, Any] | None, now_ns: int) -> str:
    if not found:
        return "flush         none yet"
    age_s = (now_ns - found["at_ns"]) / 1e9
    slow = f", {found['slow_runs']} slow" if found.get("slow_runs") else ""
    failed = f", {found['failed_runs']} failed" if found.get("failed_runs") else ""
    return (
        f"flush         {found['total_ms']:.0f} ms, {age_s:.0f} s ago, worst {found['worst_ms']:.0f} ms of "
        f"{found['runs']}{slow}{failed}"
    )


def _fault(fault: Mapping[str, Any], now_ns: int) -> str:
    age_s = max(0.0, (now_ns - fault["since_ns"]) / 1e9)
    return f"{fault['severity'].upper():<13} {fault['what']}: {fault['text']} (for {age_s:.0f} s)"
