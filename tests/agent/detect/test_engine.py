"""The ONNX Runtime engine: what it takes, what it refuses, and with which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from agent.detect import onnx_engine
from agent.detect.onnx_engine import OnnxEngine, class_names
from tests.agent.detect.stand_in import constant_model, red_square_model
from touchline.errors import ConfigError, InputError


def test_it_says_what_it_loaded(square_model: Path):
    engine = OnnxEngine(square_model, threads=1)
    info = engine.load()
    assert info == engine.info()
    assert info.input_size_px == (640, 384) and info.output_shape == (1, 5, 240)
    assert info.classes == ("square",) and info.provider == "CPUExecutionProvider"
    assert 0 < info.load_ms < 400  # INF-5 asks 0.4 s of a real model
    assert info.model_bytes == square_model.stat().st_size


def test_it_infers_from_any_buffer(square_model: Path):
    engine = OnnxEngine(square_model, threads=1)
    engine.load()
    black, red = np.zeros((1, 3, 384, 640), np.float32), np.zeros((1, 3, 384, 640), np.float32)
    red[0, 0] = 1
    assert engine.infer(black)[0, 4].max() == 0
    assert engine.infer(red)[0, 4].min() == 1
    red[0, 0] = 0.5  # the same buffer, other pixels
    assert np.allclose(engine.infer(red)[0, 4], 0.5)
    assert engine.infer(black)[0, 4].max() == 0


@pytest.mark.parametrize(
    "tensor",
    [
        np.zeros((1, 3, 384, 608), np.float32),
        np.zeros((1, 3, 384, 640), np.float64),
        np.zeros((1, 3, 640, 384), np.float32).transpose(0, 1, 3, 2),
    ],
)
def test_a_tensor_of_another_layout_is_a_mistake_of_the_caller(square_model: Path, tensor: np.ndarray):
    engine = OnnxEngine(square_model, threads=1)
    engine.load()
    with pytest.raises(ValueError, match="the engine takes float32"):
        engine.infer(tensor)


@pytest.mark.parametrize(
    ("input_shape", "output_shapes", "names", "found", "hint"),
    [
        ([1, 3, 64, 64], [[1, 84, 8]], None, r"output is \(1, 84, 8\) float32", "transposed"),
        ([1, 3, 64, 64], [[1, 300, 6]], None, r"output is \(1, 300, 6\) float32", "nms=False"),
        ([1, 3, 64, 64], [[1, 4, 300]], None, r"output is \(1, 4, 300\)", "YOLOv8"),
        ([1, 3, 64, 64], [[1, 1000]], None, r"output is \(1, 1000\)", "YOLOv8"),
        ([1, 3, 64, 64], [[1, 84, 99], [1, 32, 8, 8]], None, r"float32 and \(1, 32, 8, 8\)", "one output"),
        ([1, 3, 64, 64], [[2, 84, 99]], None, r"output is \(2, 84, 99\)", "YOLOv8"),
        ([1, 3, 64, 64], [[1, 56, 99]], "{0: 'person'}", "names 1 classes", "pose"),
        ([1, 3, 60, 64], [[1, 84, 99]], None, r"input is \(1, 3, 60, 64\) float32", "fixed size"),
        ([1, 1, 64, 64], [[1, 84, 99]], None, r"input is \(1, 1, 64, 64\)", "fixed size"),
        ([2, 3, 64, 64], [[1, 84, 99]], None, r"input is \(2, 3, 64, 64\)", "fixed batch"),
        (["batch", 3, "height", "width"], [[1, 84, 99]], None, r"\(batch, 3, height, width\)", "fixed batch"),
        ([1, 64, 64, 3], [[1, 84, 99]], None, r"input is \(1, 64, 64, 3\)", "fixed"),
    ],
)
def test_another_layout_is_refused_with_both_shapes(tmp_path, *, input_shape, output_shapes, names, found, hint):
    path = constant_model(tmp_path / "m.onnx", input_shape=input_shape, output_shapes=output_shapes, names=names)
    with pytest.raises(ConfigError, match=found) as caught:
        OnnxEngine(path, threads=1).load()
    assert "expected" in caught.value.message and hint in caught.value.hint and str(path) in caught.value.message


def test_half_precision_input_is_refused(tmp_path):
    path = constant_model(
        tmp_path / "m.onnx", input_shape=[1, 3, 64, 64], output_shapes=[[1, 5, 84]], input_type=TensorProto.FLOAT16
    )
    with pytest.raises(ConfigError, match="float16"):
        OnnxEngine(path).load()


def test_a_model_without_names_gets_numbered_ones(tmp_path):
    path = constant_model(tmp_path / "m.onnx", input_shape=[1, 3, 64, 64], output_shapes=[[1, 6, 84]])
    assert OnnxEngine(path, threads=1).load().classes == ("class0", "class1")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.onnx: cannot read the model: No such file"):
        OnnxEngine(tmp_path / "none.onnx").load()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path, square_model: Path, share: float):
    data = square_model.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises((InputError, ConfigError), match=r"cut\.onnx"):
        OnnxEngine(path).load()


def test_a_foreign_file_and_a_folder_are_refused(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("this is no model\n" * 50)
    for wrong in (path, tmp_path):
        with pytest.raises(InputError, match="not an ONNX model"):
            OnnxEngine(wrong).load()


def test_models_above_the_limit_need_permission(tmp_path, monkeypatch, square_model: Path):
    monkeypatch.setattr(onnx_engine, "MAX_MODEL_BYTES", 100)
    with pytest.raises(ConfigError, match="reload too slowly") as caught:
        OnnxEngine(square_model).load()
    assert "--allow-large" in caught.value.hint
    assert OnnxEngine(square_model, allow_large=True).load().model_bytes > 100


def test_weights_beside_the_model_count(tmp_path, monkeypatch):
    path = red_square_model(tmp_path / "m.onnx")
    (tmp_path / "m.onnx.data").write_bytes(bytes(50_000))
    monkeypatch.setattr(onnx_engine, "MAX_MODEL_BYTES", 50_000)
    with pytest.raises(ConfigError, match="reload too slowly"):
        OnnxEngine(path).load()


def test_a_provider_that_is_not_here_is_no_silent_fallback(square_model: Path):
    with pytest.raises(ConfigError, match="has no TensorrtExecutionProvider") as caught:
        OnnxEngine(square_model, provider="TensorrtExecutionProvider").load()
    assert "CPUExecutionProvider" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{0: 'person', 1: 'ball'}", ("person", "ball")),
        ("['person']", ("person",)),
        ('{"0": "person"}', ("person",)),
        ("", ()),
        ("person", ()),
        ("{0: ", ()),
        ("7", ()),
    ],
)
def test_class_names(text: str, names: tuple[str, ...]):
    assert class_names({"names": text}) == names and class_names({}) == ()
