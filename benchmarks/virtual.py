"""The virtual node: seconds to boot until the agent is ready, to freeze, to come back.

    python -m benchmarks.virtual [--build]

The peer is the same node booted from nothing in the same run: what a test would wait for without a snapshot. With
``--build`` the image is built from nothing in an empty cache first (some minutes). Figures of an emulator: they say how
long work with it takes, nothing about an Orin.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.common import Row, report
from hil.virtual.image import Image, load_image
from hil.virtual.image.build import BuildRequest, build_image
from hil.virtual.passenger.seat import Passenger
from hil.virtual.site import Golden, VirtualSite
from touchline.timeline import monotonic_ns

READY_BAR_S: Final = 20.0
RESTORE_BAR_S: Final = 3.0
BUILD_BAR_S: Final = 360.0
_SEAT: Final = (Passenger("a"),)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 8 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python -m benchmarks.virtual --restores 5")
    parser.add_argument("--restores", type=int, default=5, help="how often the snapshot is restored")
    parser.add_argument("--build", action="store_true", help="build the image from nothing first")
    parser.add_argument("--json", type=Path, default=None, help="write the rows to this file")
    arguments = parser.parse_args(argv)
    rows = []
    with tempfile.TemporaryDirectory(prefix="tlv-") as name:
        folder = Path(name)
        if arguments.build:
            built_s, image = _build(folder / "cache")
            rows.append(_row("image built from nothing", built_s, None, "", BUILD_BAR_S))
        else:
            image = load_image()
        golden, guest_s, again_s = _boot(image, folder)
        restored = [_restore(golden, folder / f"r{number}") for number in range(arguments.restores)]
    answered_s = statistics.median(one[0] for one in restored)
    flowing_s = statistics.median(one[1] for one in restored)
    first_s = golden.ready_s["a"]
    cold = "boot from nothing to agent ready"
    rows += [
        _row("power-on to guest answers", guest_s, None, "", None),
        _row("first boot to agent ready, provisioned on the way", first_s, None, "", READY_BAR_S),
        _row("boot of a provisioned node to agent ready", again_s, first_s, cold, READY_BAR_S),
        _row("snapshot of the running node", golden.snapshot_s, None, "", None),
        _row("restore until a command is answered", answered_s, first_s, cold, RESTORE_BAR_S),
        _row("restore until new records are at the rack", flowing_s, first_s, cold, None),
    ]
    return 0 if report(rows, arguments.json) else 8


def _row(what: str, ours_s: float, peer_s: float | None, peer_name: str, bar_s: float | None) -> Row:
    ratio = None if peer_s is None else ours_s / peer_s
    bar = "" if bar_s is None else f"<= {bar_s:g} s"
    return Row(what, ours_s, peer_s, peer_name, "s", ratio, bar, None if bar_s is None else ours_s <= bar_s)


def _build(cache: Path) -> tuple[float, Image]:
    began_ns = monotonic_ns()
    image = build_image(BuildRequest(cache), lambda event: print(f"  {event.step} {event.state}", flush=True))
    return _since_s(began_ns), image


def _boot(image: Image, folder: Path) -> tuple[Golden, float, float]:
    """Boot and provision, shut down, boot again, freeze; seconds of the second boot to guest and to agent."""
    with VirtualSite(image, folder / "cold", _SEAT) as site:
        ready_s = site.boot()
        node = site.node("a")
        node.machine.shutdown()
        began_ns = monotonic_ns()
        node.boot()
        guest_s = _since_s(began_ns)
        node.await_agent()
        again_s = _since_s(began_ns)
        return site.freeze(folder / "golden", ready_s), guest_s, again_s


def _restore(golden: Golden, folder: Path) -> tuple[float, float]:
    """Seconds until a command is answered, and until the rack has a record, on a new network with a new rack."""
    with VirtualSite(golden.image, folder, golden.passengers) as site:
        site.serve(golden.identities)
        began_ns = monotonic_ns()
        node = site.node("a")
        node.restore(golden.snapshots["a"])
        node.run("true")
        answered_s = _since_s(began_ns)
        while not site.rack.records(node.name):
            node.machine.check()
        return answered_s, _since_s(began_ns)


def _since_s(began_ns: int) -> float:
    return (monotonic_ns() - began_ns) / 1e9


if __name__ == "__main__":
    sys.exit(main())
