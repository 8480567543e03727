"""``touchline``: noun, then verb. Rooms are loaded by name, only when their command is called."""

from __future__ import annotations

import sys
from typing import Final

import click

from touchline import __version__
from touchline.lazy import LazyGroup
from touchline.shell import guarded

# noun -> (module:object, the line that --help shows). The help text lives here so that listing imports no room.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "agent": ("agent.cli:agent", "The resident agent: run it, check its configuration, ask its state."),
    "aggregator": ("aggregator.cli:aggregator", "The rack side: receive, store and show records."),
    "calibrate": ("calibration.cli:calibrate", "Camera calibration: pixels to metres."),
    "clock": ("agent.clock.cli:clock", "The node's time: how wrong it may be, its history drawn, linuxptp's setup."),
    "completion": ("touchline.completion:completion", "Print the completion script for bash, zsh or fish."),
    "demo": ("hil.demo.cli:demo", "The whole chain on this machine: cameras to dots on a pitch."),
    "detect": ("agent.detect.cli:detect", "Look at a detector on your own footage."),
    "failover": ("failover.cli:failover", "The twin: who publishes, hand-over, drill, the witness on the rack."),
    "flash": ("flash.cli:flash", "Bring Touchline onto a node: the offline bundle and its installer."),
    "hil": ("hil.cli:hil", "The simulated venue, the bench rack and the virtual node."),
    "node": ("flash.node_cli:node", "The host of a node: its settings and the spare encoder."),
    "protect": ("thermal.protect.cli:protect", "Shock, camera relay, full disk, log flush, trace ring of this node."),
    "recording": ("agent.record.cli:recording", "Recorded pictures: check them, join those of two nodes."),
    "record": ("touchline.record_cli:record", "The 104-byte record: decode it, print its layout."),
    "thermal": ("thermal.cli:thermal", "The node's temperature: fan, clocks, power, and what is wrong with them."),
    "uart": ("agent.uart.cli:uart", "The serial line, one line a frame: read it back, ask how it is."),
}


@click.group(
    cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="touchline")
def touchline() -> None:
    """Toolkit and resident agent for pitch-side tracking nodes.

    \b
    Examples:
      touchline demo --seconds 30            watch records flow from two simulated cameras
      touchline detect match.mp4 --out boxes.csv --overlay look.mp4
      touchline calibrate camera --landmarks left.xml --out left.json
      touchline agent check --config node.toml
      touchline clock status --config node.toml --watch
      touchline record spec

    Exit codes: 0 done, 2 wrong usage, 3 configuration, 4 input data, 5 machine resource, 6 network or broker,
    7 hardware, 8 the run missed its bar, 130 interrupted.
    """


def main() -> None:
    """Entry point of the ``touchline`` program."""
    sys.exit(guarded(lambda: touchline.main(standalone_mode=False)))


if __name__ == "__main__":
    main()
