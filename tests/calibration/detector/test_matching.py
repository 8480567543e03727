"""The scoring, against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.detector.matching import match_frame, score_frames, summary

PERSON = np.array([[0, 0, 10, 20]], np.float32)


def moved(x_px: float) -> np.ndarray:
    return PERSON + np.array([x_px, 0, x_px, 0], np.float32)


def test_the_better_scored_box_takes_the_person_and_the_second_is_wrong() -> None:
    boxes = np.concatenate([moved(1), moved(0)])
    assert match_frame(boxes, np.array([0.9, 0.8]), PERSON, 0.5).tolist() == [True, False]
    assert match_frame(boxes, np.array([0.8, 0.9]), PERSON, 0.5).tolist() == [False, True]


def test_each_box_takes_the_free_person_it_overlaps_most() -> None:
    people = np.concatenate([moved(0), moved(4)])
    boxes = np.concatenate([moved(3), moved(1)])
    assert match_frame(boxes, np.array([0.9, 0.8]), people, 0.5).tolist() == [True, True]


def test_half_an_overlap_counts_and_less_does_not() -> None:
    assert match_frame(moved(10 / 3 - 0.01), np.array([0.9]), PERSON, 0.5).tolist() == [True]
    assert match_frame(moved(10 / 3 + 0.02), np.array([0.9]), PERSON, 0.5).tolist() == [False]


def test_curve_precision_recall_and_area_of_a_case_by_hand() -> None:
    found = [
        (np.concatenate([moved(0), moved(100)]), np.array([0.9, 0.6])),  # right, wrong
        (moved(0), np.array([0.5])),  # right
        (np.zeros((0, 4)), np.zeros(0)),  # one person missed
    ]
    curve = score_frames(found, [PERSON, PERSON, PERSON])
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(curve.recall, [1 / 3, 1 / 3, 2 / 3])
    assert curve.average_precision() == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    np.testing.assert_allclose(curve.recall_at_precision(0.85), (1 / 3, 0.9))
    np.testing.assert_allclose(curve.recall_at_precision(0.6), (2 / 3, 0.5))


def test_finding_nobody_is_recall_zero_and_not_a_crash() -> None:
    nothing = (np.zeros((0, 4)), np.zeros(0))
    result = summary(score_frames([nothing], [PERSON]))
    assert (result["recall_at_precision"], result["ap50"], result["people"]) == (0.0, 0.0, 1)


def test_frames_must_pair_up() -> None:
    with pytest.raises(ValueError, match="labelled"):
        score_frames([], [PERSON])
