"""``touchline node``: the machine that a node runs on, apart from our own services."""

from __future__ import annotations

from typing import Final

import click

from touchline.lazy import LazyGroup

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "encoder": ("flash.tune.encoder_cli:encoder", "The spare copy of the encoder binary: put it there, check it."),
    "tune": ("flash.tune.cli:tune", "Interrupts, idle states, buffers and packet rings: show, apply, check, undo."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def node() -> None:
    """The host of a node: its settings and the spare encoder.

    \b
    Examples:
      touchline node tune --dry-run --config node.toml
      sudo touchline node tune apply --config node.toml
      touchline node tune check --config node.toml --measure
      sudo touchline node encoder check --config node.toml
    """
