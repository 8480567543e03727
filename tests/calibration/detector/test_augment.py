"""Training crops: same seed same crop, boxes that stay with their people."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.detector.augment import (
    clip_boxes,
    distort,
    grass,
    green,
    litter,
    paste_people,
    random_crop,
    shift_colour,
)
from calibration.detector.dataset import NO_BOXES, Scene

SIZE = (160, 96)


def scene_with_a_red_square() -> Scene:
    frame = np.full((288, 512, 3), 40, np.uint8)
    frame[100:180, 200:240] = [255, 0, 0]
    box = np.array([[200, 100, 240, 180]], np.float32)
    return Scene("square", [frame], [box], [np.ones(1, np.float32)], [NO_BOXES])


def test_the_same_seed_gives_the_same_crop() -> None:
    scene = scene_with_a_red_square()
    first, again = (random_crop(np.random.default_rng(4), scene, SIZE) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.boxes, again.boxes)


@pytest.mark.parametrize("seed", range(12))
def test_the_box_stays_on_the_person(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibration.detector.augment.distort", lambda rng, image: np.ascontiguousarray(image))
    monkeypatch.setattr("calibration.detector.augment.litter", lambda rng, image, keep: image)
    crop = random_crop(np.random.default_rng(seed), scene_with_a_red_square(), SIZE)
    assert crop.image.shape == (SIZE[1], SIZE[0], 3)
    red = (crop.image[..., 0] > 150) & (crop.image[..., 1] < 120)
    for x1, y1, x2, y2 in crop.boxes:
        inside = red[int(np.ceil(y1)) : int(y2), int(np.ceil(x1)) : int(x2)]
        assert inside.mean() > 0.8
        red[max(int(y1) - 2, 0) : int(y2) + 3, max(int(x1) - 2, 0) : int(x2) + 3] = False
    if len(crop.boxes):
        assert not red.any()


def test_a_box_cut_by_the_border_is_clipped_or_becomes_unsure() -> None:
    boxes = np.array([[-4, 0, 6, 20], [-9, 0, 1.5, 20], [-30, 0, -20, 20]], np.float32)
    kept, unsure = clip_boxes(boxes, SIZE)
    np.testing.assert_array_equal(kept, [[0, 0, 6, 20]])
    np.testing.assert_array_equal(unsure, [[0, 0, 1.5, 20]])
    assert clip_boxes(NO_BOXES, SIZE)[0].shape == (0, 4)


def test_pasted_people_get_boxes_where_the_picture_changed() -> None:
    rng = np.random.default_rng(2)
    person = np.dstack([np.full((40, 16, 3), 250, np.uint8), np.full((40, 16), 255, np.uint8)])
    under = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    image, boxes = paste_people(rng, under, NO_BOXES, [person], 1.0, ground=np.ones(under.shape[:2], bool))
    assert len(boxes) >= 1
    covered = np.zeros(image.shape[:2], bool)
    for x1, y1, x2, y2 in boxes.astype(int):
        covered[y1:y2, x1:x2] = True
    np.testing.assert_array_equal(image.any(axis=2), covered)
    assert not under.any()


def test_nobody_is_pasted_off_the_grass() -> None:
    person = np.dstack([np.full((20, 8, 3), 250, np.uint8), np.full((20, 8), 255, np.uint8)])
    under = np.full((SIZE[1], SIZE[0], 3), (120, 118, 116), np.uint8)  # concrete
    under[:, 80:] = (80, 110, 70)
    ground = green(under)
    assert not ground[:, :70].any()
    assert ground[:, 90:].all()
    for seed in range(10):
        _, boxes = paste_people(np.random.default_rng(seed), under, NO_BOXES, [person], 1.0, ground=ground)
        assert (boxes[:, [0, 2]].mean(axis=1) > 70).all()


def test_litter_keeps_clear_of_people() -> None:
    image, person = np.zeros((96, 160, 3), np.uint8), np.array([[60, 30, 80, 70]], np.float32)
    out = litter(np.random.default_rng(0), image, np.array([[0, 0, 160, 96]], np.float32))
    assert not out.any()
    for seed in range(20):
        out = litter(np.random.default_rng(seed), image.copy(), person)
        assert not out[40:60, 65:75].any()


def test_colour_shift_turns_red_into_green_and_back() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    green = shift_colour(red, 1 / 3, 1.0, 1.0)
    assert green[0, 0].tolist() == [0, 200, 0]
    np.testing.assert_array_equal(shift_colour(green, -1 / 3, 1.0, 1.0), red)


@pytest.mark.parametrize("seed", range(8))
def test_distortion_and_grass_keep_size_and_type(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = distort(rng, grass(rng, SIZE))
    assert image.shape == (SIZE[1], SIZE[0], 3)
    assert image.dtype == np.uint8
