"""``touchline hil``: the station's commands."""

from __future__ import annotations

import click

from hil.venue.cli import venue


@click.group()
def hil() -> None:
    """The simulated venue and the bench rack.

    \b
    Examples:
      touchline hil venue render --out frame.png
      touchline hil venue dataset --out frames --frames 400
    """


hil.add_command(venue)
