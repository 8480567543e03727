"""Small real ONNX models with known behaviour, and a video of a moving red square for them to find."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CELL_PX = 32
SQUARE_PX = 32


def save(graph: onnx.GraphProto, path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write a graph as a model file that ONNX Runtime of any recent version opens."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def red_square_model(path: Path, width: int = 640, height: int = 384, names: str = "{0: 'square'}") -> Path:
    """A detector of one class: how red is each 32-pixel cell; every box is its cell. YOLOv8 layout."""
    columns, rows = width // CELL_PX, height // CELL_PX
    x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    cells = np.stack([x.ravel() * CELL_PX, y.ravel() * CELL_PX]).astype(np.float32)
    boxes = np.concatenate([cells, np.full_like(cells, CELL_PX)])[None]
    red = np.array([1, -1, -1], np.float32).reshape(1, 3, 1, 1)
    nodes = [
        helper.make_node("Conv", ["images", "red"], ["redness"], kernel_shape=[1, 1]),
        helper.make_node("AveragePool", ["redness"], ["mean"], kernel_shape=[CELL_PX] * 2, strides=[CELL_PX] * 2),
        helper.make_node("Clip", ["mean", "zero", "one"], ["score"]),
        helper.make_node("Reshape", ["score", "flat"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    constants = {
        "red": red,
        "zero": np.float32(0),
        "one": np.float32(1),
        "flat": np.array([1, 1, -1], np.int64),
        "boxes": boxes,
    }
    graph = helper.make_graph(
        nodes,
        "red_square",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, columns * rows])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return save(graph, path, {"names": names})


def constant_model(
    path: Path,
    *,
    input_shape: list[int | str],
    output_shapes: list[list[int]],
    input_type: int = TensorProto.FLOAT,
    names: str | None = None,
) -> Path:
    """A model of any layout: it ignores its input's values and gives constants."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        *(
            helper.make_node("Add", ["zero", f"shape{index}"], [f"output{index}"])
            for index in range(len(output_shapes))
        ),
    ]
    kind = np.float16 if input_type == TensorProto.FLOAT16 else np.float32
    constants = {"nothing": np.zeros((), kind)}
    constants |= {f"shape{index}": np.zeros(shape, kind) for index, shape in enumerate(output_shapes)}
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("images", input_type, input_shape)],
        [
            helper.make_tensor_value_info(f"output{index}", input_type, shape)
            for index, shape in enumerate(output_shapes)
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return save(graph, path, {"names": names} if names else None)


def square_frame(number: int, width: int = 640, height: int = 360) -> np.ndarray:
    """Frame ``number``: a red square on dark green, moving 32 pixels to the right each frame."""
    image = np.full((height, width, 3), (10, 60, 10), np.uint8)
    x, y = square_corner(number, width)
    image[y : y + SQUARE_PX, x : x + SQUARE_PX] = (255, 0, 0)
    return image


def square_corner(number: int, width: int = 640) -> tuple[int, int]:
    """Upper left corner of the square in frame ``number``: on a cell of a 384-row letterbox (12 rows of grey)."""
    return (number * CELL_PX) % width, 5 * CELL_PX - 12


def write_video(path: Path, frames: list[np.ndarray], rate_hz: int = 25) -> Path:
    """Encode RGB frames losslessly enough with the real ffmpeg."""
    height, width = frames[0].shape[:2]
    command = (
        f"ffmpeg -nostdin -loglevel error -y -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {rate_hz} -i pipe:0 "
        "-vf scale=out_color_matrix=bt601:out_range=tv,format=yuv420p -c:v libx264 -g 10 -bf 2 -crf 8 "
        "-colorspace smpte170m -movflags +faststart"
    )
    subprocess.run(
        [*command.split(), str(path)],
        input=b"".join(frame.tobytes() for frame in frames),
        check=True,
        timeout=60,
    )
    return path
