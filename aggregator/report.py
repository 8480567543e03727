"""The status document as text, for ``touchline aggregator status``."""

from __future__ import annotations

from typing import Any

from touchline.units import format_duration


def status_text(value: dict[str, Any]) -> str:
    """What a person reads of it, one fact a line."""
    records, latency = value["stats"]["records"], value["stats"]["latency_ms"]
    lines = [
        f"broker    {'connected' if value['broker']['connected'] else 'NOT CONNECTED'}  {value['broker']['text']}",
        f"store     {value['store_fault'] or 'ok'}",
        f"records   {records['unique']} stored, {value['rates']['records_per_s']:g}/s, {records['lost']} lost, "
        f"{records['open_gaps']} awaited, {records['redelivered']} re-delivered, {records['twin_copies']} twin copies",
    ]
    if latency:
        lines.append(f"latency   p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms, max {latency['max']:.1f} ms")
    lines.append(f"alignment {_alignment_text(value['alignment'])}")
    lines += [f"cabinet   {_cabinet_text(cabinet)}" for cabinet in value["cabinets"]]
    for node in value["nodes"]:
        lines.append(f"node      {node['node']}: {_node_text(node)}")
        lines.append(f"  clock   {_clock_text(node)}")
        if node["thermal"] is not None:
            lines.append(f"  thermal {_thermal_text(node['thermal'])}")
        if node["role"]:
            cameras = ", ".join(map(str, node["owns"]))
            lines.append(f"  pair    {node['role']}, " + (f"sends camera {cameras}" if cameras else "sends no camera"))
    return "\n".join(lines)


def _alignment_text(alignment: dict[str, Any]) -> str:
    aligned, spread_ns = len(alignment["aligned"]), alignment["spread_ns"]
    spread = "" if spread_ns is None else f"± {format_duration(spread_ns)}, "
    master = f", grandmaster {alignment['grandmaster']}" if alignment["grandmaster"] else ""
    return f"{spread}{aligned} of {aligned + len(alignment['unaligned'])} nodes aligned{master}"


def _clock_text(node: dict[str, Any]) -> str:
    clock = node["clock"]
    parts = [clock["state"]]
    parts += [] if clock["bound_ns"] is None else [f"± {format_duration(clock['bound_ns'])}"]
    for name in ("offset", "path_delay", "residual"):
        if clock[f"{name}_ns"] is not None:
            parts.append(f"{name.replace('_', ' ')} {format_duration(clock[f'{name}_ns'])}")
    parts += [f"port {clock['port_state']}"] if clock["port_state"] else []
    parts += [] if clock["epoch"] is None else [f"epoch {clock['epoch']}"]
    parts.append("aligned" if clock["aligned"] else f"NOT ALIGNED: {clock['why']}")
    if node["unflagged_records"]:
        parts.append(f"{node['unflagged_records']} records out of clock bound")
    return ", ".join(parts)


def _cabinet_text(cabinet: dict[str, Any]) -> str:
    state = f"OVER BUDGET for {cabinet['alarm_s']:.0f} s" if cabinet["alarm"] else "within budget"
    parts = [f"{cabinet['cabinet']}: {state}, {cabinet['counted_w']:.0f} of {cabinet['budget_w']:g} W counted"]
    parts.append(f"{cabinet['known_w']:.0f} W read of nodes, below the wall")
    if cabinet["unknown"]:
        parts.append(f"UNKNOWN, counted with {cabinet['share_w']:.0f} W each: {', '.join(cabinet['unknown'])}")
    return ", ".join(parts)


def _thermal_text(thermal: dict[str, Any]) -> str:
    if not thermal["good"]:
        return f"UNKNOWN, taken for hot: {thermal['why']}"
    caps = f", clocks capped {thermal['cap_level']} of {thermal['cap_levels']}" if thermal["cap_level"] else ""
    values = [_value(thermal[name], unit) for name, unit in (("temp_c", "C"), ("duty_pct", "% fan"), ("power_w", "W"))]
    faults = "".join(f"; {one['severity']} {one['what']}: {one['text']}" for one in thermal["faults"])
    return f"{'HOT, ' if thermal['hot'] else ''}{', '.join(values)}{caps}{faults}"


def _value(number: float | None, unit: str) -> str:
    return f"unknown {unit}" if number is None else f"{number:.0f} {unit}"


def _node_text(node: dict[str, Any]) -> str:
    age_s, state = node["health_age_s"], f"{node['state']}, epoch {node['epoch']}"
    if age_s is None:
        return f"{state}, health never"
    return f"{state}, health {age_s:g} s ago" if node["alive"] else f"NOT ALIVE, last word {state}, {age_s:g} s ago"
