"""Rendered checkerboards through a known lens, and the folders that people hand over by mistake."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.board import STILLS_MIN, calibrate_boards, require_same_size
from touchline.errors import ConfigError, InputError

SIZE = (640, 360)
INNER = (9, 5)
MATRIX = np.array([[520.0, 0, 322.0], [0, 520.0, 181.0], [0, 0, 1]])
LENS = np.array([-0.25, 0.06, 0.0, 0.0, 0.0])
TILTS = ((0.5, 0.1), (-0.5, 0.2), (0.2, 0.6), (-0.1, -0.6), (0.4, -0.4), (-0.4, 0.45), (0.05, 0.02), (0.6, 0.5))


def render(tilt: tuple[float, float], shift: tuple[float, float], distance: float = 14.0) -> np.ndarray:
    """A board (squares of one unit) seen by the lens, by looking up every pixel's ray on the board's plane."""
    ys, xs = np.mgrid[0 : SIZE[1] * 2, 0 : SIZE[0] * 2]
    px = np.stack(((xs + 0.5) / 2, (ys + 0.5) / 2), axis=-1).reshape(-1, 1, 2)
    flat = cv2.undistortPoints(px, MATRIX, LENS).reshape(-1, 2)
    rotation = np.asarray(cv2.Rodrigues(np.array([tilt[0], tilt[1], 0.1]))[0])
    origin = np.array([shift[0], shift[1], distance]) - rotation @ np.array([4.0, 2.0, 0.0])
    plane = np.linalg.inv(np.column_stack((rotation[:, 0], rotation[:, 1], origin)))
    on = np.column_stack((flat, np.ones(len(flat)))) @ plane.T
    u, v = (on[:, :2] / on[:, 2:]).T
    black = (np.floor(u) + np.floor(v)) % 2 == 0
    inside = (u > -1) & (u < INNER[0]) & (v > -1) & (v < INNER[1])
    grey = np.where(inside & black, 30, np.where((u > -2) & (u < 10) & (v > -2) & (v < 6), 225, 120))
    image = grey.reshape(SIZE[1] * 2, SIZE[0] * 2).astype(np.uint8)
    return np.asarray(cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA))


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boards")
    for index, tilt in enumerate(TILTS):
        shift = ((index % 3 - 1) * 2.2, (index // 3 - 1) * 0.8)
        cv2.imwrite(str(folder / f"{index}.png"), render(tilt, shift))
    return folder


def test_the_lens_is_found(stills):
    board = calibrate_boards(stills, INNER)
    used = [still for still in board.stills if not still.reason]
    assert len(used) >= 6
    assert board.rms_px < 0.3
    assert board.image_size_px == SIZE
    assert board.mean[:4] == pytest.approx([520, 520, 322, 181], abs=6)
    assert board.mean[4] == pytest.approx(-0.25, abs=0.04)
    assert (board.sigma > 0).all()
    assert 0.3 < board.covered[0] <= 1


def test_stills_without_a_board_are_named(stills, tmp_path):
    for path in stills.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    cv2.imwrite(str(tmp_path / "x_grass.png"), np.full((SIZE[1], SIZE[0]), 90, np.uint8))
    (tmp_path / "y_torn.png").write_bytes(b"\x89PNG torn")
    (tmp_path / "notes.txt").write_text("not a still")
    reasons = {still.name: still.reason for still in calibrate_boards(tmp_path, INNER).stills}
    assert reasons["x_grass.png"] == "no board found"
    assert reasons["y_torn.png"] == "not a readable image"
    assert "notes.txt" not in reasons


def test_a_bent_still_is_dropped(stills, tmp_path):
    for path in stills.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    image = render((0.1, 0.1), (0.0, 0.0))
    ys, xs = np.mgrid[0 : SIZE[1], 0 : SIZE[0]].astype(np.float32)
    bent = cv2.remap(image, xs, ys + 14 * np.sin(xs / 60), cv2.INTER_LINEAR)
    cv2.imwrite(str(tmp_path / "bent.png"), bent)
    dropped = {still.name: still.reason for still in calibrate_boards(tmp_path, INNER).stills if still.reason}
    assert "bent.png" in dropped


def test_folders_that_cannot_work_are_refused(stills, tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        calibrate_boards(tmp_path / "none", INNER)
    with pytest.raises(InputError, match="has no stills"):
        calibrate_boards(tmp_path, INNER)
    (tmp_path / "a.png").write_bytes(b"junk")
    with pytest.raises(InputError, match="has no readable stills"):
        calibrate_boards(tmp_path, INNER)
    cv2.imwrite(str(tmp_path / "b.png"), np.full((90, 160), 90, np.uint8))
    with pytest.raises(InputError, match=f"found in 0 stills, {STILLS_MIN} needed"):
        calibrate_boards(tmp_path, INNER)
    cv2.imwrite(str(tmp_path / "c.png"), np.full((90, 180), 90, np.uint8))
    with pytest.raises(InputError, match=r"c.png is 180x90 but the stills before it are 160x90"):
        calibrate_boards(tmp_path, INNER)


def test_another_size_than_the_landmarks_is_refused(stills):
    board = calibrate_boards(stills, INNER)
    require_same_size(board, SIZE, stills)
    with pytest.raises(ConfigError, match="stills are 640x360, the landmark image is 3072x1728"):
        require_same_size(board, (3072, 1728), stills)
