"""What the nodes of a proving ground look at: a model that finds the same eight people in every picture.

Real inference, tracking and packing on a picture of any content, cheap enough for several nodes on one core. It finds
no people and no real node is ever given it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from hil.venue.optics import site_camera

SIZE_PX: Final = (320, 192)
STANDING_M: Final = np.array([[x, y] for x in (8.0, 20.0, 32.0, 44.0) for y in (12.0, 30.0)])
CANDIDATES: Final = 64
HEIGHT_M: Final = 1.8


def candidates() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Boxes in YOLOv8 layout, shape (1, 5, CANDIDATES): a person at each place of STANDING_M, score 0.9."""
    camera = site_camera("left", SIZE_PX)
    count = len(STANDING_M)
    feet = camera.pixels_from_pitch(np.column_stack([STANDING_M, np.zeros(count)]))
    heads = camera.pixels_from_pitch(np.column_stack([STANDING_M, np.full(count, HEIGHT_M)]))
    height = feet[:, 1] - heads[:, 1]
    rows = np.zeros((1, 5, CANDIDATES), np.float32)
    rows[0, :4, :count] = np.stack([feet[:, 0], feet[:, 1] - height / 2, height * 0.4, height])
    rows[0, 4, :count] = 0.9
    return rows


def people_model(path: Path) -> Path:
    """Write the model; needs the ``onnx`` package."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
            helper.make_node("Add", ["zero", "people"], ["output0"]),
        ],
        "people",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE_PX[1], SIZE_PX[0]])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, CANDIDATES])],
        [
            numpy_helper.from_array(np.zeros((), np.float32), "nothing"),
            numpy_helper.from_array(candidates(), "people"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {"names": "{0: 'person'}"})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
