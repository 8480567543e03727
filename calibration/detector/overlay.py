"""A picture to look at: what a model finds in generated frames, four to a sheet.

``python -m calibration.detector.overlay --model m.onnx --generated DIR --out sheet.png``.  Generated frames only:
pictures of a real match stay out of the project.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from calibration.detector.boxes import iou_matrix
from calibration.detector.dataset import Boxes, Image, generated_scene
from calibration.detector.evaluate import Found, Model
from touchline.errors import InputError
from touchline.shell import guarded

FOUND, MISSED = (255, 210, 0), (255, 40, 40)
SHEET_FRAMES = 4


def draw(image: Image, found: Found, truth: Boxes, threshold: float) -> Image:
    """Found people in yellow with their scores; labelled people whom nothing found in red."""
    sheet = image.copy()
    boxes, scores = found
    for box, score in zip(boxes, scores, strict=True):
        if score >= threshold:
            _frame(sheet, box, FOUND)
            place = (int(box[0]), int(box[1]) - 3)
            cv2.putText(sheet, f"{score:.2f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.35, FOUND, 1, cv2.LINE_AA)
    shown = boxes[scores >= threshold]
    for person in truth:
        if not len(shown) or iou_matrix(person[None], shown).max() < 0.5:
            _frame(sheet, person, MISSED)
    return sheet


def _frame(sheet: Image, box: Boxes, colour: tuple[int, int, int]) -> None:
    x1, y1, x2, y2 = (int(value) for value in np.round(box))
    cv2.rectangle(sheet, (x1, y1), (x2, y2), colour, 1)


def sheet_of(options: argparse.Namespace) -> None:
    """Draw what the model finds in some of the frames, as one PNG."""
    model, scene = Model(options.model), generated_scene(options.generated)
    if len(scene.frames) < SHEET_FRAMES:
        raise InputError(f"{options.generated}: fewer than {SHEET_FRAMES} frames", hint="generate more")
    picks = np.linspace(0, len(scene.frames) - 1, SHEET_FRAMES).astype(int)
    drawn = [draw(scene.frames[i], model.find(scene.frames[i]), scene.boxes[i], options.threshold) for i in picks]
    sheet = np.vstack([np.hstack(drawn[:2]), np.hstack(drawn[2:])])
    half = (sheet.shape[1] // 2, sheet.shape[0] // 2)
    sheet = np.asarray(cv2.resize(sheet, half, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(options.out), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draw what a model finds in generated frames.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--generated", type=Path, required=True, metavar="DIR", help="frames with boxes.csv")
    parser.add_argument("--threshold", type=float, default=0.3, help="least score drawn (default 0.3)")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    options = parser.parse_args(argv)
    return guarded(lambda: sheet_of(options))


if __name__ == "__main__":
    raise SystemExit(main())
