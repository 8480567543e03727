"""The picture: one timeline (CLK-3), one dot per person, numbers that stay, never old as live."""

from typing import Any

import numpy as np
import pytest

from aggregator.core.fuse import Dots, Fuser, dots_of, merge_close
from aggregator.core.live import Linker, liveness
from tests.aggregator.match import T0_NS, Match, rows

MS = 1_000_000
HALF_NS = 20 * MS


def shot(camera: int, frame: int, xy: Any, v: Any = None, offset_ns: int = 0) -> Dots:
    return dots_of(rows(camera, frame, T0_NS + frame * 40 * MS + offset_ns, xy, v))


def test_two_cameras_make_one_moment_and_one_dot_per_person():
    fuser = Fuser(wait_ns=80 * MS, gate_m=1.0)
    fuser.push(shot(0, 0, [(50, 30), (20, 20)]), HALF_NS, 0)
    assert len(fuser.poll(0)) == 1  # alone, it is complete
    fuser.push(shot(1, 0, [(50.6, 30.2)], offset_ns=50), HALF_NS, MS)
    assert fuser.late_frames == 1
    fuser.push(shot(0, 1, [(50, 30), (20, 20)], [(5, 0), (0, 0)]), HALF_NS, 40 * MS)
    assert fuser.poll(50 * MS) == []  # waits for camera 1
    fuser.push(shot(1, 1, [(50.6, 30.0)], [(5, 0)], offset_ns=-8 * MS), HALF_NS, 60 * MS)
    (moment,) = fuser.poll(60 * MS)
    assert sorted(moment.cameras) == [(0,), (0, 1)]
    fused = moment.xy_m[moment.cameras.index((0, 1))]
    assert fused == pytest.approx([(50 + 50.6 + 5 * 0.008) / 2, 30.0])


def test_the_wait_is_bounded_and_a_dead_camera_is_not_waited_for():
    fuser = Fuser(wait_ns=80 * MS)
    fuser.push(shot(0, 0, [(1, 1)]), HALF_NS, 0)
    fuser.push(shot(1, 0, [(90, 1)]), HALF_NS, 0)
    assert len(fuser.poll(0)) == 1
    fuser.push(shot(0, 1, [(1, 1)]), HALF_NS, 40 * MS)
    assert fuser.poll(119 * MS) == []
    assert len(fuser.poll(120 * MS)) == 1 and fuser.incomplete == 1
    fuser.push(shot(0, 60, [(1, 1)]), HALF_NS, 2400 * MS)
    assert len(fuser.poll(2400 * MS)) == 1


def test_moments_come_in_time_order_and_a_clock_that_stepped_back_recovers():
    fuser = Fuser(wait_ns=10 * MS)
    for frame in (2, 0, 1):
        fuser.push(shot(0, frame, [(1, 1)]), HALF_NS, 0)
    times = [m.ptp_ns for m in fuser.poll(0)]
    assert times == sorted(times) and len(times) == 3
    fuser.push(shot(0, 0, [(1, 1)]), HALF_NS, 100 * MS)
    assert fuser.poll(100 * MS) == []
    fuser.push(shot(0, 0, [(1, 1)]), HALF_NS, 2100 * MS)
    assert len(fuser.poll(2100 * MS)) == 1


def test_one_camera_never_merges_its_own_dots_and_kinds_stay_apart():
    close = dots_of(rows(0, 0, T0_NS, [(10, 10), (10.3, 10)]))
    assert len(merge_close(close, 1.0)) == 2
    ball = rows(1, 0, T0_NS, [(10, 10)])
    ball["flags"] = 1 << 4
    fuser = Fuser()
    fuser.push(dots_of(rows(0, 0, T0_NS, [(10, 10)])), HALF_NS, 0)
    fuser.push(dots_of(ball), HALF_NS, 0)
    (moment,) = fuser.poll(0)
    assert len(moment) == 2


def test_a_measured_dot_goes_before_a_predicted_one():
    guess = rows(1, 0, T0_NS, [(10.8, 10)])
    guess["flags"] |= np.uint8(1)
    fuser = Fuser()
    fuser.push(dots_of(rows(0, 0, T0_NS, [(10, 10)])), HALF_NS, 0)
    fuser.push(dots_of(guess), HALF_NS, 0)
    (moment,) = fuser.poll(0)
    assert moment.xy_m.tolist() == [[10, 10]] and not moment.predicted[0]


def test_numbers_stay_with_people_through_the_overlap():
    match, fuser, linker = Match(20, seed=2), Fuser(), Linker()
    holder: dict[int, set[int]] = {}
    for frame in range(250):
        t_s, ptp_ns = frame / 25, T0_NS + frame * 40 * MS
        for camera in (0, 1):
            fuser.push(dots_of(match.seen(camera, frame, t_s, ptp_ns)), HALF_NS, frame * 40 * MS)
        for moment in fuser.poll(frame * 40 * MS):
            linker.update(moment)
        truth, _ = match.state(t_s)
        for dot in linker.dots():
            distance = np.hypot(*(truth - (dot.x_m, dot.y_m)).T)
            if dot.seen_ptp_ns == ptp_ns:
                assert distance.min() < 0.6
                holder.setdefault(int(distance.argmin()), set()).add(dot.number)
        assert 19 <= len(linker.dots()) <= 22
    swaps = sum(len(numbers) - 1 for numbers in holder.values())
    assert swaps <= 6  # people who pass within centimetres may swap: it is a display, no identity


def test_a_dot_coasts_and_goes_and_a_named_one_keeps_its_number():
    linker = Linker()
    named = rows(0, 0, T0_NS, [(10, 10), (40, 40)], [(5, 0), (0, 0)])
    named["player"][1] = 7
    linker.update(dots_of(named))
    number = {d.player: d.number for d in linker.dots()}[bytes([7] * 16)]
    moved = rows(0, 10, T0_NS + 400 * MS, [(60, 60)])
    moved["player"][0] = 7
    linker.update(dots_of(moved))
    found = {d.number: d for d in linker.dots()}
    assert found[number].x_m == 60.0
    (coasting,) = [d for d in found.values() if d.number != number]
    assert coasting.at(linker.ptp_ns) == pytest.approx((12.0, 10.0))
    linker.update(dots_of(rows(0, 20, T0_NS + 800 * MS, [(60, 60)])))
    assert coasting.number not in {d.number for d in linker.dots()}


@pytest.mark.parametrize(
    ("quiet_s", "behind_s", "state"),
    [
        (None, None, "waiting"),
        (0.02, 0.06, "live"),
        (0.9, 1.0, "live"),
        (1.1, 1.2, "stale"),
        (0.02, 30.0, "behind"),
        (0.02, -30.0, "ahead"),
        (3.0, 40.0, "stale"),
    ],
)
def test_liveness(quiet_s, behind_s, state):
    assert liveness(quiet_s, behind_s, stale_s=1.0) == state
