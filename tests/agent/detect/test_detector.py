"""The detector as a whole, on models with known behaviour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agent.detect.build import open_detector
from agent.detect.detector import Detector
from agent.detect.engine import EngineInfo
from agent.detect.types import Detections
from tests.agent.detect.stand_in import square_corner, square_frame
from touchline.errors import ConfigError, InputError


class Canned:
    """An engine that answers with the output it was given."""

    def __init__(self, output: np.ndarray) -> None:
        self.output = output.astype(np.float32)

    def load(self) -> EngineInfo:
        return self.info()

    def infer(self, tensor: np.ndarray) -> np.ndarray:
        assert tensor.shape == (1, 3, 96, 128)
        return self.output

    def info(self) -> EngineInfo:
        names = tuple(f"class{number}" for number in range(self.output.shape[1] - 4))
        return EngineInfo("canned", "none", (128, 96), (1, *self.output.shape[1:]), names, 0.0, 0)


def columns(*rows: tuple[float, ...]) -> np.ndarray:
    """An output (1, 4 + classes, A) from candidates (cx, cy, w, h, scores...)."""
    return np.array(rows, np.float32).T[None]


ANYTHING = st.floats(-1e6, 1e6, width=32) | st.sampled_from([np.nan, np.inf, -np.inf])
IMAGE = np.zeros((96, 128, 3), np.uint8)


def test_a_square_is_found_where_it_is(square_model: Path):
    detector = open_detector(square_model, threads=1)
    for number in (0, 7, 19):
        found = detector.detect(square_frame(number)).validate()
        x, y = square_corner(number)
        assert len(found) == 1 and found.classes[0] == 0 and found.scores[0] > 0.9
        assert np.allclose(found.boxes[0], (x, y, x + 32, y + 32), atol=0.5)
        assert np.allclose(found.feet_px[0], (x + 16, y + 32), atol=0.5)
        assert np.allclose(found.heads_px[0], (x + 16, y), atol=0.5)
    assert detector.timings.letterbox_ms > 0 and detector.timings.infer_ms > 0 and detector.timings.decode_ms > 0


def test_images_of_changing_size_are_planned_anew(square_model: Path):
    detector = open_detector(square_model, threads=1)
    large = np.repeat(np.repeat(square_frame(3), 2, axis=0), 2, axis=1)
    for image, factor in ((square_frame(3), 1), (large, 2), (square_frame(3), 1)):
        x, y = (factor * value for value in square_corner(3))
        assert np.allclose(detector.detect(image).boxes, [(x, y, x + 32 * factor, y + 32 * factor)], atol=1)


def test_suppression_is_by_class():
    output = columns((50, 50, 20, 20, 0.9, 0.0), (51, 50, 20, 20, 0.8, 0.0), (51, 50, 20, 20, 0.0, 0.7))
    found = Detector(Canned(output)).detect(IMAGE)
    assert found.classes.tolist() == [0, 1] and np.allclose(found.scores, [0.9, 0.7])
    assert Detector(Canned(output), classes=[1]).detect(IMAGE).classes.tolist() == [1]


def test_weak_and_outlying_candidates_vanish():
    output = columns((50, 50, 20, 20, 0.2), (500, 50, 20, 20, 0.9), (50, 50, 0, 20, 0.9), (120, 90, 40, 40, 0.8))
    found = Detector(Canned(output)).detect(IMAGE)
    assert np.allclose(found.boxes, [(100, 70, 128, 96)])


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(np.float32, (1, 6, 40), elements=ANYTHING))
def test_whatever_the_engine_says_the_result_is_sound(output):
    detector = Detector(Canned(output))
    found = detector.detect(IMAGE).validate()
    assert (found.boxes >= 0).all() and (found.boxes <= np.array([128, 96, 128, 96])).all()
    assert (found.scores >= detector.score_threshold).all()
    assert (np.diff(found.scores) <= 0).all()
    assert np.isin(found.classes, [0, 1]).all()


def test_non_finite_candidates_are_counted():
    output = columns(
        (50, 50, 20, 20, 0.9), (np.nan, 50, 20, 20, 0.9), (50, 50, 20, 20, np.inf), (9, 9, np.inf, 4, 0.01)
    )
    detector = Detector(Canned(output))
    assert len(detector.detect(IMAGE)) == 1 and detector.non_finite == 2
    detector.detect(IMAGE)
    assert detector.non_finite == 4


def test_weaker_candidates_vote_on_the_box_whatever_score_is_asked_for():
    output = columns((50, 50, 20, 20, 0.9), (54, 50, 20, 20, 0.3), (90, 50, 20, 20, 0.2))
    few, many = Detector(Canned(output), score_threshold=0.5), Detector(Canned(output), score_threshold=0.1)
    assert len(few.detect(IMAGE)) == 1
    assert len(many.detect(IMAGE)) == 2
    assert np.array_equal(few.detect(IMAGE).boxes[0], many.detect(IMAGE).boxes[0])
    assert few.detect(IMAGE).boxes[0].tolist() == pytest.approx([41, 40, 61, 60])


@pytest.mark.parametrize("wrong", [{"score_threshold": 1.5}, {"iou_threshold": -0.1}, {"classes": [3]}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        Detector(Canned(columns((50, 50, 20, 20, 0.9))), **wrong)


def test_find_before_place_is_a_mistake_of_the_caller():
    with pytest.raises(RuntimeError, match="nothing was placed"):
        Detector(Canned(columns((50, 50, 20, 20, 0.9)))).find()


def test_detections_scale_shift_and_validate():
    found = Detections(np.array([[1, 2, 3, 4]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))
    assert found.scaled(2, 3).boxes.tolist() == [[2, 6, 6, 12]]
    assert found.shifted(10, 20).boxes.tolist() == [[11, 22, 13, 24]]
    assert len(Detections.empty().validate()) == 0
    for boxes in ([[3, 2, 1, 4]], [[np.nan, 2, 3, 4]], [[1, 2, 3, 4], [1, 2, 3, 4]]):
        with pytest.raises(InputError):
            Detections(np.array(boxes, np.float32), found.scores, found.classes).validate()
