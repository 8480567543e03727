"""``touchline agent``: run it, check its configuration, ask its state."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import click

from touchline.errors import LinkError
from touchline.shell import config_option, emit, json_option


@click.group()
def agent() -> None:
    """The resident agent: camera, ring, detector, tracker, publisher.

    \b
    Examples:
      touchline agent check --config node.toml
      touchline agent run --config node.toml
      touchline agent status --config node.toml --json
    """


@agent.command()
@config_option()
def run(config_path: Path) -> None:
    """Run the agent until SIGTERM or the end of all finite sources.

    Frames flow before readiness is reported to systemd; the watchdog is fed only while they flow. On SIGTERM the
    rings are worked off and the spool is emptied until process.drain_s; what is left is sent after the next start.

    \b
    Example:
      touchline agent run --config node.toml
    """
    from agent.parent.parent import Agent
    from touchline.config import NodeConfig, load

    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    sys.exit(Agent(load(config_path, NodeConfig), config_path).run())


@agent.command()
@config_option()
@click.option("--connect", is_flag=True, help="Also ask the broker whether it lets this node in.")
@json_option
def check(config_path: Path, connect: bool, as_json: bool) -> None:
    """Check the configuration and everything it names: sources, calibrations, memory, model, disk, certificates.

    Exits with the code of the first thing that is wrong, 0 when all is well. Changes nothing.

    \b
    Example:
      touchline agent check --config node.toml --connect
    """
    from agent.check import check_node
    from touchline.config import NodeConfig, load

    findings = list(check_node(load(config_path, NodeConfig), connect=connect))
    lines = [
        f"{'ok  ' if one.good else 'BAD '} {one.what}: {one.detail}" + (f"\n      fix: {one.fix}" if one.fix else "")
        for one in findings
    ]
    rows = [{"what": one.what, "good": one.good, "detail": one.detail, "fix": one.fix} for one in findings]
    emit({"good": all(one.good for one in findings), "findings": rows}, as_json, "\n".join(lines))
    sys.exit(next((one.exit_code for one in findings if not one.good), 0))


@agent.command()
@config_option()
@json_option
def status(config_path: Path, as_json: bool) -> None:
    """Show what the agent says of itself; exits with 6 when it does not run.

    \b
    Example:
      touchline agent status --config node.toml
    """
    from agent.parent.status import read_status
    from touchline.config import NodeConfig, load

    document, running = read_status(load(config_path, NodeConfig))
    if not running and document["state"] != "stopped":
        document = {**document, "state": "gone", "reason": f"process {document['pid']} is no more; last words below"}
    emit(document, as_json, status_text(document))
    sys.exit(0 if running else LinkError.exit_code)


def status_text(document: dict[str, Any]) -> str:
    """The status document for a person."""
    lines = [f"node {document['node']}: {document['state']} {document['reason']}".rstrip()]
    lines += [f"  camera {camera}: {fps:.1f} frames/s" for camera, fps in document["fps"].items()]
    lines += [f"  failover {_failover_text(document['failover'])}"] if document.get("failover") else []
    lines += [f"  thermal {_thermal_text(document['thermal'])}"] if document.get("thermal") else []
    frames = document["frames"]
    lines.append(f"  frames {frames['captured']} captured, {frames['processed']} processed")
    lines.append(f"  records {document['records']}, spool {json.dumps(document['spool'])}")
    lines.append(f"  dropped {json.dumps(document['dropped'])}")
    lines += [f"  trace {json.dumps(document['trace'])}"] if document.get("trace") else []
    lines.append(f"  clock {_clock_text(document['clock'])}")
    lines.append(f"  {'stage':<18} {'p50 ms':>9} {'p99 ms':>9} {'max ms':>9}")
    for stage, one in document["stages_ms"].items():
        lines.append(f"  {stage:<18} {one['p50']:>9.2f} {one['p99']:>9.2f} {one['max']:>9.2f}")
    for name, child in document["children"].items():
        failure = f", last failure: {child['last_failure']}" if child["last_failure"] else ""
        lines.append(f"  {name}: pid {child['pid']}, {child['restarts']} restarts{failure}")
    return "\n".join(lines)


def _thermal_text(thermal: dict[str, Any]) -> str:
    from agent.publish.heat import heat_text

    return heat_text(thermal)


def _failover_text(failover: dict[str, Any]) -> str:
    gate = "open" if failover["open"] else "shut"
    text = f"{failover['role']}, epoch {failover['epoch']}, gate {gate}, {failover['covered_batches']} of "
    text += f"{failover['held_batches']} held batches covered by the twin"
    if failover["cursor_age_ms"] is not None:
        text += f", cursor {failover['cursor_age_ms']:g} ms behind"
    return text if failover["service"] else f"{text}, NO FAILOVER SERVICE"


def _clock_text(clock: dict[str, Any]) -> str:
    text = f"{clock['state']}, bound {clock['bound_ns'] / 1e3:.1f} us, epoch {clock['epoch']}"
    if isinstance(clock.get("limit_ns"), int):
        text += f", limit {clock['limit_ns'] / 1e3:g} us"
    for name in ("source", "grandmaster", "trouble"):
        text += f", {name} {clock[name]}" if clock.get(name) else ""
    return text
