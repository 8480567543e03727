"""``touchline hil``: the station's commands."""

from __future__ import annotations

import click

from touchline.lazy import LazyGroup

COMMANDS = {
    "venue": ("hil.venue.cli:venue", "The simulated venue: a rendered match with known truth."),
    "virtual": ("hil.virtual.cli:virtual", "Virtual nodes: emulated machines with real kernel drivers."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def hil() -> None:
    """The simulated venue and the virtual node.

    \b
    Examples:
      touchline hil venue render --out frame.png
      touchline hil venue dataset --out frames --frames 400
      touchline hil virtual boot
    """
