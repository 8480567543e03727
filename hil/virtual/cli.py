"""``touchline hil virtual``: build, boot and use virtual nodes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from touchline.lazy import LazyGroup
from touchline.shell import emit, json_option, note

_F = TypeVar("_F", bound=Callable[..., Any])
DEFAULT_NAME = "node"

COMMANDS = {
    "boot": ("hil.virtual.cli:boot", "Boot a node (or twins) with a rack, from nothing or from a snapshot."),
    "build": ("hil.virtual.image.cli:build", "Build the image from Debian's packages and this checkout."),
    "destroy": ("hil.virtual.cli:destroy", "End a node and everything that runs for it."),
    "doctor": ("hil.virtual.doctor:doctor", "What this host can do, and what it lacks."),
    "exec": ("hil.virtual.cli:exec_", "Run a command in a node; its exit code is ours."),
    "kernel": ("hil.virtual.image.cli:kernel", "The optional custom kernel."),
    "shell": ("hil.virtual.cli:shell", "A root shell in a node."),
    "snapshot": ("hil.virtual.cli:snapshot", "Freeze a running node under a name."),
    "status": ("hil.virtual.cli:status", "What runs here."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def virtual() -> None:
    """Virtual nodes: an emulated arm64 machine with real Linux drivers behind every device the agent touches.

    \b
    Examples:
      touchline hil virtual doctor
      touchline hil virtual build
      touchline hil virtual boot
      touchline hil virtual exec -- systemctl status touchline-agent
      touchline hil virtual destroy
    """


def _name_option(command: _F) -> _F:
    return click.option("--name", default=DEFAULT_NAME, show_default=True, help="Which site.")(command)


def _seat_option(command: _F) -> _F:
    choice = click.Choice(["a", "b"])
    return click.option("--seat", type=choice, default="a", show_default=True, help="Which of the twins.")(command)


def _cache_option(command: _F) -> _F:
    kind = click.Path(file_okay=False, path_type=Path)
    return click.option("--cache-dir", type=kind, help="Where images and snapshots are kept.")(command)


def _say(text: str, seconds: float) -> None:
    note(f"  {text:<28} {seconds:6.1f} s")


@click.command()
@_name_option
@_cache_option
@click.option("--twins", "seats", flag_value="ab", help="Two nodes, seats a and b, on one network.")
@click.option("--snapshot", "frozen", metavar="NAME", help="Restore this snapshot instead of booting from nothing.")
@click.option("--no-agent", is_flag=True, help="Leave the nodes without configuration: the agent is not started.")
@json_option
def boot(
    name: str, cache_dir: Path | None, *, seats: str | None, frozen: str | None, no_agent: bool, as_json: bool
) -> None:
    """Boot a node with a broker and an aggregator beside it; it runs until it is destroyed.

    \b
    Examples:
      touchline hil virtual boot
      touchline hil virtual boot --twins --name pair
      touchline hil virtual boot --snapshot ready --json
    """
    from hil.virtual.background import Background
    from hil.virtual.image import load_image
    from hil.virtual.machine.process import exit_on_signals

    ground = Background(cache=cache_dir)
    if frozen is not None and (seats or no_agent):
        raise click.UsageError("--snapshot brings back what was frozen: --twins and --no-agent do not go with it")
    with exit_on_signals():
        if frozen is not None:
            site = ground.restore(name, frozen, say=_say)
        else:
            site = ground.boot(name, load_image(cache_dir), tuple(seats or "a"), agent=not no_agent, say=_say)
    network = ground.network(name)
    here = "" if name == DEFAULT_NAME else f" --name {name}"
    text = (
        f"'{name}' runs: {', '.join(f'orin-{seat}' for seat in site.seats)} on network {network}\n"
        f"  a shell:   touchline hil virtual shell{here}\n"
        f"  a command: touchline hil virtual exec{here} -- journalctl -u touchline-agent\n"
        f"  the rack:  ip netns exec {network} touchline aggregator status --url http://127.0.0.1:{site.ports['page']}/\n"
        f"  the end:   touchline hil virtual destroy{here}"
    )
    emit(ground.document(name), as_json, text)


@click.command()
@_name_option
@_seat_option
def shell(name: str, seat: str) -> None:
    """A root shell on the node's console; Ctrl-] leaves it. Takes a script on standard input as well.

    \b
    Examples:
      touchline hil virtual shell
      touchline hil virtual shell --name pair --seat b
      echo uptime | touchline hil virtual shell
    """
    from hil.virtual.background import Background
    from hil.virtual.machine.qemu import SHELL_SOCKET
    from hil.virtual.machine.shell import attach

    run_dir = Background().running(name, seat)
    if sys.stdin.isatty():
        note("Ctrl-] leaves this shell; the node runs on.")
    attach(run_dir / SHELL_SOCKET)


@click.command(name="exec", context_settings={"ignore_unknown_options": True})
@_name_option
@_seat_option
@click.option("--timeout", "timeout_s", type=click.FloatRange(0.1, 86_400.0), default=60.0, show_default=True, help="s")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(name: str, seat: str, timeout_s: float, command: tuple[str, ...]) -> int:
    """Run a command in a node, as root, over a channel that no network fault cuts; its exit code is ours.

    \b
    Examples:
      touchline hil virtual exec -- uname -a
      touchline hil virtual exec --seat b -- 'cat /run/touchline/agent-status.json'
    """
    from hil.virtual.background import Background

    words = command[0] if len(command) == 1 else _quoted(command)
    with Background().node(name, seat) as node:
        result = node.run(words, timeout_s=timeout_s, check=False)
    click.echo(result.out, nl=False)
    click.echo(result.err, nl=False, err=True)
    return result.exit_code


def _quoted(words: tuple[str, ...]) -> str:
    import shlex

    return shlex.join(words)


@click.command()
@click.argument("snapshot_name", metavar="SNAPSHOT")
@_name_option
@_cache_option
@json_option
def snapshot(snapshot_name: str, name: str, cache_dir: Path | None, as_json: bool) -> None:
    """Freeze a running site: memory, disks and identities of every node. They go on running.

    \b
    Examples:
      touchline hil virtual snapshot ready
      touchline hil virtual boot --name again --snapshot ready
    """
    from hil.virtual.background import Background

    folder = Background(cache=cache_dir).snapshot(name, snapshot_name, say=_say)
    size = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    text = f"snapshot '{snapshot_name}': {size / 1e6:.0f} MB in {folder}"
    emit({"snapshot": snapshot_name, "folder": str(folder), "bytes": size}, as_json, text)


@click.command()
@json_option
def status(as_json: bool) -> None:
    """What runs here: every site with its nodes, their processes and addresses.

    \b
    Examples:
      touchline hil virtual status
      touchline hil virtual status --json
    """
    from hil.virtual.background import Background

    ground = Background()
    found = [ground.document(name) for name in ground.sites.names()]
    lines = []
    for one in found:
        lines.append(f"{one['name']}  image {one['image_id']}  since {one['started_utc']}  network {one['network']}")
        for node in one["nodes"]:
            state = f"pid {node['pid']}" if node["pid"] else "dead"
            lines.append(f"  {node['name']}  {state}  {node['address']}  {node['run_dir']}")
        lines += [f"  {process}  {'runs' if alive else 'dead'}" for process, alive in one["processes"].items()]
    emit({"sites": found}, as_json, "\n".join(lines) or "no virtual node runs here")


@click.command()
@_name_option
@click.option("--all", "everything", is_flag=True, help="Every site of this machine, and what dead ones left.")
@json_option
def destroy(name: str, everything: bool, as_json: bool) -> None:
    """End a site: its nodes, its rack and its network, each by pid. Images and snapshots stay.

    \b
    Examples:
      touchline hil virtual destroy
      touchline hil virtual destroy --all
    """
    from hil.virtual.background import Background
    from hil.virtual.machine.network import sweep

    ground = Background()
    gone = ground.sites.names() if everything else [name]
    for one in gone:
        ground.sites.destroy(one)
    swept = sweep() if everything else []
    text = f"destroyed: {', '.join([*gone, *swept]) or 'nothing was there'}"
    emit({"destroyed": gone, "networks": swept}, as_json, text)
