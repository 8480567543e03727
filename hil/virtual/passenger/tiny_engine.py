"""The passenger's engine: an ONNX model of seven operators that finds bright patches.

It is real inference on the real picture, cheap enough for an emulated core: the mean brightness of each 16-pixel cell,
and a box of a person's shape over every cell that is bright. On vivid's colour bars that is the white bar, wherever the
pattern stands. It finds no people and no node is ever given it: it exists so that records flow in the proving ground.

``python -m hil.virtual.passenger.tiny_engine`` writes the file beside this one again (needs the ``onnx`` package).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

MODEL: Final = Path(__file__).with_name("bright_patches.onnx")
INPUT_PX: Final = (160, 96)
CELL_PX: Final = 16
BOX_PX: Final = (7.0, 14.0)
DARK: Final = 0.55
"""Mean of red, green and blue at which the score leaves 0: above letterbox grey (0.45), the yellow bar (0.5)."""

GAIN: Final = 4.0
"""Score per unit of brightness: vivid's 75 % white scores 0.8."""


def cell_boxes() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Centre x, centre y, width, height of every cell's box, shape (4, cells), pixels of the model's input."""
    columns, rows = INPUT_PX[0] // CELL_PX, INPUT_PX[1] // CELL_PX
    x, y = np.meshgrid((np.arange(columns) + 0.5) * CELL_PX, (np.arange(rows) + 0.5) * CELL_PX)
    sides = [np.full(x.size, side) for side in BOX_PX]
    return np.stack([x.ravel(), y.ravel(), *sides]).astype(np.float32)


def model_bytes() -> bytes:
    """The model in YOLOv8 layout: ``images`` (1, 3, 96, 160) in 0..1, ``output0`` (1, 5, 60)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    boxes = cell_boxes()
    constants = {
        "third": np.full((1, 3, 1, 1), 1 / 3, np.float32),
        "dark": np.float32(DARK),
        "gain": np.float32(GAIN),
        "zero": np.float32(0),
        "one": np.float32(1),
        "flat": np.array([1, 1, -1], np.int64),
        "boxes": boxes[None],
    }
    side = [CELL_PX, CELL_PX]
    nodes = [
        helper.make_node("Conv", ["images", "third"], ["grey"], kernel_shape=[1, 1]),
        helper.make_node("AveragePool", ["grey"], ["cells"], kernel_shape=side, strides=side),
        helper.make_node("Sub", ["cells", "dark"], ["above"]),
        helper.make_node("Mul", ["above", "gain"], ["raw"]),
        helper.make_node("Clip", ["raw", "zero", "one"], ["clipped"]),
        helper.make_node("Reshape", ["clipped", "flat"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "bright_patches",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, INPUT_PX[1], INPUT_PX[0]])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, boxes.shape[1]])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {"names": "{0: 'patch'}"})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


if __name__ == "__main__":
    MODEL.write_bytes(model_bytes())
