"""Lines, tallies and the state of the serial line for people and programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.uart.line import Box, Line, LineFlag
from agent.uart.scan import Anew, Bad, Edge, Found, Tally

_MOST_SHOWN = 60


def found_dict(found: Found) -> dict[str, Any]:
    """One thing out of a stream as plain values."""
    if isinstance(found, Line):
        return line_dict(found)
    if isinstance(found, Anew):
        return {"type": "anew"}
    text = _printable(found.data)
    reason = {"reason": found.reason} if isinstance(found, Bad) else {}
    return {"type": "bad" if isinstance(found, Bad) else "edge", "bytes": len(found.data), **reason, "text": text}


def line_dict(line: Line) -> dict[str, Any]:
    """A line as plain values; None: not known."""
    box, raw = line.box, line.raw
    return {
        "type": "line",
        "count": line.count,
        "camera": line.camera,
        "frame": line.frame,
        "ptp_ns": line.ptp_ns,
        "raw_clock": None if raw is None else raw.timebase.value,
        "raw_ns": None if raw is None else raw.ns,
        "people": line.people,
        "flags": [flag.name.lower() for flag in LineFlag if flag in line.flags and flag.name],
        "box": None if box is None else _box_dict(box),
    }


def _box_dict(box: Box) -> dict[str, Any]:
    return {
        "track": box.track,
        "score": box.score,
        "x_px": box.x_px,
        "y_px": box.y_px,
        "width_px": box.width_px,
        "height_px": box.height_px,
    }


def found_text(found: Found) -> str:
    """One thing out of a stream for a person; empty for what is not worth a row."""
    if isinstance(found, Line):
        return line_text(found)
    if isinstance(found, Anew):
        return "-- the writer began anew"
    if isinstance(found, Edge):
        return f"-- {len(found.data)} bytes of a line that begins before, or ends after, what is here"
    return f"BAD {found.reason}: {len(found.data)} bytes {_printable(found.data[:_MOST_SHOWN])}"


def _printable(data: bytes) -> str:
    """Noise may hold anything, also what drives a terminal."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in data)


def line_text(line: Line) -> str:
    """One row."""
    seconds, ns = divmod(line.ptp_ns, 1_000_000_000)
    raw = "no raw time" if line.raw is None else f"{line.raw.timebase.value} {line.raw.ns}"
    flags = ",".join(flag.name.lower() for flag in LineFlag if flag in line.flags and flag.name) or "unlocked"
    return (
        f"camera {line.camera} frame {line.frame:>8} {seconds}.{ns:09d} {raw} {line.people:>3} people "
        f"{_box_text(line.box)} [{flags}]"
    )


def _box_text(box: Box | None) -> str:
    if box is None:
        return "no box"
    score = "expected" if box.score is None else f"{box.score:.3f}"
    return f"#{box.track} {score} {box.width_px:g}x{box.height_px:g} at {box.x_px:g},{box.y_px:g}"


def tally_text(tally: Tally) -> str:
    """The sums, for the end."""
    bad = ", ".join(f"{count} {reason}" for reason, count in sorted(tally.bad.items())) or "none"
    text = f"{tally.lines} lines; bad: {bad}; {tally.missing} frames without a line, {tally.lost} lines lost"
    for number, one in sorted(tally.cameras.items()):
        again = f", began anew {one.restarts} times" if one.restarts else ""
        text += f"\n  camera {number}: {one.lines} lines, {one.missing} frames missing{again}"
    return text


def status_text(child: Mapping[str, Any], uart: Mapping[str, Any], dropped: Mapping[str, int]) -> str:
    """The serial line's part of the agent's status, for a person."""
    state = "open" if uart["open"] else "NOT OPEN"
    lines = [
        f"serial line {uart['port']}: {state}, {uart['baud']} baud, at most {uart['paced_per_s']:g} lines a second"
    ]
    lines += [f"  trouble   {uart['trouble']}"] if uart["trouble"] else []
    lines.append(
        f"  written   {uart['lines']} lines, {uart['bytes']} bytes since this process began; {uart['waiting']} wait"
    )
    said = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "none"
    lines.append(f"  dropped   {said}; the port was lost {uart['times_lost']} times")
    failure = f", last failure: {child['last_failure']}" if child.get("last_failure") else ""
    lines.append(f"  process   pid {child.get('pid')}, {child.get('restarts')} restarts{failure}")
    return "\n".join(lines)
