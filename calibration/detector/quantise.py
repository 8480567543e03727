"""Turn the float model into INT8 with quantise and dequantise nodes in place (QDQ).

``python -m calibration.detector.quantise --model m.onnx --video v.mp4 --out m_int8.onnx``.  Activations are unsigned
and weights signed, per channel: the pairing that VNNI and Arm dot-product kernels of ONNX Runtime are fast at.  The
box decoding behind the last convolution stays in float, because its pixels need more than 8 bits.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import touchline.ort  # noqa: F401  # before what loads ONNX Runtime: it turns the usage reports off

# isort: split
import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from calibration.detector.boxes import letterbox
from calibration.detector.dataset import Image, generated_scene, read_video
from touchline.shell import guarded

QUANTISED = ("Conv", "Add", "Relu", "Resize")


class Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Hands the quantiser one letterboxed picture after the other."""

    def __init__(self, model: Path, images: Sequence[Image]) -> None:
        entry = onnx.load(str(model)).graph.input[0]
        self.name = entry.name
        self.size_px = (entry.type.tensor_type.shape.dim[3].dim_value, entry.type.tensor_type.shape.dim[2].dim_value)
        self.images = iter(images)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next picture as the network's input, None after the last."""
        image = next(self.images, None)
        if image is None:
            return None
        placed, _ = letterbox(image, self.size_px)
        return {self.name: placed.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)}


def quantise(model: Path, out: Path, images: Sequence[Image]) -> None:
    """Write the INT8 twin of ``model``, its ranges taken from ``images`` (RGB, uint8)."""
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "clean.onnx"
        quant_pre_process(str(model), str(clean), skip_symbolic_shape=True)
        quantize_static(
            str(clean),
            str(out),
            Pictures(model, images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=decoding_nodes(clean),
        )
    keep_facts(model, out)


def decoding_nodes(model: Path) -> list[str]:
    """Names of the nodes behind the last convolution."""
    nodes = onnx.load(str(model)).graph.node
    last = max(place for place, node in enumerate(nodes) if node.op_type == "Conv")
    return [node.name for node in nodes[last + 1 :]]


def keep_facts(model: Path, out: Path) -> None:
    """Copy the float model's description to its twin, and say that it is INT8."""
    facts = {prop.key: prop.value for prop in onnx.load(str(model)).metadata_props}
    twin = onnx.load(str(out))
    del twin.metadata_props[:]
    onnx.helper.set_model_props(twin, {**facts, "precision": "INT8 weights and activations, QDQ"})
    onnx.save(twin, str(out))


def calibration_images(options: argparse.Namespace) -> list[Any]:
    """Every tenth frame of the training stretch, scaled to 1280 across, and the generated frames."""
    images: list[Image] = []
    for number, frame in enumerate(read_video(options.video, 0, options.end)):
        if number % 10 == 0:
            size = (1280, round(1280 * frame.shape[0] / frame.shape[1]))
            images.append(np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), dtype=np.uint8))
    for folder in options.generated:
        images += generated_scene(folder).frames[::25]
    return images


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Quantise a people detector to INT8.")
    parser.add_argument("--model", type=Path, required=True, help="float ONNX")
    parser.add_argument("--video", type=Path, required=True, help="video whose frames set the ranges")
    parser.add_argument("--end", type=int, default=200, help="use frames before this one (default 200)")
    parser.add_argument("--generated", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    return guarded(lambda: quantise(options.model, options.out, calibration_images(options)))


if __name__ == "__main__":
    raise SystemExit(main())
