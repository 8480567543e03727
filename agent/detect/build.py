"""From a model file to a detector, with the defaults of the command line and the agent."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from agent.detect.detector import Detector
from agent.detect.onnx_engine import OnnxEngine
from agent.detect.thresholds import IOU_THRESHOLD, SCORE_THRESHOLD

DEFAULT_MODEL: Final = Path(__file__).resolve().parent / "models" / "touchline_people.onnx"


def open_detector(
    model: Path | None = None,
    *,
    threads: int = 0,
    spin: bool = False,
    score_threshold: float = SCORE_THRESHOLD,
    iou_threshold: float = IOU_THRESHOLD,
    classes: Collection[int] | None = None,
    allow_large: bool = False,
) -> Detector:
    """Load ``model`` (None = the project's own people detector) in ONNX Runtime and return its detector.

    Raises InputError (file missing or corrupt), ConfigError (layout, thresholds, size). Wrap the result in
    :class:`agent.detect.tiles.TiledDetector` for frames at their own resolution.
    """
    engine = OnnxEngine(model or DEFAULT_MODEL, threads=threads, spin=spin, allow_large=allow_large)
    engine.load()
    return Detector(engine, score_threshold=score_threshold, iou_threshold=iou_threshold, classes=classes)
