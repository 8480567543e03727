"""The drawn frame against the truth that it was drawn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil.venue import body
from hil.venue.dataset import degrade, generate, visible_boxes
from hil.venue.kits import look, wardrobe
from hil.venue.optics import look_at, site_camera
from hil.venue.pitch import LENGTH_M, WIDTH_M
from hil.venue.players import Venue
from hil.venue.render import NOISE_PICTURES, Box, Renderer

TIMES_NS = [1_790_000_000_000_000_000 + k * 1_730_000_000 for k in range(8)]


@pytest.fixture(scope="module")
def left() -> Renderer:
    """The left camera without sensor noise or shadows, so that only people differ from the background."""
    return Renderer(Venue(0, 25), site_camera("left"), replace(look(0), noise=0.0, shade=0.0))


def test_the_same_instant_gives_the_same_picture(left):
    assert np.array_equal(left.render(TIMES_NS[0]), left.render(TIMES_NS[0]))
    assert not np.array_equal(left.render(TIMES_NS[0]), left.render(TIMES_NS[1]))


def test_boxes_lie_in_the_picture_and_hold_the_projected_person(left):
    for ptp_ns in TIMES_NS:
        state = left.venue.state_at(ptp_ns)
        for box in left.boxes_at(ptp_ns):
            assert 0 <= box.x1_px < box.x2_px <= 1280
            assert 0 <= box.y1_px < box.y2_px <= 720
            chest = np.array([[*state.xy_m[box.row], state.height_m[box.row] * 0.55]])
            x, y = left.camera.pixels_from_pitch(chest)[0]
            if box.visible > 0.99:
                assert box.x1_px <= x <= box.x2_px
                assert box.y1_px <= y <= box.y2_px


def test_boxes_are_tight_around_what_was_drawn(left):
    """What a lonely person changed clearly is its box: pixels are whole, so their outer edges lie up to a pixel out."""
    gaps = []
    for ptp_ns in TIMES_NS:
        change = np.abs(left.render(ptp_ns).astype(int) - left.backgrounds[0]).max(axis=2)
        boxes = left.boxes_at(ptp_ns)
        for box in boxes:
            if box.visible < 1.0 or any(_touch(box, other) for other in boxes if other is not box):
                continue
            rows, columns = np.nonzero(change[_window(box)] > 30)
            top, left_edge = int(box.y1_px) - 3, int(box.x1_px) - 3
            found = (columns.min() + left_edge, rows.min() + top, columns.max() + left_edge + 1, rows.max() + top + 1)
            gaps.append(np.subtract(found, (box.x1_px, box.y1_px, box.x2_px, box.y2_px)))
    assert len(gaps) > 40
    np.testing.assert_allclose(np.mean(gaps, axis=0), [-0.5, -0.5, 0.5, 0.5], atol=0.4)
    assert np.percentile(np.abs(gaps), 95) < 1.4


def test_nothing_but_the_ball_is_drawn_outside_the_boxes(left):
    for ptp_ns in TIMES_NS:
        changed = (left.render(ptp_ns) != left.backgrounds[0]).any(axis=2)
        for box in left.boxes_at(ptp_ns):
            rows = slice(max(int(box.y1_px) - 2, 0), int(box.y2_px) + 3)
            changed[rows, max(int(box.x1_px) - 2, 0) : int(box.x2_px) + 3] = False
        assert changed.sum() <= 60


def _window(box: Box) -> tuple[slice, slice]:
    return slice(int(box.y1_px) - 3, int(box.y2_px) + 4), slice(int(box.x1_px) - 3, int(box.x2_px) + 4)


def _touch(one: Box, other: Box) -> bool:
    apart = 5.0
    return (
        one.x1_px - apart < other.x2_px
        and other.x1_px - apart < one.x2_px
        and one.y1_px - apart < other.y2_px
        and other.y1_px - apart < one.y2_px
    )


def test_box_height_follows_the_body_height(left):
    """Feet to head in metres, read back from the box by the calibration, is the person's height within 15 cm."""
    gaps = []
    for ptp_ns in TIMES_NS:
        state = left.venue.state_at(ptp_ns)
        slow = np.linalg.norm(state.v_mps, axis=1) < 2.0
        for box in left.boxes_at(ptp_ns):
            if box.visible == 1.0 and slow[box.row]:
                foot = left.camera.pixels_from_pitch(state.xy_m[box.row : box.row + 1])
                head = np.array([[foot[0, 0], box.y1_px]])
                gaps.append(left.camera.heights_m(foot, head)[0] - state.height_m[box.row])
    assert len(gaps) > 10
    assert np.abs(np.median(gaps)) < 0.1
    assert np.percentile(np.abs(gaps), 90) < 0.2


def test_kit_colours_are_found_at_the_projected_torso(left):
    clothes = wardrobe(0)
    hits = total = 0
    for ptp_ns in TIMES_NS:
        picture, state = left.render(ptp_ns).astype(int), left.venue.state_at(ptp_ns)
        boxes = left.boxes_at(ptp_ns)
        joints = body.joints(state)
        for box in boxes:
            if box.visible < 1.0 or any(_touch(box, other) for other in boxes if other is not box):
                continue
            x, y = left.camera.pixels_from_pitch(joints[box.row, [body.CHEST]])[0].astype(int)
            patch = picture[y - 3 : y + 4, x - 2 : x + 3].reshape(-1, 3)
            shirt = clothes.shirt[state.ids[box.row]].astype(int)
            hits += bool((np.abs(patch - shirt).max(axis=1) < 40).any())
            total += 1
    assert total > 40
    assert hits / total > 0.9


def test_lines_are_white_and_grass_is_green(left):
    background = left.backgrounds[0].astype(int)
    line = left.camera.pixels_from_pitch(np.array([[52.5, 10.0], [20.0, 0.0]])).astype(int)
    grass = left.camera.pixels_from_pitch(np.array([[40.0, 10.0], [30.0, 45.0]])).astype(int)
    for x, y in line:
        assert background[y - 2 : y + 3, x - 2 : x + 3].min(axis=2).max() > 170
    for x, y in grass:
        red, green, blue = background[y, x]
        assert green > red > 0
        assert green > blue


def test_noise_pictures_take_turns():
    renderer = Renderer(Venue(0, 1), site_camera("right", (320, 180)))
    assert len(renderer.backgrounds) == NOISE_PICTURES
    difference = renderer.backgrounds[0].astype(int) - renderer.backgrounds[1]
    assert 0.5 < difference.std() < 6.0


def test_people_behind_the_camera_are_not_drawn():
    """A camera above the centre spot that looks at one goal sees nobody of the other half."""
    camera = look_at((LENGTH_M / 2, WIDTH_M / 2, 8.0), (LENGTH_M, WIDTH_M / 2, 0.0), 250.0, (320, 180))
    renderer = Renderer(Venue(0, 25), camera)
    for ptp_ns in TIMES_NS:
        x_m = renderer.venue.state_at(ptp_ns).xy_m[:, 0]
        rows = [box.row for box in renderer.boxes_at(ptp_ns)]
        assert (x_m[rows] > LENGTH_M / 2).all()
    assert renderer.render(TIMES_NS[0]).shape == (180, 320, 3)


def test_the_generator_repeats_itself_and_its_boxes_are_sound():
    first, second = next(generate(1, 5)), next(generate(1, 5))
    assert np.array_equal(first.picture, second.picture)
    assert first.boxes == second.boxes
    assert first.picture.shape == (720, 1280, 3)
    assert all(box.y2_px - box.y1_px >= 8.0 and 0 <= box.x1_px < box.x2_px <= 1280 for box in first.boxes)


def test_hidden_and_tiny_people_carry_no_label():
    behind, small = Box(0, 100, 100, 110, 130, 1.0), Box(1, 300, 100, 303, 107, 1.0)
    front = Box(2, 98, 101, 112, 140, 1.0)
    assert visible_boxes([behind, small, front]) == [front]


def test_degrading_keeps_the_format():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
    for _ in range(5):
        worse = degrade(picture, rng)
        assert worse.shape == picture.shape
        assert worse.dtype == np.uint8
