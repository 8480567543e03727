"""``touchline protect status``, ``reset`` and ``test``: what a person asks and orders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from touchline.errors import GateError, LinkError
from touchline.shell import config_option, emit, json_option, note


@click.command()
@config_option()
@click.option("--watch", is_flag=True, help="Again every second, until interrupted.")
@click.option("--check", is_flag=True, help="Exit with 8 when the cameras are cut or anything is wrong.")
@json_option
def status(config_path: Path, watch: bool, check: bool, as_json: bool) -> None:
    """Show what protection sees, what it cut and what is wrong; exit code 6 when the service does not run.

    \b
    Examples:
      touchline protect status --config node.toml --watch
      touchline protect status --config node.toml --json
      touchline protect status --config node.toml --check && echo guarded
    """
    from thermal.protect.service_cli import load_protect
    from thermal.protect.show import status_text
    from thermal.protect.status import FILE, read_status
    from touchline.timeline import monotonic_ns, sleep_until

    config, _section = load_protect(config_path)
    while True:
        now_ns = monotonic_ns()
        told = read_status(config.node.run_dir / FILE, now_ns)
        if watch and not as_json:
            click.clear()
        document = {"good": told.good, "why": told.why, "status": dict(told.document) or None}
        emit(document, as_json, status_text(told, now_ns))
        if not watch:
            break
        sleep_until(now_ns + 1_000_000_000)
    if not told.good:
        raise LinkError(told.why, hint="systemctl status touchline-protect; nothing is guarded meanwhile")
    if check and (told.document.get("latched") or told.document.get("faults")):
        raise GateError("the cameras are cut or something is wrong", hint="it is listed above")


@click.command()
@config_option()
@click.option("--yes", is_flag=True, help="Do not ask: somebody has looked at the node and its cameras.")
@click.option("--blind", is_flag=True, help="Although the accelerometer cannot be read.")
@json_option
def reset(config_path: Path, yes: bool, blind: bool, as_json: bool) -> None:
    """Take back a cut: the cameras are fed again. Refused while the node shakes; look at it first.

    \b
    Examples:
      sudo touchline protect reset --config /etc/touchline/node.toml
      sudo touchline protect reset --config /etc/touchline/node.toml --yes
    """
    if not yes:
        _confirm("Feed the cameras again? Mast, mounts and cables have been looked at?")
    _order(config_path, {"do": "reset", "blind": blind}, as_json)


@click.command()
@config_option()
@click.option("--seconds", default=2.0, type=click.FloatRange(0.5, 30.0), help="How long the cameras are cut.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def test(config_path: Path, seconds: float, yes: bool, as_json: bool) -> None:
    """Cut the cameras for some seconds and feed them again, event first as in earnest; never during a match.

    \b
    Examples:
      sudo touchline protect test --config /etc/touchline/node.toml
      sudo touchline protect test --config /etc/touchline/node.toml --seconds 5 --yes
    """
    if not yes:
        _confirm(f"Cut the cameras' power for {seconds:g} s?")
    _order(config_path, {"do": "test", "seconds": seconds}, as_json)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        note("touchline: nobody to ask; --yes answers")
    click.confirm(question, abort=True)


def _order(config_path: Path, request: dict[str, Any], as_json: bool) -> None:
    """Ask the service, show what it says. Raises GateError when it refuses."""
    from thermal.protect.control import ask
    from thermal.protect.service_cli import load_protect
    from thermal.protect.status import SOCKET

    config, _section = load_protect(config_path)
    answer = ask(config.node.run_dir / SOCKET, request)
    if not answer.get("done"):
        raise GateError(f"{request['do']}: {answer['text']}", hint="touchline protect status says more")
    emit(answer, as_json, str(answer["text"]))
