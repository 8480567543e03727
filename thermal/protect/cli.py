"""``touchline protect``: shock, camera relay, full disk, log flush, trace ring."""

from __future__ import annotations

from typing import Final

import click

from touchline.lazy import LazyGroup

# name -> (module:object, the line that --help shows); a module is imported when its command is called
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "flush-logs": ("thermal.protect.flush_cli:flush_logs", "Bring logs and their disks to rest; a timer does that."),
    "flush-trace": ("thermal.protect.flush_cli:flush_trace", "Half-time: the trace ring from memory to the NVMe."),
    "needed": ("thermal.protect.service_cli:needed", "Whether this node is protected; systemd asks."),
    "reset": ("thermal.protect.person_cli:reset", "Take back a cut, once the node stands still."),
    "run": (
        "thermal.protect.service_cli:run",
        "Run the protect service of this node until SIGTERM; systemd does that.",
    ),
    "status": ("thermal.protect.person_cli:status", "What protection sees, what it cut, what is wrong."),
    "test": ("thermal.protect.person_cli:test", "Cut the cameras for two seconds, to see that it works."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def protect() -> None:
    """Protection: shaking cuts the cameras, a full disk is made read-only, logs and trace are flushed.

    \b
    Examples:
      touchline protect status --config node.toml --watch
      touchline protect test --config node.toml --seconds 2
      touchline protect reset --config node.toml
      touchline protect flush-trace --config node.toml
    """
