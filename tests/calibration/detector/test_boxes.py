"""Letterbox, decoding, overlap and suppression, against hand-made cases and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.detector.boxes import (
    PAD_GREY,
    VOTE_IOU,
    decode_yolov8,
    iou_matrix,
    letterbox,
    nms,
    plan_letterbox,
    suppress,
)
from touchline.errors import InputError


def test_letterbox_of_the_working_size_only_adds_eight_rows_above_and_below() -> None:
    plan = plan_letterbox((1280, 720), (1280, 736))
    assert (plan.scale, plan.pad_x_px, plan.pad_y_px) == (1.0, 0.0, 8.0)
    image = np.full((720, 1280, 3), 7, np.uint8)
    placed, _ = letterbox(image, (1280, 736))
    assert (placed[8:728] == 7).all()
    assert (placed[:8] == PAD_GREY).all()
    assert (placed[728:] == PAD_GREY).all()


@given(st.integers(2, 4000), st.integers(2, 4000), st.integers(32, 2000), st.integers(32, 2000))
def test_letterbox_keeps_every_source_pixel_inside_and_is_undone(w: int, h: int, in_w: int, in_h: int) -> None:
    plan = plan_letterbox((w, h), (in_w, in_h))
    source = np.array([[0.0, 0.0, float(w), float(h)]])
    placed = source * plan.scale + [plan.pad_x_px, plan.pad_y_px] * 2
    assert placed.min() >= -1e-6
    assert placed[0, 2] <= in_w + 1
    assert placed[0, 3] <= in_h + 1
    np.testing.assert_allclose(plan.to_source(placed), source, rtol=1e-5, atol=1e-3 / plan.scale)


def test_boxes_outside_the_picture_are_clipped_to_it() -> None:
    plan = plan_letterbox((640, 360), (1280, 736))
    back = plan.to_source(np.array([[-50.0, 0.0, 1400.0, 900.0]]))
    np.testing.assert_array_equal(back, [[0, 0, 640, 360]])


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="0x720"):
        plan_letterbox((0, 720), (1280, 736))


def test_overlap_of_known_boxes() -> None:
    a = np.array([[0, 0, 10, 10], [0, 0, 0, 0]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    np.testing.assert_allclose(iou_matrix(a, b), np.array([[1.0, 1 / 3, 0.0], [0.0, 0.0, 0.0]]), atol=1e-6)
    assert iou_matrix(np.zeros((0, 4)), b).shape == (0, 3)


def test_suppression_is_greedy_and_aware_of_the_class() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [2, 0, 12, 10], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    one = nms(boxes, scores, np.zeros(4, int), 0.75)
    assert one.tolist() == [0, 2]  # box 1 falls to box 0, so it cannot suppress box 2
    two = nms(boxes, scores, np.array([0, 0, 0, 1]), 0.75)
    assert two.tolist() == [0, 2, 3]
    assert nms(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), 0.5).size == 0


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_suppression_leaves_no_pair_above_the_threshold_and_loses_none_below(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 30, (count, 2))], axis=1)
    scores, classes = rng.random(count), rng.integers(0, 2, count)
    kept = nms(boxes, scores, classes, 0.5)
    clash = (iou_matrix(boxes, boxes) > 0.5) & (classes[:, None] == classes[None, :])
    assert not np.triu(clash[np.ix_(kept, kept)], 1).any()
    for gone in set(range(count)) - set(kept.tolist()):
        assert any(clash[gone, k] and scores[k] >= scores[gone] for k in kept)


def test_decoding_gives_corners_scores_and_the_best_class() -> None:
    output = np.zeros((1, 6, 3), np.float32)
    output[0, :4, 1] = [100, 50, 20, 40]
    output[0, 4:, 1] = [0.2, 0.9]
    found = decode_yolov8(output, 0.5)
    np.testing.assert_allclose(found.boxes, [[90, 30, 110, 70]])
    np.testing.assert_allclose(found.scores, [0.9])
    assert found.classes.tolist() == [1]
    assert found.non_finite == 0


@pytest.mark.parametrize("row", [0, 2, 4])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_candidates_that_are_not_finite_are_dropped_and_counted(row: int, value: float) -> None:
    output = np.tile(np.array([50, 50, 10, 20, 0.8], np.float32)[None, :, None], (1, 1, 4))
    output[0, row, 2] = value
    found = decode_yolov8(output, 0.5)
    assert len(found.boxes) == 3
    assert found.non_finite == 1
    assert np.isfinite(found.boxes).all()


def test_a_broken_model_cannot_flood_the_suppression() -> None:
    output = np.ones((1, 5, 5000), np.float32)
    output[0, 4] = np.linspace(0.5, 1, 5000)
    found = decode_yolov8(output, 0.1, max_candidates=100)
    assert len(found.boxes) == 100
    assert found.scores.min() > 0.98
    assert found.non_finite == 0


@pytest.mark.parametrize("shape", [(1, 4, 10), (2, 5, 10), (5,), (1, 1, 5, 10)])
def test_another_layout_is_refused_with_the_fix(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="YOLOv8"):
        decode_yolov8(np.zeros(shape, np.float32), 0.5)


@given(st.integers(0, 30), st.integers(0, 10**6))
def test_voting_keeps_the_choice_of_suppression_and_stays_among_the_voters(count: int, seed: int):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 30, (count, 2))], axis=1).astype(np.float32)
    scores, classes = rng.uniform(0, 1, count).astype(np.float32), rng.integers(0, 2, count)
    kept, voted = suppress(boxes, scores, classes, 0.41)
    assert kept.tolist() == nms(boxes, scores, classes, 0.41).tolist()
    overlap = iou_matrix(boxes[kept], boxes)
    for row, index in enumerate(kept):
        voters = boxes[(overlap[row] >= VOTE_IOU) & (classes == classes[index])]
        voters = np.concatenate([voters, boxes[index][None]])
        assert (voted[row] >= voters.min(axis=0) - 1e-3).all()
        assert (voted[row] <= voters.max(axis=0) + 1e-3).all()
