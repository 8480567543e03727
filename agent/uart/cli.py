"""``touchline uart``: read the serial line back, ask how it is, print its layout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from touchline.errors import ConfigError, GateError, HardwareError, InputError, LinkError
from touchline.shell import config_option, emit, json_option, note


@click.group()
def uart() -> None:
    """The serial line: 115 characters a frame at 1 Mbaud, with its best box.

    \b
    Examples:
      touchline uart status --config node.toml
      touchline uart decode capture.txt
      touchline uart decode /dev/ttyUSB0 --lines 240 --json
      touchline uart spec
    """


@uart.command()
@click.argument("source", type=click.Path(allow_dash=True, path_type=Path))
@click.option(
    "--baud", default=1_000_000, show_default=True, type=click.IntRange(1200), help="Rate, where SOURCE is a port."
)
@click.option("--lines", "most", type=click.IntRange(1), help="Stop after so many good lines.")
@click.option("--quiet", is_flag=True, help="Print the sums alone.")
@click.option("--strict", is_flag=True, help="Missing frames and lost lines are a failure too (exit 8).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines, the last one the sums, instead of text.")
def decode(source: Path, *, baud: int, most: int | None, quiet: bool, strict: bool, as_json: bool) -> None:
    """Read the lines in SOURCE: a file, - for standard input, or a serial port, until Ctrl-C.

    Exits with 0 when every line is good, with 4 when one is damaged or there is none. The beginning and the end of a
    stream that lie in the midst of a line are no damage.

    \b
    Examples:
      touchline uart decode capture.txt
      touchline uart decode /dev/ttyUSB0 --lines 240 --strict
      touchline uart decode - --json < capture.txt
    """
    from agent.uart.scan import Tally
    from agent.uart.show import found_dict, found_text, tally_text
    from agent.uart.source import each_found

    tally = Tally()
    try:
        for found in each_found(source, baud):
            tally.take(found)
            text = "" if quiet else json.dumps(found_dict(found)) if as_json else found_text(found)
            if text:
                click.echo(text)
            if most is not None and tally.lines >= most:
                break
    finally:
        if as_json:
            click.echo(json.dumps({"type": "summary", **tally.document()}))
        else:
            click.echo(tally_text(tally)) if quiet else note(tally_text(tally))
    _judge(source, tally.lines, sum(tally.bad.values()), tally.lost + tally.missing if strict else 0)


def _judge(source: Path, good: int, bad: int, gaps: int) -> None:
    if bad:
        raise InputError(f"{source}: {bad} damaged among {good} good lines", hint="check ground, cable and baud rate")
    if not good:
        raise InputError(f"{source} holds no line", hint="is it the right port, and the baud rate that of [uart]?")
    if gaps:
        raise GateError(
            f"{source}: {gaps} frames or lines are missing", hint="touchline uart status says who dropped them"
        )


@uart.command()
@config_option()
@json_option
def status(config_path: Path, as_json: bool) -> None:
    """Show how the serial line of the running agent is: port, lines, what was dropped and why.

    Exits with 6 when its process does not run, with 7 when the port is not open or takes nothing.

    \b
    Example:
      touchline uart status --config node.toml
    """
    from agent.parent.status import read_status
    from agent.uart.show import status_text
    from touchline.config import NodeConfig, load

    config = load(config_path, NodeConfig)
    if config.uart is None:
        raise ConfigError(f"{config_path} has no [uart]", hint="add the table, see docs/uart.md")
    document, running = read_status(config)
    child: dict[str, Any] = document["children"].get("uart", {})
    uart = document.get("uart")
    if not running or not child.get("running") or not isinstance(uart, dict):
        why = f": {child['last_failure']}" if child.get("last_failure") else ""
        raise LinkError(f"the process of the serial line does not run{why}", hint="see touchline agent status")
    dropped = {name.removeprefix("uart_"): n for name, n in document["dropped"].items() if name.startswith("uart_")}
    emit({**uart, "dropped": dropped, "process": child}, as_json, status_text(child, uart, dropped))
    if uart["trouble"] or not uart["open"]:
        sys.exit(HardwareError.exit_code)


@uart.command()
@json_option
def spec(as_json: bool) -> None:
    """Print the line's layout, byte by byte, from its one definition.

    \b
    Examples:
      touchline uart spec
      touchline uart spec --json
    """
    from agent.uart.line import COLUMNS, FLAG_MEANING, LINE_CHARS, VERSION, layout_hash, spec_text

    columns: list[dict[str, Any]] = []
    at = 0
    for column in COLUMNS:
        columns.append({"name": column.name, "first": at, "width": column.width, "meaning": column.meaning})
        at += column.width + 1
    flags = {f"{flag:02X}": words for flag, words in FLAG_MEANING.items()}
    layout = {"version": VERSION, "chars": LINE_CHARS, "layout_hash": layout_hash()}
    emit({**layout, "columns": columns, "flags": flags}, as_json, spec_text())
