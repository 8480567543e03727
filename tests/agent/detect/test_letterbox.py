"""The letterbox: exact pixels, and boxes that come back to where they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.detect.letterbox import Letterbox
from calibration.detector.boxes import letterbox

sizes = st.tuples(st.integers(8, 700), st.integers(8, 700))


def test_720_lines_get_eight_grey_rows_above_and_below():
    image = np.random.default_rng(1).integers(0, 256, (720, 1280, 3), np.uint8)
    tensor = Letterbox((1280, 720), (1280, 736)).apply(image)
    assert tensor.shape == (1, 3, 736, 1280) and tensor.dtype == np.float32 and tensor.flags.c_contiguous
    assert np.allclose(tensor[0, :, :8], 114 / 255) and np.allclose(tensor[0, :, 728:], 114 / 255)
    assert np.allclose(tensor[0, :, 8:728], image.transpose(2, 0, 1) / 255, atol=1e-6)


def test_the_tensor_is_reused_and_the_image_may_be_read_only():
    box = Letterbox((64, 32), (64, 64))
    image = np.full((32, 64, 3), 9, np.uint8)
    image.setflags(write=False)
    first = box.apply(image)
    assert box.apply(image) is first


def test_a_view_into_a_larger_image_is_taken_as_it_is():
    frame = np.random.default_rng(2).integers(0, 256, (200, 300, 3), np.uint8)
    view = frame[50:114, 100:196]
    tensor = Letterbox((96, 64), (96, 64)).apply(view)
    assert np.allclose(tensor[0], view.transpose(2, 0, 1) / 255, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(sizes, st.tuples(st.integers(1, 10), st.integers(1, 10)))
def test_it_sees_what_training_saw(source, cells):
    input_size = (cells[0] * 32, cells[1] * 32)
    image = np.random.default_rng(3).integers(0, 256, (source[1], source[0], 3), np.uint8)
    tensor = Letterbox(source, input_size).apply(image)
    trained, _ = letterbox(image, input_size)
    assert np.allclose(tensor[0], trained.transpose(2, 0, 1) / 255, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(sizes, sizes, st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5))
def test_boxes_come_back(source, target, shares):
    box = Letterbox(source, target)
    low = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in shares]).reshape(-1, 4)
    original = (low * np.array([*source, *source])).astype(np.float32)
    placed = original * box.plan.scale + np.array([box.plan.pad_x_px, box.plan.pad_y_px] * 2)
    assert np.allclose(box.to_source(placed), original, atol=max(source) * 1e-4)


@settings(max_examples=50, deadline=None)
@given(sizes, st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 4), max_size=5))
def test_boxes_are_clipped_to_the_source(source, boxes):
    found = Letterbox(source, (640, 384)).to_source(np.array(boxes, np.float32).reshape(-1, 4))
    assert (found >= 0).all() and (found <= np.array([*source, *source])).all()


def test_an_image_of_another_size_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="letterbox is for"):
        Letterbox((64, 32), (64, 64)).apply(np.zeros((64, 64, 3), np.uint8))
