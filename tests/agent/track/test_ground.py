"""From boxes to metres with a real camera model (POS-2), and the settings' limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from agent.track import Tracker, locate
from benchmarks.tracker_sequences import play, simulated_camera
from touchline.config import TrackSection


@dataclass(frozen=True)
class Found:
    """What a detector returns."""

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]


def found(xy_m: npt.NDArray[np.float64], tall_m: float = 1.8) -> Found:
    """Exact boxes of people seen by the simulated camera."""
    camera = simulated_camera()
    feet = camera.pixels_from_pitch(xy_m)
    heads = camera.pixels_from_pitch(np.column_stack((xy_m, np.full(len(xy_m), tall_m))))
    half = 0.2 * (feet[:, 1] - heads[:, 1])
    boxes = np.column_stack((feet[:, 0] - half, heads[:, 1], feet[:, 0] + half, feet[:, 1]))
    count = len(xy_m)
    return Found(boxes.astype(np.float32), np.full(count, 0.9, np.float32), np.zeros(count, np.int64))


def test_feet_and_heights_come_back_in_metres() -> None:
    places = np.array([[40.0, 5.0], [52.5, 34.0], [60.0, 62.0]])
    people = locate(found(places), simulated_camera())
    np.testing.assert_allclose(people.xy_m, places, atol=0.01)
    np.testing.assert_allclose(people.height_m, 1.8, atol=0.03)


def test_noise_is_deep_and_large_at_the_far_touchline() -> None:
    people = locate(found(np.array([[52.5, 2.0], [52.5, 60.0]])), simulated_camera(), sigma_px=1.0, sigma_share=0.0)
    far, near = (np.sqrt(np.linalg.eigvalsh(cov)) for cov in people.cov_m2)
    assert far[1] > 4.0 * far[0] and far[1] > 6.0 * near[1]
    assert people.cov_m2[0, 1, 1] > 16.0 * people.cov_m2[0, 0, 0]  # depth is y here


def test_error_grows_with_the_box() -> None:
    place = np.array([[52.5, 60.0]])
    plain = locate(found(place), simulated_camera(), sigma_px=1.0, sigma_share=0.0).cov_m2[0, 1, 1]
    tall = (found(place).boxes[0, 3] - found(place).boxes[0, 1]).item()
    wide = locate(found(place), simulated_camera(), sigma_px=1.0, sigma_share=0.05).cov_m2[0, 1, 1]
    assert wide / plain == pytest.approx(1.0 + (0.05 * tall) ** 2, rel=1e-3)


def test_horizon_and_nonsense_are_dropped_not_raised() -> None:
    people = found(np.array([[52.5, 34.0], [52.5, 34.0], [52.5, 34.0]]))
    people.boxes[1] = (600.0, 1.0, 620.0, 20.0)  # in the sky
    people.boxes[2, 3] = np.nan
    tracker = Tracker(TrackSection(confirm_hits=1))
    assert tracker.update(0.0, locate(people, simulated_camera())).detection_index.tolist() == [0]


def test_nobody_is_nobody() -> None:
    nothing = Found(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    assert len(Tracker().update(0.0, locate(nothing, simulated_camera()))) == 0


def test_positions_of_a_simulated_match_are_within_their_covariance() -> None:
    """A whole scene through camera, filter and back: ids stay, errors fit the stated covariance."""
    rng = np.random.default_rng(0)
    path = play(rng, 12, 150)
    camera, tracker = simulated_camera(), Tracker()
    squared = []
    for frame in range(150):
        people = found(path[frame])
        noise = np.hypot(1.0, 0.02 * (people.boxes[:, 3] - people.boxes[:, 1]))
        people.boxes[:, 3] += (rng.normal(size=12) * noise).astype(np.float32)
        tracks = tracker.update(frame / 25.0, locate(people, camera))
        if frame > 50:
            kept = ~tracks.predicted
            truth = path[frame][tracks.detection_index[kept]]
            error = tracks.xy_m[kept] - truth
            squared += np.einsum("ni,nij,nj->n", error, np.linalg.inv(tracks.cov_m2[kept]), error).tolist()
    assert len(tracks) == 12 and tracker.counters.tracks_confirmed <= 13
    assert np.median(squared) < 3.0  # chi-square of two degrees has its median at 1.4; the players brake harder


def test_real_boxes_are_followed(stadium: object) -> None:
    """The stadium's own boxes and landmarks: people on the pitch, plausible heights and speeds."""
    from pathlib import Path

    from benchmarks.tracker_sequences import left_camera
    from benchmarks.tracker_truth import read_boxes

    folder = Path(str(stadium))
    camera, tracker = left_camera(folder), Tracker()
    heights, speeds, shown = [], [], []
    for frame, boxes in enumerate(read_boxes(folder / "left_boxes.csv")):
        count = len(boxes)
        people = Found(boxes.astype(np.float32), np.full(count, 0.9, np.float32), np.zeros(count, np.int64))
        tracks = tracker.update(frame / 25.0, locate(people, camera))
        if frame > 25:
            shown.append(len(tracks))
            heights += tracks.height_m.tolist()
            speeds += np.linalg.norm(tracks.v_mps, axis=1).tolist()
    assert np.mean(shown) > 13
    assert 1.5 < np.median(heights) < 1.9
    assert np.percentile(speeds, 95) < 8.0


@pytest.mark.parametrize("name", sorted(TrackSection.model_fields))
def test_settings_are_bounded(name: str) -> None:
    for value in (-1.0, 1e9, float("nan"), True, "1"):
        with pytest.raises(ValidationError, match=name):
            TrackSection(**{name: value})  # type: ignore[arg-type]


def test_settings_agree_with_each_other() -> None:
    with pytest.raises(ValidationError, match="low_score"):
        TrackSection(low_score=0.7, high_score=0.6, spawn_score=0.8)
    with pytest.raises(ValidationError, match="spawn_score"):
        TrackSection(low_score=0.3, spawn_score=0.2)
    with pytest.raises(ValidationError, match="confirm_hits"):
        TrackSection(confirm_hits=2.5)  # type: ignore[arg-type]
