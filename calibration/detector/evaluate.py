"""Score a model, or a list of found boxes, on labelled frames: ``python -m calibration.detector.evaluate --help``.

Needs ONNX Runtime and OpenCV only.  The bar of the project: recall at least 0.83 at precision 0.85, IoU 0.5,
on frames 200..249 of the left camera scaled to 1280x720.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.detector.boxes import decode_yolov8, letterbox, suppress
from calibration.detector.dataset import (
    NO_BOXES,
    Boxes,
    Image,
    frame_span,
    generated_scene,
    read_boxes,
    read_scored,
    read_video,
)
from calibration.detector.matching import score_frames, summary
from touchline.errors import GateError, InputError
from touchline.ort import onnxruntime
from touchline.shell import guarded
from touchline.timeline import monotonic_ns

LOWEST_SCORE = 0.02
NMS_IOU = 0.41  # POS-5; the same as the agent's
Found = tuple[Boxes, NDArray[np.float32]]


class Model:
    """A YOLOv8-layout ONNX on the CPU.  ``took_s`` holds the engine's time of each image."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime raises types of its own, not exported, for every bad file
            raise InputError(f"{path}: not a model that can be loaded", hint=str(error)[:200]) from error
        entry = self.session.get_inputs()[0]
        self.name, (_, _, high, wide) = entry.name, entry.shape
        self.size_px = (int(wide), int(high))
        self.took_s: list[float] = []

    def find(self, image: Image, nms_iou: float = NMS_IOU) -> Found:
        """People in an RGB image (h, w, 3): boxes in its pixels and scores, best first."""
        placed, plan = letterbox(image, self.size_px)
        tensor = np.ascontiguousarray(placed.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)
        start_ns = monotonic_ns()
        output = self.session.run(None, {self.name: tensor})[0]
        self.took_s.append((monotonic_ns() - start_ns) / 1e9)
        raw = decode_yolov8(output, LOWEST_SCORE)
        kept, voted = suppress(raw.boxes, raw.scores, raw.classes, nms_iou)
        return plan.to_source(voted), raw.scores[kept]


def labelled_frames(options: argparse.Namespace) -> Iterator[tuple[Image, Boxes]]:
    """The pictures to score on, each with its labels in its own pixels."""
    if options.generated:
        scene = generated_scene(options.generated)
        yield from zip(scene.frames, scene.boxes, strict=True)
        return
    first, end = frame_span(options.frames)
    labels = read_boxes(options.boxes)
    for number, frame in enumerate(read_video(options.video, first, end), first):
        ratio = min(options.width / frame.shape[1], 1.0)
        size = (round(frame.shape[1] * ratio), round(frame.shape[0] * ratio))
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA) if ratio < 1 else frame
        yield np.asarray(small, dtype=np.uint8), labels.get(number, NO_BOXES) * np.float32(ratio)


def score_model(options: argparse.Namespace) -> dict[str, Any]:
    """Run the model over the labelled frames and score it."""
    model = Model(options.model, options.threads)
    found: list[Found] = []
    truth: list[Boxes] = []
    for image, labels in labelled_frames(options):
        found.append(model.find(image, options.nms_iou))
        truth.append(labels)
    result = summary(score_frames(found, truth, options.iou))
    took_ms = np.array(model.took_s[1:] or model.took_s) * 1e3
    result["engine_ms_p50"] = round(float(np.median(took_ms)), 2)
    result["engine_fps"] = round(1000 / float(np.median(took_ms)), 1)
    return {"frames": len(truth), **result}


def score_list(options: argparse.Namespace) -> dict[str, Any]:
    """Score a box list that some detector wrote, in the labels' own pixels."""
    first, end = frame_span(options.frames)
    labels, scored = read_boxes(options.boxes), read_scored(options.detections)
    nothing: Found = (NO_BOXES, np.zeros(0, np.float32))
    found = [scored.get(number, nothing) for number in range(first, end)]
    truth: Sequence[Boxes] = [labels.get(number, NO_BOXES) for number in range(first, end)]
    return {"frames": end - first, **summary(score_frames(found, truth, options.iou))}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description="Score a people detector on labelled frames.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, help="ONNX, YOLOv8 layout")
    what.add_argument("--detections", type=Path, help="boxes written by touchline detect, full-size pixels")
    parser.add_argument("--video", type=Path, help="labelled video")
    parser.add_argument("--boxes", type=Path, help="its labels: frame,x1,y1,x2,y2,score")
    parser.add_argument("--generated", type=Path, metavar="DIR", help="generated frames with boxes.csv instead")
    parser.add_argument("--frames", default="200:249", help="A:B, both included (default 200:249)")
    parser.add_argument("--width", type=int, default=1280, help="scale frames to this width first")
    parser.add_argument("--iou", type=float, default=0.5, help="least overlap of a right box")
    parser.add_argument("--nms-iou", type=float, default=NMS_IOU, help="overlap that suppresses")
    parser.add_argument("--threads", type=int, default=0, help="engine threads, 0 = all cores")
    parser.add_argument("--bar", type=float, help="least recall at precision 0.85: exit 8 when missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args(argv)
    if not options.generated and options.boxes is None:
        parser.error("--boxes is needed, or --generated")
    if options.model and not options.generated and options.video is None:
        parser.error("--model needs --video, or --generated")
    return options


def judge(options: argparse.Namespace) -> None:
    """Score, write the figures, hold them against the bar."""
    result = score_model(options) if options.model else score_list(options)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(json.dumps({k: v for k, v in result.items() if k != "curve"}) + "\n")
    if options.bar is not None and result["recall_at_precision"] < options.bar:
        raise GateError(
            f"recall {result['recall_at_precision']} is below the bar of {options.bar}",
            hint="train longer, or look at the curve with --json",
        )


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    return guarded(lambda: judge(options))


if __name__ == "__main__":
    raise SystemExit(main())
