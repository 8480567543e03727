"""``touchline failover``: the service and its witness, what the pair is doing, hand-over, drill, history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from touchline.errors import ConfigError, GateError
from touchline.shell import answer_needed, config_option, emit, json_option, note

if TYPE_CHECKING:
    from failover.speaker import Speaker
    from touchline.config import NodeConfig
    from touchline.config.failover import FailoverSection


@click.group()
def failover() -> None:
    """The twin: who publishes, what happens when a node dies, and the proof that it does.

    \b
    Examples:
      touchline failover status --config node.toml
      touchline failover handover --config node.toml       for maintenance: no frame is lost
      touchline failover drill --config node.toml          cut the link for 1 s and measure
      touchline failover history --config node.toml --json
      touchline failover witness --config rack.toml        on the rack
    """


def _load(config_path: Path) -> tuple[NodeConfig, FailoverSection]:
    from touchline.config import NodeConfig, load

    config = load(config_path, NodeConfig)
    if config.failover is None:
        raise ConfigError(
            f"{config_path} has no [failover]: this node has no twin", hint="add [failover]; docs/failover.md"
        )
    return config, config.failover


@contextmanager
def _speaking() -> Iterator[Speaker]:
    """The log from a thread of its own: whoever reads it must not hold up a lease."""
    from failover.speaker import Speaker, log_through

    speaker = Speaker(note)
    log_through(speaker)
    try:
        yield speaker
    finally:
        speaker.close()


@failover.command()
@config_option()
def run(config_path: Path) -> None:
    """Run the failover service of this node until SIGTERM; systemd does that.

    Beats to the twin, the lease from the witness, the gate of the publisher, the virtual address. On SIGTERM an active
    node hands over first, if its twin is fit.

    \b
    Example:
      touchline failover run --config node.toml
    """
    from failover.service.build import open_service

    config, section = _load(config_path)
    with _speaking() as speaker:
        service = open_service(config, section, lambda: speaker.dropped)
        try:
            service.run()
        finally:
            service.close()


@failover.command()
@config_option("The rack's TOML file, with its [witness].")
def witness(config_path: Path) -> None:
    """Run the witness on the rack until SIGTERM: it grants each pair's lease, with an epoch that only grows.

    \b
    Example:
      touchline failover witness --config rack.toml
    """
    from failover.witness.service import run_witness
    from touchline.config import load
    from touchline.config.rack import RackConfig

    config = load(config_path, RackConfig)
    with _speaking():
        run_witness(config, click.echo, lambda address: note(f"witness at {address}"))


@failover.command()
@config_option()
def needed(config_path: Path) -> None:
    """Exit with 0 when this node has a twin ([failover] is there), with 1 when not: systemd asks before it starts us.

    Whatever keeps it from knowing is 255, which systemd takes for a failure; 1 to 254 would skip the unit in silence.

    \b
    Example:
      touchline failover needed --config node.toml && echo a pair
    """
    answer_needed(config_path, lambda config: config.failover is not None, "this node has a twin")


@failover.command()
@config_option()
def drop(config_path: Path) -> None:
    """Take the virtual address off this node, if a service of ours left it; systemd does that when the service ended.

    An address that somebody else added is left alone: touchline failover run names it.

    \b
    Example:
      touchline failover drop --config node.toml
    """
    from failover.actions.address import VirtualAddress, parse_addresses
    from touchline.config import NodeConfig, load

    section = load(config_path, NodeConfig).failover
    if section is not None and section.address:
        dropped = VirtualAddress(parse_addresses(section.address), section.address_interface).drop()
        click.echo(", ".join(f"{one} dropped" for one in dropped) or "no address of ours was there")


@failover.command()
@config_option()
@click.option("--watch", is_flag=True, help="Again every second, until interrupted.")
@json_option
def status(config_path: Path, watch: bool, as_json: bool) -> None:
    """Show role, lease, twin, witness and the last switch; exit code 6 when the service does not run.

    \b
    Examples:
      touchline failover status --config node.toml
      touchline failover status --config node.toml --watch
    """
    from failover.service.control import ask
    from failover.service.show import status_text
    from touchline.timeline import monotonic_ns, sleep_until

    config, _section = _load(config_path)
    while True:
        document: dict[str, Any] = ask(config.node.run_dir, "status")["status"]
        if watch and not as_json:
            click.clear()
        emit(document, as_json, status_text(document))
        if not watch:
            return
        sleep_until(monotonic_ns() + 1_000_000_000)


@failover.command()
@config_option()
@click.option("--force", is_flag=True, help="Also within a match window.")
@click.option(
    "--weekly",
    is_flag=True,
    help="As the timer: where no drill may run now, say why and exit with 0; standby included.",
)
@click.option(
    "--cut-ms",
    default=1000.0,
    show_default=True,
    type=click.FloatRange(200.0, 10_000.0),
    help="How long the links are off.",
)
@json_option
def drill(config_path: Path, force: bool, weekly: bool, cut_ms: float, as_json: bool) -> None:
    """Cut this active node's links for a second, measure the switch, restore, keep a report with a picture.

    The links are [failover] drill_interfaces. They come back whatever happens to this command. Refused on a standby,
    while the twin is not fit, and from 15 min before a match window to its end. Exit code 8 when the bar was missed.

    \b
    Examples:
      touchline failover drill --config node.toml
      touchline failover drill --config node.toml --force --json
    """
    from failover.drill_report import drill_text
    from failover.service.drill import run_drill, why_not

    config, section = _load(config_path)
    refused = why_not(config, section, forced=force)
    if refused is not None and weekly:
        emit({"skipped": refused.message}, as_json, f"no drill now: {refused.message}")
        return
    if refused is not None:
        raise refused
    report, path = run_drill(config, section, forced=force, cut_ms=cut_ms, note=note)
    kept = "report not kept" if path is None else f"report {path}, picture {path.with_suffix('.svg')}"
    emit({**report, "report": None if path is None else str(path)}, as_json, f"{drill_text(report)}\n\n{kept}")
    if not report["ok"]:
        raise GateError("the drill missed its bar", hint="the report says where; touchline failover status")


@failover.command()
@config_option()
@click.option("--last", default=20, show_default=True, type=click.IntRange(1, 100_000), help="How many entries.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(["takeover", "release", "drill", "note"]),
    help="Only these; may be given several times.",
)
@json_option
def history(config_path: Path, last: int, kinds: tuple[str, ...], as_json: bool) -> None:
    """Show what happened to this node of the pair: switches with their steps, drills, losses and returns.

    \b
    Examples:
      touchline failover history --config node.toml
      touchline failover history --config node.toml --kind takeover --last 5 --json
    """
    from failover.history import KINDS, history_folder, history_text, read_history

    config, _section = _load(config_path)
    found = read_history(history_folder(config), kinds=kinds or KINDS, last=last)
    emit({"entries": found.entries, "damaged": found.damaged}, as_json, history_text(found))


@failover.command()
@config_option()
@json_option
def handover(config_path: Path, as_json: bool) -> None:
    """Let the twin take over now, for maintenance of this node: it publishes before this one stops.

    Refused while the twin is not fit. The node stays standby until someone hands back, or for good.

    \b
    Example:
      touchline failover handover --config node.toml
    """
    from failover.service.control import ask

    config, _section = _load(config_path)
    answer = ask(config.node.run_dir, "handover")
    emit(answer, as_json, str(answer["text"]))
