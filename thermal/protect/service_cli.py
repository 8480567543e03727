"""``touchline protect run`` and ``needed``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from touchline.errors import ConfigError
from touchline.shell import answer_needed, config_option

if TYPE_CHECKING:
    from touchline.config import NodeConfig
    from touchline.config.protect import ProtectSection

_FOLDER = click.Path(path_type=Path, file_okay=False)
PARTS = ("service", "flush", "trace")


def load_protect(config_path: Path) -> tuple[NodeConfig, ProtectSection]:
    """The configuration and its ``[protect]``. Raises ConfigError without one."""
    from touchline.config import NodeConfig, load

    config = load(config_path, NodeConfig)
    if config.protect is None:
        raise ConfigError(f"{config_path} has no [protect]: nothing is guarded", hint="add [protect]; it may be empty")
    return config, config.protect


@click.command()
@config_option()
@click.option("--sysfs-root", default="/", type=_FOLDER, help="Where /sys lies; another folder for tests.")
@click.option(
    "--run-dir", type=_FOLDER, help="Folder of status and socket; absent: [node] run_dir, or where its links lead."
)
@click.option(
    "--state-dir",
    default="/var/lib/touchline-protect",
    type=_FOLDER,
    help="Folder of events and latch, on a disk that is never made read-only.",
)
def run(config_path: Path, sysfs_root: Path, run_dir: Path | None, state_dir: Path) -> None:
    """Run the protect service of this node until SIGTERM; systemd does that.

    Holds the camera relay's line as long as it runs. An earlier cut stays a cut until touchline protect reset.

    \b
    Examples:
      touchline protect run --config node.toml
      touchline protect run --config node.toml --state-dir /var/lib/touchline-protect
    """
    from thermal.protect.build import open_service
    from thermal.protect.status import FILE
    from thermal.whole import home_of
    from touchline.alone import alone

    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    config, section = load_protect(config_path)
    folder = run_dir or home_of(config.node.run_dir / FILE)
    with alone(folder, f"another protect service runs in {folder}"):
        open_service(config, section, sysfs_root, folder, state_dir).run()


@click.command()
@config_option()
@click.option("--part", default="service", type=click.Choice(PARTS), help="Of which unit this is asked.")
def needed(config_path: Path, part: str) -> None:
    """Exit with 0 when this node is protected ([protect] is there), with 1 when not: systemd asks before it starts us.

    Whatever keeps it from knowing is 255, which systemd takes for a failure; 1 to 254 would skip the unit in silence.

    \b
    Examples:
      touchline protect needed --config node.toml && echo ours
      touchline protect needed --config node.toml --part trace
    """

    def wanted(config: NodeConfig) -> bool:
        section = config.protect
        return section is not None and (part != "trace" or section.trace_max_bytes > 0)

    answer_needed(config_path, wanted, "this node is protected")
