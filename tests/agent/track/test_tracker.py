"""What the tracker does with people: ids through occlusions, crossings, double boxes, odd rates and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from agent.track import Located, Tracker
from tests.agent.track.scenes import F64, located, nobody, straight
from touchline.config import TrackSection

RATE_HZ = 25.0


def walk(tracker: Tracker, path_m: F64, frames: range, rate_hz: float = RATE_HZ) -> set[int]:
    """Feed one person's path; ids given out on the way."""
    seen: set[int] = set()
    for frame in frames:
        seen |= set(tracker.update(frame / rate_hz, located(path_m[frame])).ids.tolist())
    return seen


def test_a_person_is_given_out_after_the_asked_detections_and_keeps_the_id() -> None:
    tracker = Tracker(TrackSection(confirm_hits=3))
    path = straight((20.0, 30.0), (3.0, 1.0), np.arange(100) / RATE_HZ)
    counts = [len(tracker.update(frame / RATE_HZ, located(path[frame]))) for frame in range(100)]
    assert counts == [0, 0] + [1] * 98
    assert tracker.counters.tracks_confirmed == 1
    tracks = tracker.update(4.0, located(straight((20.0, 30.0), (3.0, 1.0), [4.0])))
    np.testing.assert_allclose(tracks.v_mps[0], (3.0, 1.0), atol=0.1)
    np.testing.assert_allclose(tracks.xy_m[0], (32.0, 34.0), atol=0.05)
    assert tracks.height_m[0] == pytest.approx(1.8, abs=0.01)
    assert tracks.detection_index.tolist() == [0] and tracks.predicted.tolist() == [False]


@pytest.mark.parametrize("gap_s", [0.2, 0.6, 0.92])
def test_an_occlusion_keeps_the_id(gap_s: float) -> None:
    """POS-4: 0.6 s, and longer, in a straight line; unseen people are flagged and then no longer given out."""
    tracker = Tracker()
    path = straight((20.0, 30.0), (5.0, -1.0), np.arange(200) / RATE_HZ)
    assert walk(tracker, path, range(50)) == {1}
    hidden = round(gap_s * RATE_HZ)
    for frame in range(50, 50 + hidden):
        tracks = tracker.update(frame / RATE_HZ, nobody())
        unseen_s = (frame - 49) / RATE_HZ
        assert len(tracks) == (unseen_s <= tracker.config.publish_coast_s + 1e-9)
        if len(tracks):
            assert tracks.predicted.all() and tracks.detection_index.tolist() == [-1]
            np.testing.assert_allclose(tracks.xy_m[0], path[frame], atol=0.5)
    assert walk(tracker, path, range(50 + hidden, 100 + hidden)) == {1}
    assert tracker.counters.tracks_started == 1


def test_after_the_occlusion_limit_motion_is_linear() -> None:
    """POS-4: acceleration counts up to 0.6 s, velocity is constant after."""
    tracker = Tracker(TrackSection(publish_coast_s=1.4, lost_buffer_s=1.5))
    times = np.arange(60) / RATE_HZ
    path = np.column_stack((20.0 + 1.5 * times**2, np.full(60, 30.0)))
    walk(tracker, path, range(60))
    speeds = [tracker.update(frame / RATE_HZ, nobody()).v_mps[0, 0] for frame in range(60, 90)]
    assert speeds[10] > speeds[0] + 0.3
    assert speeds[17] == pytest.approx(speeds[29], abs=1e-9)


@pytest.mark.parametrize(("off_m", "same"), [(0.0, True), (0.8, True), (1.3, False)])
def test_gate_after_an_occlusion_is_the_asked_radius(off_m: float, same: bool) -> None:
    """POS-4: 0.9 m around the straight line, for a good measurement."""
    tracker = Tracker(TrackSection(confirm_hits=1, overlap_gate=1.0))
    path = straight((20.0, 30.0), (4.0, 0.0), np.arange(100) / RATE_HZ)
    walk(tracker, path, range(50))
    for frame in range(50, 70):
        tracker.update(frame / RATE_HZ, nobody())
    before = tracker.counters.tracks_started
    tracker.update(70 / RATE_HZ, located(path[70] + np.array([0.0, off_m]), sigma_m=0.02))
    assert (tracker.counters.tracks_started == before) is same


def test_a_lost_person_who_comes_back_outside_the_gate_gets_the_old_id_back() -> None:
    tracker = Tracker()
    path = straight((20.0, 30.0), (4.0, 0.0), np.arange(60) / RATE_HZ)
    walk(tracker, path, range(50))
    for frame in range(50, 68):
        tracker.update(frame / RATE_HZ, nobody())
    back = straight((30.9, 31.5), (2.0, 2.0), np.arange(100) / RATE_HZ)
    ids = set[int]()
    for frame in range(68, 100):
        ids |= set(tracker.update(frame / RATE_HZ, located(back[frame - 68])).ids.tolist())
    assert ids == {1}
    assert tracker.counters.tracks_rejoined == 1


def test_two_people_crossing_keep_their_ids() -> None:
    """Same kit, same size, paths cross with both hidden by each other for a while: motion tells them apart."""
    tracker = Tracker()
    times = np.arange(100) / RATE_HZ
    left, right = straight((20.0, 30.0), (4.0, 0.3), times), straight((36.0, 30.5), (-4.0, 0.0), times)
    for frame in range(100):
        pair = np.stack((left[frame], right[frame]))
        close = abs(left[frame, 0] - right[frame, 0]) < 0.6
        tracks = tracker.update(times[frame], located(pair[:1] if close else pair))
        if frame == 40:
            before = dict(zip(tracks.detection_index.tolist(), tracks.ids.tolist(), strict=True))
    after = dict(zip(tracks.detection_index.tolist(), tracks.ids.tolist(), strict=True))
    assert before == after and len(after) == 2


def test_crossing_in_the_picture_but_not_on_the_ground() -> None:
    """One passes 6 m behind the other and their boxes cover each other: the ground tells them apart."""
    tracker = Tracker()
    times = np.arange(150) / RATE_HZ
    near, far = straight((20.0, 30.0), (3.0, 0.0), times), straight((38.0, 29.2), (-3.0, 0.0), times)
    for frame in range(150):
        tracks = tracker.update(times[frame], located(np.stack((near[frame], far[frame]))))
        if frame == 10:
            before = tracks.ids.tolist()
    assert tracks.ids.tolist() == before and tracker.counters.tracks_started == 2
    np.testing.assert_allclose(tracks.xy_m, np.stack((near[-1], far[-1])), atol=0.2)


def test_double_boxes_and_body_parts_make_no_ghost() -> None:
    """POS-4: one person found twice every frame, whole and upper half, is one id."""
    tracker = Tracker()
    path = straight((20.0, 30.0), (2.0, 0.0), np.arange(80) / RATE_HZ)
    for frame in range(80):
        one = located(path[frame])
        boxes = np.repeat(one.boxes, 3, axis=0)
        boxes[1] += np.array([1, -1, 1, -1], dtype=np.float32)
        boxes[2, 3] -= 0.5 * (boxes[2, 3] - boxes[2, 1])
        xy = np.array([path[frame], path[frame] + (0.05, -0.05), path[frame] - (0.0, 3.0)])
        tracks = tracker.update(
            frame / RATE_HZ,
            Located(boxes, np.array([0.9, 0.8, 0.85], dtype=np.float32), np.zeros(3, dtype=np.int64), xy,
                    np.tile(np.eye(2) * 0.0025, (3, 1, 1)), np.array([1.8, 1.8, 0.95])),
        )  # fmt: skip
        assert len(tracks) <= 1
    assert tracks.ids.tolist() == [1]
    assert tracker.counters.duplicates_suppressed > 100


def test_passing_false_boxes_are_never_given_out() -> None:
    rng = np.random.default_rng(2)
    tracker = Tracker(TrackSection(confirm_hits=3))
    for frame in range(200):
        tracks = tracker.update(frame / RATE_HZ, located(rng.uniform(0, 100, (2, 2)), sigma_m=0.02))
        assert len(tracks) == 0


def test_low_scores_continue_a_track_and_never_start_one() -> None:
    tracker = Tracker()
    path = straight((20.0, 30.0), (2.0, 0.0), np.arange(100) / RATE_HZ)
    for frame in range(20):
        tracker.update(frame / RATE_HZ, located(np.stack((path[frame], (60.0, 10.0))), scores=[0.9, 0.3]))
    for frame in range(20, 100):
        tracks = tracker.update(frame / RATE_HZ, located(path[frame], scores=0.3))
        assert tracks.ids.tolist() == [1] and not tracks.predicted.any()
    assert tracker.counters.tracks_started == 1


def test_high_scores_choose_first() -> None:
    """Two-stage association: a nearer weak box does not take the track from a strong one inside the gate."""
    tracker = Tracker()
    for frame in range(10):
        tracker.update(frame / RATE_HZ, located([[20.0, 30.0]]))
    tracks = tracker.update(0.4, located([[20.0, 30.0], [20.1, 30.0]], scores=[0.3, 0.9]))
    assert tracks.detection_index.tolist() == [1]


def test_hidden_legs_do_not_pull_the_person_away() -> None:
    """A box whose lower part is covered projects metres too far: its overlap keeps the id, its feet count little."""
    tracker = Tracker()
    for frame in range(25):
        tracker.update(frame / RATE_HZ, located([[20.0, 30.0]], sigma_m=0.15))
    cut = located([[20.0, 28.0]], sigma_m=0.15)
    cut.boxes[0] = located([[20.0, 30.0]]).boxes[0] - np.array([0, 0, 0, 12], dtype=np.float32)
    tracks = tracker.update(1.0, cut)
    assert tracks.ids.tolist() == [1] and not tracks.predicted[0]
    assert abs(tracks.xy_m[0, 1] - 30.0) < 0.3


def test_a_ball_at_the_feet_never_takes_a_player() -> None:
    tracker = Tracker()
    for frame in range(20):
        player = located([[20.0, 30.0]])
        tracker.update(frame / RATE_HZ, player)
    ball = located([[20.05, 30.0]], width_m=0.22, height_m=0.22, classes=1)
    ball.boxes[0, 1] = ball.boxes[0, 3] - 5
    tracks = tracker.update(0.8, ball)
    assert tracks.predicted.tolist() == [True] and tracks.classes.tolist() == [0]


def test_a_class_that_flickers_keeps_the_id() -> None:
    tracker = Tracker()
    for frame in range(40):
        tracks = tracker.update(frame / RATE_HZ, located([[20.0, 30.0]], classes=frame % 2))
    assert tracks.ids.tolist() == [1] and tracks.classes.tolist() == [1]


@pytest.mark.parametrize("rate_hz", [5.0, 12.5, 25.0, 60.0, 240.0])
def test_any_rate_gives_one_id_and_the_right_motion(rate_hz: float) -> None:
    """Buffers are in seconds and the step is true: nothing depends on a frame rate (POS-3)."""
    tracker = Tracker()
    times = np.arange(int(4 * rate_hz)) / rate_hz
    path = straight((20.0, 30.0), (4.0, 1.0), times)
    assert walk(tracker, path, range(len(times)), rate_hz) == {1}
    tracks = tracker.update(4.0, located(straight((20.0, 30.0), (4.0, 1.0), [4.0])))
    np.testing.assert_allclose(tracks.v_mps[0], (4.0, 1.0), atol=0.15)
    hidden = np.arange(4.0 + 1 / rate_hz, 4.6, 1 / rate_hz)
    for time_s in hidden:
        assert len(tracker.update(float(time_s), nobody())) == 1
    late = 4.0 + tracker.config.lost_buffer_s + 1.5 / rate_hz
    while (time_s := time_s + 1 / rate_hz) < late:
        tracker.update(float(time_s), nobody())
    tracker.update(float(late), nobody())
    assert tracker.counters.tracks_ended == 1


def test_ptp_seconds_are_fine_enough() -> None:
    """Nanoseconds of this decade as float64 seconds: the step is off by a quarter of a microsecond."""
    tracker, start_ns = Tracker(), 1_795_000_000_123_456_789
    path = straight((20.0, 30.0), (6.0, 1.0), np.arange(480) / 240.0)
    for frame in range(480):
        tracks = tracker.update((start_ns + frame * 1_000_000_000 // 240) / 1e9, located(path[frame]))
    assert tracks.ids.tolist() == [1]
    np.testing.assert_allclose(tracks.v_mps[0], (6.0, 1.0), atol=0.1)


def test_uneven_steps() -> None:
    rng = np.random.default_rng(8)
    tracker = Tracker()
    times = np.cumsum(rng.uniform(0.004, 0.2, 150))
    path = straight((10.0, 30.0), (3.0, 0.5), times)
    ids = set[int]()
    for time_s, place in zip(times.tolist(), path, strict=True):
        tracks = tracker.update(time_s, located(place))
        ids |= set(tracks.ids.tolist())
    assert ids == {1}
    np.testing.assert_allclose(tracks.v_mps[0], (3.0, 0.5), atol=0.1)


def test_time_that_does_not_grow_is_refused_and_counted() -> None:
    tracker = Tracker()
    for frame in range(10):
        tracker.update(frame / RATE_HZ, located([[20.0, 30.0]]))
    for time_s in (9 / RATE_HZ, 0.1, float("nan"), float("inf"), -float("inf")):
        assert len(tracker.update(time_s, located([[20.0, 30.0]]))) == 0
    assert tracker.counters.frames_refused == 5
    assert tracker.update(0.4, located([[20.0, 30.0]])).ids.tolist() == [1]


@pytest.mark.parametrize("jump_s", [100.0, -100.0])
def test_a_gap_beyond_the_buffer_is_a_new_start_with_new_ids(jump_s: float) -> None:
    tracker = Tracker(TrackSection(confirm_hits=1))
    for frame in range(10):
        tracker.update(frame / RATE_HZ, located([[20.0, 30.0]]))
    tracks = tracker.update(jump_s, located([[20.0, 30.0]]))
    assert tracks.ids.tolist() == [2]
    assert tracker.counters.resets == 1


def test_bad_detections_are_dropped_counted_and_poison_nothing() -> None:
    tracker = Tracker()
    good = straight((20.0, 30.0), (2.0, 0.0), np.arange(50) / RATE_HZ)
    bad_places = np.tile([[40.0, 20.0]], (7, 1))
    for frame in range(50):
        found = located(np.vstack((good[frame], bad_places)))
        found.boxes[1, 0] = np.nan
        found.boxes[2, 2] = np.inf
        found.boxes[3] = found.boxes[3][[2, 1, 0, 3]]  # x1 > x2
        found.xy_m[4] = np.nan
        found.cov_m2[5] = np.eye(2) * 1e6
        found.scores[6] = np.nan
        found.cov_m2[7] = [[1.0, 5.0], [5.0, 1.0]]
        tracks = tracker.update(frame / RATE_HZ, found)
    assert tracks.ids.tolist() == [1] and tracks.detection_index.tolist() == [0]
    assert np.isfinite(tracks.motion_cov).all() and np.isfinite(tracks.xy_m).all()
    counters = tracker.counters
    assert counters.dropped_not_finite == 4 * 50
    assert counters.dropped_bad_box == 50
    assert counters.dropped_off_pitch == 2 * 50


def test_unknown_height_is_no_height() -> None:
    tracker = Tracker()
    for frame in range(30):
        tracks = tracker.update(frame / RATE_HZ, located([[20.0, 30.0]], height_m=np.nan))
    assert tracks.height_m[0] == pytest.approx(tracker.config.height_prior_m)
    for frame in range(30, 130):
        tracks = tracker.update(frame / RATE_HZ, located([[20.0, 30.0]], height_m=1.93))
    assert tracks.height_m[0] == pytest.approx(1.93, abs=0.02)


def test_capacity_is_a_limit_not_a_crash() -> None:
    tracker = Tracker(TrackSection(max_tracks=5, max_detections=8, confirm_hits=1))
    crowd = np.column_stack((np.arange(12) * 5.0, np.full(12, 20.0)))
    for frame in range(5):
        tracks = tracker.update(frame / RATE_HZ, located(crowd, scores=np.linspace(0.7, 0.95, 12)))
        assert len(tracks) == 5
    assert tracker.counters.dropped_surplus == 5 * (4 + 3)


def test_given_arrays_are_neither_changed_nor_kept() -> None:
    tracker = Tracker(TrackSection(confirm_hits=1))
    found = located([[20.0, 30.0], [40.0, 10.0]])
    copies = [np.copy(getattr(found, name)) for name in found.__dataclass_fields__]
    first = tracker.update(0.0, found)
    kept = first.xy_m.copy(), first.boxes.copy(), first.cov_m2.copy()
    tracker.update(0.04, located([[21.0, 30.0], [41.0, 10.0]]))
    for name, copy in zip(found.__dataclass_fields__, copies, strict=True):
        np.testing.assert_array_equal(getattr(found, name), copy)
    for now, then in zip((first.xy_m, first.boxes, first.cov_m2), kept, strict=True):
        np.testing.assert_array_equal(now, then)
