"""The clock mapping on a synthetic Orin: true error and bound of every stamp, beside "last pair, rate 1.0".

    python -m benchmarks.clock [--halves 3] [--seed 0] [--json FILE]

Each half of a match is 3,000 s with 120 stamps a second; the hardware clock is reset, the grandmaster changes, pairs
stop for 15 s and the time steps. Pairs at 1 Hz, ticks of 32 ns and 3.2 ns, 20 ns of jitter, +-20 ppm, wander
(hil/clock). The peer sees the same pairs and is judged on the same stamps. Figures of a simulation: nothing ran on an
Orin.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from agent.clock.core import ClockCore
from benchmarks.common import Row, report
from hil.clock.orin import SyntheticOrin
from hil.clock.trial import HALF_S, POLICY, TROUBLES, Trial, run_trial
from touchline.timeline import ClockState, Timebase, monotonic_ns

COVERED_BAR: Final = 0.999
BOUND_BAR_NS: Final = 150.0
ERROR_BAR_NS: Final = 60.0
_PEER: Final = "last pair, rate 1.0"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trial and print; 8 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python -m benchmarks.clock --halves 10")
    parser.add_argument("--halves", type=int, default=3, help="halves of a match; three are 1.08 million stamps")
    parser.add_argument("--seed", type=int, default=0, help="of the first half; each has its own")
    parser.add_argument("--json", type=Path, default=None, help="write the rows to this file")
    arguments = parser.parse_args(argv)
    trial = Trial()
    for number in range(arguments.halves):
        run_trial(SyntheticOrin(arguments.seed + number, HALF_S, troubles=TROUBLES), HALF_S, trial)
        print(f"half {number + 1} of {arguments.halves}: {len(trial.column('errors')):,} stamps", file=sys.stderr)
    return 0 if report(_rows(trial), arguments.json) else 8


def _rows(trial: Trial) -> list[Row]:
    locked = ClockState.LOCKED
    rows = [
        _share("stamps within their bound, all states", trial.covered()),
        *(_share(f"stamps within their bound, {state.value}", trial.covered(state)) for state in ClockState),
        _ns("bound while locked, p50", np.percentile(trial.column("bounds", locked), 50), None),
        _ns("bound while locked, p99", np.percentile(trial.column("bounds", locked), 99), BOUND_BAR_NS),
    ]
    errors, peers = (np.abs(trial.column(name, locked)) for name in ("errors", "peers"))
    for percent, bar in ((50, None), (99, ERROR_BAR_NS), (99.9, None), (100, None)):
        name = "max" if percent == 100 else f"p{percent:g}"
        ours, peer = float(np.percentile(errors, percent)), float(np.percentile(peers, percent))
        holds = None if bar is None else ours <= bar
        text = "-" if bar is None else f"<= {bar:g}"
        rows.append(Row(f"true error while locked, {name}", ours, peer, _PEER, "ns", peer / ours, text, holds))
    rows.append(_pair_cost())
    return rows


def _share(what: str, covered: float) -> Row:
    return Row(what, covered, None, "", "share", None, f">= {COVERED_BAR:g}", covered >= COVERED_BAR)


def _ns(what: str, value: float, bar: float | None) -> Row:
    return Row(what, float(value), None, "", "ns", None, "-" if bar is None else f"<= {bar:g}", _holds(value, bar))


def _holds(value: float, bar: float | None) -> bool | None:
    return None if bar is None else bool(value <= bar)


def _pair_cost() -> Row:
    """What one pair costs the clock process, ms; it comes once a second."""
    orin, core, took_ms = SyntheticOrin(0, 200), ClockCore(POLICY), []
    for second in range(200):
        view, pair = orin.servo(second + 0.1), orin.pair(second + 0.1)
        assert pair is not None
        began_ns = monotonic_ns()
        core.servo(view)
        core.sample({Timebase.TSC: pair}, view)
        took_ms.append((monotonic_ns() - began_ns) / 1e6)
    return Row("one pair taken in, median", statistics.median(took_ms), None, "", "ms", None, "-", None)


if __name__ == "__main__":
    sys.exit(main())
