"""``touchline flash``: bundles, flashing, first boot and identity."""

from __future__ import annotations

from typing import Final

import click

from touchline.lazy import LazyGroup

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "bundle": ("flash.bundle.cli:bundle", "The offline bundle: wheels, units and installer in one file."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def flash() -> None:
    """Bring Touchline onto a node.

    \b
    Examples:
      touchline flash bundle create --arch aarch64 --python 3.10 --out touchline.tar
      touchline flash bundle verify touchline.tar
    """
