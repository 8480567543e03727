"""Nodes that are not aligned: in the picture, never merged with others, and never in the way of those that are."""

from typing import Any

import numpy as np
import pytest

from aggregator.core.fuse import Dots, Fuser, dots_of, join, merge_close
from aggregator.core.live import Linker, beside
from tests.aggregator.match import T0_NS, rows

MS = 1_000_000
S = 1_000_000_000
STEP_NS = 40 * MS
HALF_NS = 20 * MS


def shot(camera: int, ptp_ns: int, xy: Any, timeline: str = "") -> Dots:
    return dots_of(rows(camera, 0, ptp_ns, xy), timeline)


def play(fuser: Fuser, frames: range, *nodes: tuple[int, str, int]) -> list[Dots]:
    """One frame of each (camera, timeline, clock error in ns) at every step, as they would come; the moments given."""
    given = []
    for frame in frames:
        now_ns = frame * STEP_NS
        for camera, timeline, error_ns in nodes:
            place = [(10.0 + 40 * camera, 10.0)]
            fuser.push(shot(camera, T0_NS + now_ns + error_ns, place, timeline), HALF_NS, now_ns)
        given += fuser.poll(now_ns)
    return given


@pytest.mark.parametrize(
    ("one", "other", "people"),
    [
        ("", "", 1),  # aligned
        ("", "right-a", 2),  # one is not
        ("left-a", "right-a", 2),  # each on its own
        ("left-a", "left-a", 1),  # two cameras of one node share its clock, whatever that is worth
    ],
)
def test_only_dots_of_one_timeline_become_one_person(one, other, people):
    fuser = Fuser()
    fuser.push(shot(0, T0_NS, [(50, 30)], one), HALF_NS, 0)
    fuser.push(shot(1, T0_NS, [(50.2, 30)], other), HALF_NS, 0)
    (moment,) = fuser.poll(0)
    assert len(moment) == people and len(moment.timelines) == people
    assert fuser.mixed_moments == (one != other)


def test_a_third_camera_still_merges_with_the_aligned_one():
    parts = [shot(0, T0_NS, [(50, 30)]), shot(1, T0_NS, [(50.1, 30)], "right-a"), shot(2, T0_NS, [(50.3, 30)])]
    fused = merge_close(join(parts, T0_NS), 1.0)
    assert sorted(zip(fused.cameras, fused.timelines, strict=True)) == [((0, 2), ""), ((1,), "right-a")]


@pytest.mark.parametrize("error_ns", [0, 5 * MS, -5 * MS, 30 * MS, -70 * MS])
def test_a_node_whose_clock_is_a_little_off_stays_in_the_picture(error_ns):
    fuser = Fuser(wait_ns=80 * MS)
    given = play(fuser, range(100), (0, "", 0), (1, "right-a", error_ns))
    seen = {(camera, timeline) for m in given for (camera,), timeline in zip(m.cameras, m.timelines, strict=True)}
    assert seen == {(0, ""), (1, "right-a")}
    shown = [m for m in given if (1,) in m.cameras]
    assert len(shown) >= 90 and fuser.left_out_frames == 0 and fuser.left_out(100 * STEP_NS) == []
    assert [m.ptp_ns for m in given] == sorted(m.ptp_ns for m in given)


@pytest.mark.parametrize("error_ns", [37 * S, -37 * S, 10**18, 200 * MS])
def test_a_node_whose_clock_is_far_off_costs_the_aligned_ones_nothing(error_ns):
    """37 s is the classic: UTC taken for TAI."""
    fuser = Fuser(wait_ns=80 * MS)
    alone = play(Fuser(wait_ns=80 * MS), range(100), (0, "", 0))
    given = play(fuser, range(100), (0, "", 0), (1, "right-a", error_ns))
    assert [m.ptp_ns for m in given] == [m.ptp_ns for m in alone] and len(given) == 100
    assert fuser.late_frames == fuser.incomplete == 0 and fuser.left_out_frames == 100
    assert fuser.left_out(100 * STEP_NS) == ["right-a"]
    assert fuser.left_out(200 * STEP_NS) == []  # silent: nothing is left out now


def test_aligned_nodes_take_the_timeline_back_from_one_far_ahead():
    fuser, linker = Fuser(wait_ns=80 * MS), Linker()
    for moment in play(fuser, range(50), (1, "right-a", 37 * S)):
        linker.update(moment)
    assert {d.timeline for d in linker.dots()} == {"right-a"} and beside(linker.dots()) == []
    for moment in play(fuser, range(50, 100), (0, "", 0), (1, "right-a", 37 * S)):
        linker.update(moment)
    assert {d.timeline for d in linker.dots()} == {""} and linker.ptp_ns == T0_NS + 99 * STEP_NS


def test_without_aligned_nodes_every_clock_counts_alike():
    """One machine, several nodes on its system clock: as ever, but for the merging."""
    fuser = Fuser(wait_ns=80 * MS)
    given = play(fuser, range(100), (0, "left-a", 0), (1, "right-a", 50_000))
    assert len(given) == 100 and all(len(m) == 2 for m in given)
    assert fuser.left_out_frames == fuser.late_frames == 0 and fuser.mixed_moments == 100


def test_a_node_that_becomes_aligned_is_merged_from_then_on():
    fuser, linker = Fuser(), Linker()
    for frame, timeline in ((0, "right-a"), (1, "")):
        ptp_ns, now_ns = T0_NS + frame * S, frame * S
        fuser.push(shot(0, ptp_ns, [(50, 30)]), HALF_NS, now_ns)
        fuser.push(shot(1, ptp_ns, [(50.2, 30)], timeline), HALF_NS, now_ns)
        (moment,) = fuser.poll(now_ns)
        linker.update(moment)
        assert beside(linker.dots()) == ([timeline] if timeline else [])
    (dot,) = linker.dots()
    assert dot.cameras == (0, 1) and dot.timeline == ""


def test_a_slow_aligned_camera_is_late_not_left_out():
    fuser = Fuser(wait_ns=80 * MS)
    play(fuser, range(10), (0, "", 0))
    fuser.push(shot(1, T0_NS, np.array([(1.0, 1.0)])), HALF_NS, 10 * STEP_NS)
    assert fuser.late_frames == 1 and fuser.left_out_frames == 0
