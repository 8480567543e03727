"""``touchline failover status`` as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from touchline.units import format_duration


def status_text(document: Mapping[str, Any]) -> str:
    """The status document for a person: the pair in a few lines, the last switch below."""
    twin, witness, wire = document["twin"], document["witness"], document["wire"]
    lines = [
        f"node {document['node']}: {document['role'].upper()}, epoch {document['epoch']}: {document['reason']}",
        f"  output     {_output(document)}",
        f"  itself     {health_text(document['health'])}" + (f": {document['trouble']}" if document["trouble"] else ""),
        f"  twin       {twin['name']}: {_twin(twin)}",
        f"  witness    {_witness(witness, wire['witness'])}",
    ]
    for path in wire["twin"]["paths"]:
        counts = f"{path['heard']:,} beats, {path['lost']:,} lost"
        lines.append(f"  path       {path['path']}: {counts}, last {_ago(path['heard_ms_ago'])}")
    if document["recorders"]:
        lines.append(f"  recording  {', '.join(_recorder(one) for one in document['recorders'])}")
    late = document["late"]
    lines.append(f"  punctual   {document['scheduling']}; {late['turns']} late turns, worst {late['max_ms']:.1f} ms")
    last = document["last_switch"]
    lines.append(f"  last       {_switch(last)}" if last else "  last       no switch since the service began")
    if document["epoch_file"]:
        lines.append(f"  epoch      NOT kept for the next start: {document['epoch_file']}")
    if document["unsaid"]:
        lines.append(f"  log        {document['unsaid']} lines lost: nobody took them")
    for event in document["events"][-5:]:
        lines.append(f"  {event['severity']:<10} {event['text']}")
    return "\n".join(lines)


def _output(document: Mapping[str, Any]) -> str:
    parts = ["records flow" if document["records"] else "gate shut"]
    if document["exclusive"]:
        left_ms = max(document["lease_left_ms"], document["promise_left_ms"])
        by = "lease" if document["lease_left_ms"] >= document["promise_left_ms"] else "the twin's promise"
        parts.append(f"exclusive by {by}, {left_ms:.0f} ms left")
    if document["holds_address"]:
        parts.append("holds the virtual address")
    if document["handing_over"]:
        parts.append("handing over")
    if document["drill"]:
        parts.append("DRILL")
    return ", ".join(parts)


def health_text(health: Mapping[str, Any]) -> str:
    """A node's health in words: fit, or what is missing."""
    parts = [f"{health['cameras']} cameras"]
    parts += [] if health["clock_ok"] else ["clock not good enough"]
    parts += ["hot"] if health["hot"] else []
    parts += [] if health["rack_ok"] else ["no witness"]
    parts += [] if health["publishing"] else ["not publishing"]
    parts += [] if health["broker_ok"] else ["the broker does not acknowledge"]
    return ("fit, " if health["fit"] else "NOT FIT, ") + ", ".join(parts)


def _twin(twin: Mapping[str, Any]) -> str:
    if twin["heard_ms_ago"] is None:
        return "never heard"
    if twin["suspected"]:
        return f"SILENT, last beat {_ago(twin['heard_ms_ago'])}"
    return (
        f"{twin['role']}, epoch {twin['epoch']}, {health_text(twin['health'])}; beat {_ago(twin['heard_ms_ago'])}, "
        f"every {twin['beat_ms']:.1f} ms, given up after {twin['suspected_after_ms']:.0f} ms"
    )


def _witness(witness: Mapping[str, Any], wire: Mapping[str, Any]) -> str:
    where = f"{wire['name']} at {wire['address']}"
    if wire["refusal"]:
        return f"{where}: REFUSES ({wire['refusal'].replace('_', ' ')}); see [witness] on the rack"
    if witness["answered_ms_ago"] is None:
        return f"{where}: never answered"
    text = f"{where}: " + ("answers" if witness["ok"] else "SILENT")
    text += f", last {_ago(witness['answered_ms_ago'])}"
    trip = wire["round_trip_us"]
    text += f", round trip p50 {trip['p50']:.0f} us, p99 {trip['p99']:.0f} us" if trip else ""
    return text + (f"; lease of {witness['holder']}" if witness["holder"] else "; nobody holds the lease")


def _recorder(one: Mapping[str, Any]) -> str:
    said = f"camera {one['camera']} {one['state']}"
    said += f", in trouble {one['troubles']} times" if one["troubles"] else ""
    return said if one.get("last_ms_ago") is None else f"{said} (last picture {_ago(one['last_ms_ago'])})"


def _switch(last: Mapping[str, Any]) -> str:
    steps = ", ".join(
        f"{one['step']} {one['took_ms']:.1f} ms" if one.get("took_ms") is not None else f"{one['step']} {one['status']}"
        for one in last["steps"]
    )
    return f"{last['kind']} (epoch {last['epoch']}, {last['trigger'] or 'given up'}): {steps}"


def _ago(ago_ms: float | None) -> str:
    return "never" if ago_ms is None else f"{format_duration(round(ago_ms * 1e6))} ago"
