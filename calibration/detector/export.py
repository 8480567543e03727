"""Write the trained network as ONNX in the YOLOv8 detection layout, with its description inside.

``python -m calibration.detector.export --checkpoint model.checkpoint.pt --out model.onnx``
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import onnx
import torch

from calibration.detector.network import ExportNet, PeopleNet, Shape
from touchline.timeline import utc_text

INPUT_SIZE_PX = (1280, 736)
"""Width and height: 1280x720 letterboxed to a multiple of 32 (INF-1)."""
OPSET = 17


def export_onnx(net: PeopleNet, path: Path, trained_on: str | None = None) -> None:
    """Write ``net`` to ``path``: input ``images`` (1, 3, 736, 1280), output ``output0`` (1, 5, A)."""
    width, height = INPUT_SIZE_PX
    net = net.float().eval().to(memory_format=torch.contiguous_format)
    whole = ExportNet(net, height, width).eval()
    partial = path.with_suffix(".part.onnx")
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            whole,
            (torch.zeros(1, 3, height, width),),
            str(partial),
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["output0"],
        )
    describe(partial, trained_on or utc_text()[:10])
    partial.replace(path)


def describe(path: Path, trained_on: str) -> None:
    """Put name, classes, size, date and licence into the file's metadata, and check the file."""
    model = onnx.load(str(path))
    facts = {
        "name": "touchline_people",
        "description": "People on a football pitch, YOLOv8 detection layout, one class",
        "classes": json.dumps(["person"]),
        "names": "{0: 'person'}",  # the form that YOLOv8's own exporter writes and readers look for
        "input_size_px": json.dumps(list(INPUT_SIZE_PX)),
        "input": "float32 RGB 0..1, letterboxed with grey 114",
        "output": "cx, cy, w, h in input pixels, score after the sigmoid",
        "training_date": trained_on,
        "licence": "Apache-2.0",
    }
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Export a training checkpoint to ONNX.")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--date", help="training date, YYYY-MM-DD (default today)")
    options = parser.parse_args(argv)
    net = PeopleNet(Shape())
    net.load_state_dict(torch.load(options.checkpoint, weights_only=True)["average"])
    export_onnx(net, options.out, options.date)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
