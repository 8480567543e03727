"""``touchline hil``: the station's commands."""

from __future__ import annotations

import click

from touchline.lazy import LazyGroup

COMMANDS = {"venue": ("hil.venue.cli:venue", "The simulated venue: a rendered match with known truth.")}


@click.group(cls=LazyGroup, table=COMMANDS)
def hil() -> None:
    """The simulated venue and the bench rack.

    \b
    Examples:
      touchline hil venue render --out frame.png
      touchline hil venue dataset --out frames --frames 400
    """
