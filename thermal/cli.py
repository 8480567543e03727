"""``touchline thermal``: the node's fan and clocks: status, service, simulation, identification."""

from __future__ import annotations

from typing import Final

import click

from touchline.lazy import LazyGroup

# name -> (module:object, the line that --help shows); a module is imported when its command is called
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "identify": ("thermal.identify.cli:identify", "Fit the node's cooling from a recorded run and propose gains."),
    "run": ("thermal.service_cli:run", "Run the fan service of this node until SIGTERM; systemd does that."),
    "simulate": ("thermal.simulate.cli:simulate", "Simulate a match day: figures, and a picture of the whole run."),
    "status": ("thermal.service_cli:status", "Temperature, fan, clocks, power and faults of this node."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def thermal() -> None:
    """The node's temperature: fan, clocks, power, and what is wrong with them.

    \b
    Examples:
      touchline thermal status --config node.toml --watch
      touchline thermal simulate --profile heat-38c --svg heat.svg
      touchline thermal simulate --list
      touchline thermal identify record.jsonl
    """
