"""A trial of the clock's core on a synthetic Orin: every stamp's true error beside its bound, and a simpler peer's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.clock.core import ClockCore, ClockEvent, ClockPolicy
from agent.clock.mapping import Mapping, Pair
from hil.clock.orin import EPOCH_NS, TSC_TICK_NS, SyntheticOrin, Trouble
from touchline.timeline import ClockState, Timebase

POLICY: Final = ClockPolicy(limit_ns=1_000, servo_ns=500.0, wander_ppb_per_s=10.0)
"""What touchline.config.clock has as defaults for hardware stamps."""

HALF_S: Final = 3_000  # of a match, with the players coming in and added time
TROUBLES: Final = (
    Trouble(700.0, phc_ns=1.5e9),
    Trouble(1_400.0, time_ns=4e5, grandmaster="gm-b"),
    Trouble(2_000.0, silent_s=15.0),
    Trouble(2_500.0, time_ns=-2_000.0),
)
"""Of one half: the hardware clock is reset, the grandmaster changes, pairs stop, the time steps."""

RATE_HZ: Final = 120.0
_LATENCY_S: Final = 0.02  # from exposure to stamp: the mapping in use is that of the stamping
_STATES: Final = {state: number for number, state in enumerate(ClockState)}


@dataclass
class Trial:
    """Columns of the same length, one row a stamp: state number, error and bound in ns, and the peer's error."""

    states: list[NDArray[np.int8]] = field(default_factory=list)
    errors: list[NDArray[np.float64]] = field(default_factory=list)
    bounds: list[NDArray[np.float64]] = field(default_factory=list)
    peers: list[NDArray[np.float64]] = field(default_factory=list)
    unmapped: int = 0
    events: list[tuple[float, ClockEvent]] = field(default_factory=list)
    epochs: dict[int, float] = field(default_factory=dict)  # epoch -> its timeline's distance to the first, ns

    def column(self, name: str, state: ClockState | None = None) -> NDArray[np.float64]:
        """A column, of all stamps or of those in a state."""
        values = np.concatenate(getattr(self, name))
        return values if state is None else values[np.concatenate(self.states) == _STATES[state]]

    def covered(self, state: ClockState | None = None) -> float:
        """Share of stamps whose true error lies within the bound."""
        return float(np.mean(np.abs(self.column("errors", state)) <= self.column("bounds", state)))


def run_trial(orin: SyntheticOrin, seconds: int, trial: Trial, policy: ClockPolicy = POLICY) -> Trial:
    """Stamp ``seconds`` at 120/s; the exposures lie evenly, pairs and servo come as the synthetic Orin gives them."""
    core, last, unknown = ClockCore(policy), None, trial.unmapped
    epochs: dict[int, float] = {}
    for second in range(seconds):
        at_s = second + 0.137
        view, pair = orin.servo(at_s), orin.pair(at_s)
        core.servo(view)
        if pair is not None:
            last = pair
            core.sample({Timebase.TSC: pair}, view)
        mapping = core.mappings.get(Timebase.TSC)
        exposed_s = at_s + _LATENCY_S + np.arange(RATE_HZ) / RATE_HZ
        base_ns = orin.stamp_ns(exposed_s)
        now = None if mapping is None else mapping.at(int(base_ns[0]))
        trial.events += [(at_s, event) for event in core.look(now)]
        if mapping is None or last is None:
            unknown += len(base_ns)
            continue
        epochs.setdefault(mapping.epoch, orin.moved_ns(at_s))
        _stamp(trial, mapping, last, base_ns, exposed_s * 1e9 + epochs[mapping.epoch])
    trial.unmapped = unknown
    trial.epochs = epochs
    return trial


def _stamp(
    trial: Trial, mapping: Mapping, last: Pair, base_ns: NDArray[np.int64], truth_ns: NDArray[np.float64]
) -> None:
    stamps = [mapping.at(int(base)) for base in base_ns]
    trial.states.append(np.array([_STATES[stamp.state] for stamp in stamps], np.int8))
    trial.bounds.append(np.array([stamp.bound_ns + TSC_TICK_NS / 2 for stamp in stamps]))
    trial.errors.append(np.array([stamp.ptp_ns - EPOCH_NS for stamp in stamps]) - truth_ns)
    trial.peers.append((last.ptp_ns - EPOCH_NS) + (base_ns - last.base_ns) - truth_ns)
