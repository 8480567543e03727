"""Scoring records against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hil.venue.optics import site_camera
from hil.venue.players import Venue
from hil.venue.scoring import in_view, match, position_error
from touchline.record import RECORD

START_NS = 1_790_000_000_000_000_000


@pytest.fixture(scope="module")
def venue() -> Venue:
    return Venue(0, 20)


def true_records(venue: Venue, frames: int, camera: int = 1) -> NDArray[np.void]:
    """One record for everybody in the left camera's view, in each of ``frames`` exposures."""
    parts = []
    for frame in range(frames):
        state = venue.state_at(START_NS + frame * 40_000_000)
        seen = np.flatnonzero(in_view(site_camera("left"), state))
        part = np.zeros(len(seen), RECORD)
        part["camera"], part["frame"], part["ptp_ns"] = camera, frame, state.ptp_ns
        part["x_m"], part["y_m"] = state.xy_m[seen].T
        part["vx_mps"], part["vy_mps"] = state.v_mps[seen].T
        parts.append(part)
    return np.concatenate(parts)


def test_the_truth_itself_has_no_error(venue):
    score = position_error(true_records(venue, 5), venue, {1: site_camera("left")})
    assert score.rms_m == pytest.approx(0.0, abs=1e-9)
    assert score.velocity_rms_mps == pytest.approx(0.0, abs=1e-9)
    assert score.matched_share == score.found_share == 1.0
    assert score.as_dict() == {"rms": score.rms_m, "p95": score.p95_m}


def test_a_known_offset_is_measured_whatever_the_order(venue):
    records = true_records(venue, 20)
    records["x_m"] += 0.06
    records["y_m"] -= 0.08
    records["vx_mps"] += 0.5
    np.random.default_rng(0).shuffle(records)
    score = position_error(records, venue)
    assert score.rms_m == pytest.approx(0.10, abs=1e-6)
    assert score.p95_m == pytest.approx(0.10, abs=1e-6)
    assert score.velocity_rms_mps == pytest.approx(0.5, abs=1e-6)
    assert np.isnan(score.found_share)


def test_ghosts_and_misses_show_in_the_shares(venue):
    records = true_records(venue, 4)
    ghosts = records[:10].copy()
    ghosts["x_m"] = 500.0
    broken = records[:1].copy()
    broken["x_m"] = np.nan
    kept = records[len(records) // 2 :]
    score = position_error(np.concatenate([kept, ghosts, broken]), venue, {1: site_camera("left")})
    assert score.matched == len(kept)
    assert score.matched_share == pytest.approx(len(kept) / (len(kept) + 11))
    assert score.found_share < 1.0
    assert score.rms_m == pytest.approx(0.0, abs=1e-9)


def test_two_records_never_share_a_person():
    found = np.array([[10.0, 10.0], [10.1, 10.0]])
    rows, people = match(found, np.array([[10.0, 10.1], [40.0, 40.0]]), 2.0)
    assert rows.tolist() == [0]
    assert people.tolist() == [0]


def test_cameras_are_matched_apart(venue):
    both = np.concatenate([true_records(venue, 3, camera) for camera in (1, 2)])
    assert position_error(both, venue).matched_share == 1.0


def test_no_records_give_no_figures(venue):
    score = position_error(np.empty(0, RECORD), venue)
    assert score.records == 0
    assert np.isnan([score.rms_m, score.p95_m, score.matched_share, score.found_share]).all()
