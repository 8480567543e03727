"""``touchline clock``: what time this node has, how wrong it may be, and what linuxptp is told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import click

from touchline.errors import GateError, InputError, LinkError, ResourceError
from touchline.shell import config_option, emit, json_option

if TYPE_CHECKING:
    from agent.clock.history import History
    from agent.clock.linuxptp import Ptp4l
    from touchline.config import NodeConfig

NEEDS: Final = ("ptp4l", "phc2sys", "no-ntp")
_PATH: Final = click.Path(path_type=Path)


@click.group()
def clock() -> None:
    """The node's time: what it is, how wrong it may be, and what went before.

    \b
    Examples:
      touchline clock status --config node.toml
      touchline clock status --config node.toml --watch
      touchline clock plot --config node.toml --out clock.svg
      touchline clock config --config node.toml --print
    """


@clock.command()
@config_option()
@click.option(
    "--watch", is_flag=True, help="Look twice a second until Ctrl-C; a line a look where there is no terminal."
)
@click.option("--check", is_flag=True, help="For scripts: exit with 8 when stamps made now would be unlocked.")
@json_option
def status(config_path: Path, watch: bool, check: bool, as_json: bool) -> None:
    """Show how wrong the time may be, and why.

    State, bound beside limit, epoch, grandmaster, port, offset, path delay, servo, mappings, last steps, counters. The
    bound is that of a stamp made now, worked out from the clock process's page: if that process is gone, it grows.
    Exits with 6 when the clock process does not run (as touchline agent status does), with --check also with 8 when the
    present stamp is unlocked, which is what happens beyond the limit. docs/clock.md says what to do then.

    \b
    Examples:
      touchline clock status --config node.toml
      touchline clock status --config node.toml --watch
      touchline clock status --config node.toml --watch --json | head -1
      touchline clock status --config node.toml --check
    """
    from agent.clock.show import head_line, status_text
    from touchline.config import NodeConfig, load

    if watch and check:
        raise click.UsageError("--watch goes on for ever and --check ends at once: take one of them")
    look = _looker(load(config_path, NodeConfig), config_path)
    if watch:
        from agent.clock.live import watch as watch_clock

        watch_clock(look, as_json)
    document = look()
    emit(document, as_json, status_text(document))
    if not document["running"]:
        sys.exit(LinkError.exit_code)
    if check and document["state"] == "unlocked":
        hint = "see TROUBLE, port and servo above and docs/clock.md"
        if document["source"] == "system":
            hint = 'the system clock never is locked; set [clock] source = "ptp"'
        raise GateError(f"node {document['node']}: {head_line(document)}", hint=hint)


@clock.command()
@config_option()
@click.option("--out", type=_PATH, help="The SVG to write. Needed, unless --json is there.")
@click.option(
    "--seconds", default=600, show_default=True, type=click.IntRange(10, 86_400), help="How far to look back."
)
@json_option
def plot(config_path: Path, out: Path | None, seconds: int, as_json: bool) -> None:
    """Draw the clock's last minutes as one SVG.

    Offset within bound beside the limit, states, events, epochs, path delay, and gaps where nothing was written. The
    clock process keeps the last hour or two, a line a second, in node.run_dir. With --json the lines themselves are
    printed, and a picture is drawn only if --out is there too.

    \b
    Examples:
      touchline clock plot --config node.toml --out clock.svg
      touchline clock plot --config node.toml --out clock.svg --seconds 3600
      touchline clock plot --config node.toml --json
    """
    from agent.clock.history import HISTORY_FILE, read_history
    from touchline.config import NodeConfig, load

    if out is None and not as_json:
        raise click.UsageError("name the picture: --out clock.svg (or print the lines: --json)")
    if out is not None and out.suffix.lower() != ".svg":
        raise click.BadParameter("the picture is an SVG; give a name ending in .svg", param_hint="--out")
    config = load(config_path, NodeConfig)
    history = read_history(config.node.run_dir, seconds)
    if not history.rows:
        found = f", {history.damaged} damaged ones" if history.damaged else ""
        raise InputError(
            f"{config.node.run_dir / HISTORY_FILE} holds no lines of the last {seconds:g} s{found}",
            hint='run the agent with [clock] source = "ptp": its clock process writes one every second',
        )
    value = {"node": config.node.name, "seconds": seconds, "out": None if out is None else str(out)}
    value |= {"silent_s": None if history.silent_s is None else round(history.silent_s, 3), **history.figures()}
    if out is not None:
        _draw(config, history, out)
    emit(value | _lines(history), as_json, f"{out}: {_figures_text(history)}")


@clock.command("config")
@config_option()
@click.option("--out", type=_PATH, help="Folder to write ptp4l.conf and phc2sys.env into.")
@click.option("--print", "only_print", is_flag=True, help="Show what would be written, and write nothing.")
@click.option(
    "--needs",
    type=click.Choice(NEEDS),
    help="For units (ExecCondition=): exit with 0 when this configuration needs the program, else with 1. no-ntp: does "
    "PTP set the system clock, so that NTP has to stop?",
)
@click.option("--for-version", help="Write for this linuxptp, such as 3.1.1, instead of the one found here.")
@json_option
def configure(
    config_path: Path, out: Path | None, only_print: bool, needs: str | None, for_version: str | None, **rest: bool
) -> None:
    """Write linuxptp's configuration.

    It comes out of [clock.ptp] and fits the version that is installed. Takes one of --out, --print and --needs. The
    units touchline-ptp4l and touchline-phc2sys call it at each start.

    \b
    Examples:
      touchline clock config --config node.toml --print
      touchline clock config --config node.toml --print --for-version 3.1.1
      touchline clock config --config node.toml --out /run/touchline-ptp
      touchline clock config --config node.toml --needs phc2sys
    """
    from touchline.config import NodeConfig, load

    if (out is not None) + only_print + (needs is not None) != 1:
        raise click.UsageError("give one of --out DIR, --print and --needs PROGRAM")
    ptp4l, as_json = _ptp4l_of(for_version), rest["as_json"]
    config = load(config_path, NodeConfig)
    if needs is not None:
        _say_need(config, needs, as_json)
    elif out is not None:
        _write(config, out, ptp4l, as_json)
    else:
        _print(config, ptp4l, as_json)


# --- status ---


def _looker(config: NodeConfig, config_path: Path) -> Callable[[], dict[str, Any]]:
    """A function that looks at the clock; it raises InputError while there is nothing to be seen."""
    from agent.clock.page import PageClock, page_file, read_page
    from agent.clock.show import page_document, present, system_document
    from touchline.timeline import SystemClock, monotonic_ns, read_kernel_time

    name, limit_ns, run_dir = config.node.name, config.clock.bound_limit_ns, config.node.run_dir
    if config.clock.source == "system":
        system = SystemClock()
        return lambda: system_document(name, system.now(), read_kernel_time(), limit_ns)
    pages = PageClock(run_dir)

    def look() -> dict[str, Any]:
        page = pages.page()
        if page is None:
            try:
                page_file(run_dir).open("rb").close()
            except FileNotFoundError as error:
                raise InputError(
                    f"{page_file(run_dir)} is not there: no clock process has run since this machine booted",
                    hint=f"start the agent: touchline agent run --config {config_path}",
                ) from error
            page = read_page(run_dir)  # raises what is wrong with it
        return page_document(name, page, present(page, pages), monotonic_ns(), limit_ns)

    return look


# --- plot ---


def _draw(config: NodeConfig, history: History, out: Path) -> None:
    from agent.clock.page import read_page
    from agent.clock.plot import draw
    from touchline.timeline import TAI_MINUS_UTC_S

    limit_ns, utc_offset_s = config.clock.bound_limit_ns, float(TAI_MINUS_UTC_S)
    try:
        said = read_page(config.node.run_dir).status
    except InputError:  # the history outlives its page
        said = {}
    arbitrary = said.get("timescale") == "ARB"
    if isinstance(said.get("utc_offset_s"), int):
        utc_offset_s = float(said["utc_offset_s"])
    text = draw(history, node=config.node.name, limit_ns=limit_ns, utc_offset_s=None if arbitrary else utc_offset_s)
    _replace(out, text)


def _replace(out: Path, text: str) -> None:
    fresh = out.with_name(f".{out.name}.new")
    try:
        fresh.write_text(text)
        fresh.replace(out)
    except OSError as error:
        raise ResourceError(f"{out}: {error.strerror}", hint="name a file that you may write (--out)") from error


def _lines(history: History) -> dict[str, Any]:
    """Rows and events for a program, ``at_s`` against the newest line."""
    rows = [{**asdict(row), "at_s": round(row.at_s, 3), "state": row.state.value} for row in history.rows]
    return {"rows": rows, "events": [{**asdict(mark), "at_s": round(mark.at_s, 3)} for mark in history.marks]}


def _figures_text(history: History) -> str:
    from agent.clock.history import GAP_S
    from agent.clock.show import age_text
    from touchline.units import format_duration

    figures = history.figures()
    shares = ", ".join(f"{state} {share:.4g} %" for state, share in figures["share_pct"].items() if share)
    parts = [f"{figures['lines']:,} lines, {len(history.marks)} events", shares]
    parts.append(f"bound at most {format_duration(figures['bound_max_ns'])}")
    if figures["offset_max_ns"] is not None:
        parts.append(f"offset at most {format_duration(figures['offset_max_ns'])}")
    parts += [f"{history.damaged} damaged lines left out"] if history.damaged else []
    if history.silent_s is None or history.silent_s > GAP_S:
        ago = "before this machine booted" if history.silent_s is None else f"{age_text(history.silent_s)} ago"
        parts.append(f"the newest line was written {ago}")
    return "; ".join(parts)


# --- config ---


def _write(config: NodeConfig, out: Path, ptp4l: Ptp4l | None, as_json: bool) -> None:
    from agent.clock.linuxptp import write_config

    written = [str(path) for path in write_config(config, out, ptp4l)]
    nothing = f'nothing written to {out}: [clock] source = "{config.clock.source}" needs neither ptp4l nor phc2sys'
    emit({"written": written}, as_json, "\n".join(written) or nothing)


def _print(config: NodeConfig, ptp4l: Ptp4l | None, as_json: bool) -> None:
    from agent.clock.linuxptp import write_config

    with TemporaryDirectory(prefix="touchline-clock-") as folder:
        texts = {path.name: path.read_text() for path in write_config(config, Path(folder), ptp4l)}
    text = "\n".join(f"# --- {name}\n{text}" for name, text in texts.items())
    nothing = f'[clock] source = "{config.clock.source}" needs neither ptp4l nor phc2sys'
    emit({"files": texts}, as_json, text.rstrip() or nothing)


def _say_need(config: NodeConfig, needs: str, as_json: bool) -> None:
    from agent.clock.linuxptp import NEEDS as RULES

    needed = RULES[needs](config.clock)
    role = f'source = "{config.clock.source}", role = "{config.clock.ptp.role}"'
    emit({"program": needs, "needed": needed}, as_json, f"{needs}: {'needed' if needed else 'not needed'} ({role})")
    sys.exit(0 if needed else 1)


def _ptp4l_of(version: str | None) -> Ptp4l | None:
    """The linuxptp to write for; None for the one that will be found."""
    from agent.clock.linuxptp import Ptp4l, parse_version
    from agent.clock.linuxptp.version import OLDEST, UNIT_PTP4L

    if version is None:
        return None
    try:
        known = parse_version(version)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for-version") from error
    if known < OLDEST:
        raise click.BadParameter(f"{OLDEST} is the oldest that works", param_hint="--for-version")
    return Ptp4l(UNIT_PTP4L, known)
