"""Box lists, generated folders, gaps in the labels, the clean plate and cut-outs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.detector.dataset import (
    clean_plate,
    cut_people,
    find_gaps,
    generated_scene,
    label_trust,
    read_boxes,
    read_video,
)
from touchline.errors import InputError


def test_box_list_is_read_by_frame(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("frame,x1,y1,x2,y2,score\n0,1,2,3,4,0.9\n2,5,6,7,8,0.8\n2,1,1,2,2,0.7\n")
    boxes = read_boxes(path)
    assert sorted(boxes) == [0, 2]
    np.testing.assert_array_equal(boxes[2], [[5, 6, 7, 8], [1, 1, 2, 2]])


@pytest.mark.parametrize("text", ["x,y\n1,2\n", "frame,x1,y1,x2,y2,score\n0,1,2,3\n", "frame,x1,y1,x2,y2\n0,a,1,2,3\n"])
def test_a_foreign_box_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match="frame,x1,y1,x2,y2,score"):
        read_boxes(path)


def test_a_missing_box_list_and_a_missing_video_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.csv"):
        read_boxes(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match=r"nothing\.mp4: frame 0"):
        list(read_video(tmp_path / "nothing.mp4", 0, 1))


def test_generated_folder_pairs_pictures_with_boxes_by_their_number(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number, grey in ((0, 10), (7, 90)):
        cv2.imwrite(str(tmp_path / "images" / f"{number:06d}.png"), np.full((36, 64, 3), grey, np.uint8))
    (tmp_path / "boxes.csv").write_text("frame,x1,y1,x2,y2,score\n7,1,2,3,4,1.0\n")
    scene = generated_scene(tmp_path)
    assert [int(frame[0, 0, 0]) for frame in scene.frames] == [10, 90]
    assert [len(boxes) for boxes in scene.boxes] == [0, 1]
    assert scene.work_scale == 20.0


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("frame,x1,y1,x2,y2,score\n")
    with pytest.raises(InputError, match="no frames"):
        generated_scene(tmp_path)


def test_a_person_lost_for_some_frames_is_put_between_as_unsure() -> None:
    walk = [np.array([[t, 0, t + 10, 20]], np.float32) for t in range(6)]
    nobody = np.zeros((0, 4), np.float32)
    gaps = find_gaps([walk[0], walk[1], nobody, nobody, walk[4], walk[5]])
    assert [len(found) for found in gaps] == [0, 0, 1, 1, 0, 0]
    np.testing.assert_allclose(gaps[2], walk[2], atol=1e-5)
    np.testing.assert_allclose(gaps[3], walk[3], atol=1e-5)


def test_someone_who_stood_still_is_left_to_the_labels() -> None:
    person, nobody = np.array([[0, 0, 10, 20]], np.float32), np.zeros((0, 4), np.float32)
    assert all(len(found) == 0 for found in find_gaps([person, nobody, person + 1]))


def test_someone_who_leaves_for_good_is_not_invented() -> None:
    person, nobody = np.array([[0, 0, 10, 20]], np.float32), np.zeros((0, 4), np.float32)
    assert all(len(found) == 0 for found in find_gaps([person, nobody, nobody, nobody]))


def test_plate_forgets_a_walker_and_the_cut_out_keeps_only_the_walker() -> None:
    frames, boxes = [], []
    for t in range(9):
        frame = np.full((80, 200, 3), 60, np.uint8)
        x = 10 + 20 * t
        frame[20:60, x + 4 : x + 12] = 220
        frames.append(frame)
        boxes.append(np.array([[x, 18, x + 16, 62]], np.float32))
    plate = clean_plate(frames)
    assert (plate == 60).all()
    cuts = cut_people(frames, boxes, plate)
    assert len(cuts) == 9
    assert cuts[0].shape == (44, 16, 4)
    assert cuts[0][22, 8, 3] == 255
    assert cuts[0][22, 0, 3] == 0


def test_a_vague_label_asks_for_a_lower_score_and_none_is_worthless() -> None:
    trust = label_trust(np.array([0.0, 0.5, 0.7, 0.8, 0.88, 0.95], np.float32))
    assert (np.diff(trust) >= 0).all()
    assert trust[0] == pytest.approx(0.25)
    assert trust[-2:].tolist() == [1.0, 1.0]
