"""``touchline thermal run`` and ``status``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from touchline.errors import ConfigError, GateError, LinkError
from touchline.shell import config_option, emit, json_option

if TYPE_CHECKING:
    from touchline.config import NodeConfig
    from touchline.config.thermal import ThermalSection

_FOLDER = click.Path(path_type=Path, file_okay=False)


def _load(config_path: Path) -> tuple[NodeConfig, ThermalSection]:
    from touchline.config import NodeConfig, load

    config = load(config_path, NodeConfig)
    if config.thermal is None:
        raise ConfigError(
            f"{config_path} has no [thermal]: this node's fan is left to others", hint="add [thermal]; it may be empty"
        )
    return config, config.thermal


@click.command()
@config_option()
@click.option("--sysfs-root", default="/", type=_FOLDER, help="Where /sys lies; another folder for tests.")
@click.option("--run-dir", type=_FOLDER, help="Folder of status and clock memory; absent: [node] run_dir.")
@click.option("--history", type=_FOLDER, help="Folder of the record of all ticks, 32 MiB at most; absent: none.")
def run(config_path: Path, sysfs_root: Path, run_dir: Path | None, history: Path | None) -> None:
    """Run the fan service of this node until SIGTERM; systemd does that.

    Takes the fan from the vendor's daemon, holds the temperature, caps clocks when the fan alone cannot, and gives all
    of it back at the end. After any other end: python -m thermal.safe.

    \b
    Examples:
      touchline thermal run --config node.toml
      touchline thermal run --config node.toml --history /var/lib/touchline-thermal
    """
    from thermal.service.build import open_service
    from thermal.status import status_path
    from thermal.whole import home_of

    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    config, section = _load(config_path)
    folder = run_dir or home_of(status_path(config.node.run_dir))
    open_service(config, section, sysfs_root, folder, history).run()


@click.command()
@config_option()
@click.option("--watch", is_flag=True, help="Again every second, until interrupted.")
@click.option("--check", is_flag=True, help="Exit with 8 when the node is hot or anything is wrong.")
@json_option
def status(config_path: Path, watch: bool, check: bool, as_json: bool) -> None:
    """Show temperature, fan, clocks, power and faults; exit code 6 when the service does not run.

    A status older than three ticks is shown, and taken for hot.

    \b
    Examples:
      touchline thermal status --config node.toml --watch
      touchline thermal status --config node.toml --json
      touchline thermal status --config node.toml --check && echo cool
    """
    from thermal.service.show import told_text
    from thermal.status import document, read_status, status_path
    from touchline.timeline import monotonic_ns, sleep_until

    config, _section = _load(config_path)
    while True:
        now_ns = monotonic_ns()
        told = read_status(status_path(config.node.run_dir), now_ns)
        found = None if told.status is None else document(told.status)
        if watch and not as_json:
            click.clear()
        emit({"good": told.good, "hot": told.hot, "why": told.why, "status": found}, as_json, told_text(told, now_ns))
        if not watch:
            break
        sleep_until(now_ns + 1_000_000_000)
    if not told.good:
        raise LinkError(told.why, hint="systemctl status touchline-thermal; the fan is at full speed or the vendor's")
    if check and told.status is not None and (told.hot or told.status.faults):
        raise GateError("the node is hot or has faults", hint="they are listed above")
