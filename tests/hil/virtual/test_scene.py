"""What the shared optics show: a pure function of time and seed, paths that close, patches that stay inside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.detect.letterbox import Letterbox
from hil.virtual import scene as optics
from hil.virtual.passenger.seat import CAMERA_PX, RATE_HZ
from hil.virtual.passenger.tiny_engine import BOX_PX, DARK, GAIN, INPUT_PX
from hil.virtual.passenger.tiny_engine import CELL_PX as ENGINE_CELL_PX
from hil.virtual.scene import Change, Scene

SEEDS = st.integers(min_value=0, max_value=2**31)
FRAMES = st.integers(min_value=0, max_value=2**40)
SCENES = st.builds(Scene, seed=SEEDS, people=st.integers(0, optics.MOST_PEOPLE), covered=st.booleans())


def painted(scene: Scene, frame: int) -> optics.Picture:
    picture = np.full(optics.FRAME_BYTES, 77, np.uint8)
    optics.paint(picture, scene, frame)
    return picture


def luma(picture: optics.Picture) -> optics.Picture:
    return picture[: optics.WIDTH_PX * optics.HEIGHT_PX].reshape(optics.HEIGHT_PX, optics.WIDTH_PX)


@given(scene=SCENES, frame=FRAMES)
def test_the_same_time_and_seed_give_the_same_pixels(scene: Scene, frame: int):
    optics.closed_path.cache_clear()
    first = painted(scene, frame)
    optics.closed_path.cache_clear()
    assert np.array_equal(first, painted(scene, frame))


@given(held=SCENES, at=FRAMES, scene=SCENES, later=st.integers(0, 100))
def test_painting_over_is_painting_anew(held: Scene, at: int, scene: Scene, later: int):
    for other in (scene, held):
        picture = painted(held, at)
        optics.paint(picture, other, at + later, (held, at))
        assert np.array_equal(picture, painted(other, at + later))


@given(seed=SEEDS, person=st.integers(0, optics.MOST_PEOPLE))
def test_a_path_closes_and_stays_inside(seed: int, person: int):
    path = optics.closed_path(seed, person)
    assert len(set(path)) == len(path) >= 4
    for (column, row), (next_column, next_row) in zip(path, path[1:] + path[:1], strict=True):
        assert 0 <= column < optics.COLUMNS
        assert 0 <= row < optics.ROWS
        assert abs(column - next_column) + abs(row - next_row) == 1


@given(scene=SCENES, frame=FRAMES)
def test_patches_are_where_they_are_said_to_be(scene: Scene, frame: int):
    bright = luma(painted(scene, frame)) == optics.BRIGHT
    assert bright.sum() == len(set(optics.cells(scene, frame))) * optics.CELL_PX**2
    for column, row in optics.cells(scene, frame):
        assert bright[optics.TOP_PX + row * optics.CELL_PX, column * optics.CELL_PX]


@given(scene=SCENES, frame=FRAMES, off=st.integers(-1000, 1000))
def test_a_picture_says_which_frame_it_is(scene: Scene, frame: int, off: int):
    assert optics.frame_in(painted(scene, frame), frame + off) == (None if scene.covered else frame)


def test_a_covered_lens_is_black_everywhere():
    assert set(luma(painted(Scene(covered=True), 5)).ravel()) == {optics.BLACK}


@given(frame=FRAMES)
def test_frames_lie_on_a_grid_of_absolute_time(frame: int):
    at_ns = optics.frame_utc_ns(frame)
    assert optics.frame_at(at_ns) == frame
    assert optics.frame_at(at_ns + 1) == frame + 1
    assert abs(at_ns - frame * 10**9 / optics.RATE_HZ) < max(1, at_ns * 1e-15)


def test_patches_fill_whole_cells_of_the_engine():
    assert ((optics.WIDTH_PX, optics.HEIGHT_PX), optics.RATE_HZ) == (CAMERA_PX, RATE_HZ)
    plan = Letterbox(CAMERA_PX, INPUT_PX).plan
    assert (plan.scale, plan.pad_x_px) == (ENGINE_CELL_PX / optics.CELL_PX, 0)
    assert (optics.TOP_PX * plan.scale + plan.pad_y_px) % ENGINE_CELL_PX == 0
    assert max(BOX_PX) < ENGINE_CELL_PX
    brightness = {value: (value - 16) / 219 for value in (optics.BRIGHT, optics.BAR, optics.GROUND)}
    assert (brightness[optics.BRIGHT] - DARK) * GAIN > 0.3
    assert max(brightness[optics.BAR], brightness[optics.GROUND]) < DARK


def test_what_is_seen_is_the_latest_change_that_has_begun():
    changes = (Change(0, Scene(2)), Change(20, Scene(3)), Change(10, Scene(covered=True)))
    assert [optics.scene_at(changes, frame) for frame in (9, 10, 19, 20)] == [
        Scene(2),
        Scene(covered=True),
        Scene(covered=True),
        Scene(3),
    ]
    assert optics.scene_at((), 5) == Scene()


@given(st.lists(st.builds(Change, frame=FRAMES, scene=SCENES)))
def test_changes_survive_their_document(changes: list[Change]):
    assert optics.from_json(optics.to_json(changes)) == tuple(changes)


@pytest.mark.parametrize(
    "text", ["", "{", "3", "[3]", '[{"frame": 1}]', '[{"frame": 1, "scene": {"colour": 1}}]', "{}x"]
)
def test_a_damaged_document_is_refused(text: str):
    with pytest.raises(ValueError, match=r"."):
        optics.from_json(text)
