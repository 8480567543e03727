"""The bound with software stamps: latencies that differ from one way to the other are seen by no exchange of PTP."""

from __future__ import annotations

import numpy as np
import pytest

from tests.agent.clock.software_path import LOOK_NS, SoftwarePath
from touchline.timeline import ClockState

MOST_LOOKS = 160  # 40 s


def until_locked(path: SoftwarePath) -> float:
    """Look until the core is locked to the present master; the time it took, s."""
    for looks in range(MOST_LOOKS):
        if path.core.grandmaster == path.grandmaster and path.core.state is ClockState.LOCKED:
            return looks * LOOK_NS * 1e-9
        path.run(1)
    return MOST_LOOKS * LOOK_NS * 1e-9


@pytest.mark.parametrize("level_ns", [0.0, 3_000.0, 12_000.0])
def test_the_truth_lies_within_the_bound_also_around_another_grandmaster(level_ns: float):
    """Each seed is the course of the test with a real ptp4l, and a silence of ten seconds after it."""
    errors, bounds = [], []
    for seed in range(12):
        path = SoftwarePath(seed, level_ns)
        assert until_locked(path) < 20.0, seed
        epoch = path.core.epoch
        path.run(6, silent=True)
        path.meet("gm-b")
        assert until_locked(path) < 20.0, seed
        assert path.core.epoch == epoch + 1, seed
        path.run(40)
        path.run(40, silent=True)
        path.run(40)
        errors += path.errors
        bounds += path.bounds
    assert np.mean(np.abs(errors) <= np.array(bounds)) >= 0.999


def test_a_quiet_path_has_a_small_bound():
    path = SoftwarePath(3, level_ns=0.0)
    until_locked(path)
    path.run(200)
    assert np.median(path.bounds[-1_000:]) < 10_000
