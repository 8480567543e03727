"""The passenger's engine: the committed file is what the program makes, and it finds what is bright."""

from __future__ import annotations

import numpy as np
import pytest

from agent.detect.onnx_engine import OnnxEngine
from hil.virtual.passenger.tiny_engine import CELL_PX, INPUT_PX, MODEL, cell_boxes, model_bytes

pytest.importorskip("onnx")


def scores(picture: np.ndarray) -> np.ndarray:
    engine = OnnxEngine(MODEL, threads=1)
    engine.load()
    found: np.ndarray = engine.infer(picture[None].astype(np.float32))[0, 4].copy()
    return found


def test_the_file_is_what_the_program_writes():
    assert MODEL.read_bytes() == model_bytes()


def test_only_bright_cells_score():
    picture = np.full((3, INPUT_PX[1], INPUT_PX[0]), 114 / 255)
    picture[:, 16:32, 48:64] = 0.75  # one cell of 75 % white
    picture[:, 48:64, 48:64] = np.array([0.75, 0.75, 0.0])[:, None, None]  # one of 75 % yellow
    found = scores(picture)
    assert found.argmax() == 1 * (INPUT_PX[0] // CELL_PX) + 3
    assert found.max() == pytest.approx(0.8, abs=1e-5)
    assert np.count_nonzero(found > 0.01) == 1


def test_boxes_stand_in_their_cells():
    boxes = cell_boxes()
    assert boxes.shape == (4, 60)
    assert np.all(boxes[:2] % CELL_PX == CELL_PX / 2)
