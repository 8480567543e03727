"""The work behind ``touchline detect``: open the source, find people in every frame, write boxes and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agent.detect.build import DEFAULT_MODEL, open_detector
from agent.detect.detector import FrameDetector
from agent.detect.output import BoxTable, OverlayVideo, draw, replacing, write_picture
from agent.detect.source import PICTURE_SUFFIXES, FrameRange, PictureSource, Source, VideoSource, is_picture
from agent.detect.tiles import TiledDetector
from agent.detect.types import Detections
from touchline.stats import Window
from touchline.timeline import monotonic_ns

_OVERLAY_SUFFIXES = frozenset({".mp4"}) | PICTURE_SUFFIXES


@dataclass(frozen=True)
class Order:
    """What was asked for on the command line. ``wanted``: first and last frame, both included."""

    source: tuple[Path, ...]
    wanted: tuple[int, int | None] | None
    model: Path | None
    tiles: bool
    score: float
    overlap: float
    classes: list[int] | None
    threads: int
    allow_large: bool
    out: Path
    overlay: Path | None


@dataclass
class Totals:
    """What a run added up to."""

    frames: int = 0
    detections: int = 0
    elapsed_s: float = 0.0
    stages: dict[str, Window] = field(
        default_factory=lambda: {name: Window() for name in ("letterbox", "infer", "decode")}
    )

    def add(self, found: Detections, detector: FrameDetector) -> None:
        """Count one frame."""
        self.frames += 1
        self.detections += len(found)
        times = detector.timings
        for name, value in zip(self.stages, (times.letterbox_ms, times.infer_ms, times.decode_ms), strict=True):
            self.stages[name].add(value)


def look(order: Order) -> tuple[dict[str, Any], str, list[str]]:
    """Carry out an order; the result as a document, as text, and what the decoder complained of."""
    frames = _open_source(order.source, FrameRange(*order.wanted) if order.wanted else None, order.overlay)
    whole = open_detector(
        order.model,
        threads=order.threads,
        score_threshold=order.score,
        iou_threshold=order.overlap,
        classes=order.classes,
        allow_large=order.allow_large,
    )
    detector: FrameDetector = TiledDetector(whole) if order.tiles else whole
    totals = _run(frames, detector, order.out, order.overlay)
    result = _summary(totals, frames, detector) | {
        "model": str(order.model or DEFAULT_MODEL),
        "out": str(order.out),
        "overlay": str(order.overlay) if order.overlay else None,
    }
    return result, _human(result), list(frames.warnings()[:5])


def _open_source(paths: tuple[Path, ...], wanted: FrameRange | None, overlay: Path | None) -> Source:
    """Choose video or pictures, and refuse what does not go together before anything is loaded."""
    if overlay is not None and overlay.suffix.lower() not in _OVERLAY_SUFFIXES:
        raise click.UsageError(f"--overlay {overlay}: the name must end in .mp4 or .png")
    if not any(is_picture(path) for path in paths):
        if len(paths) > 1:
            raise click.UsageError("give one video, or pictures")
        return VideoSource(paths[0], wanted or FrameRange())
    if not all(is_picture(path) for path in paths):
        raise click.UsageError("give one video, or pictures, not both")
    if wanted is not None:
        raise click.UsageError("--frames is for videos")
    if overlay is not None and overlay.suffix.lower() == ".mp4":
        raise click.UsageError("--overlay for pictures: the name must end in .png (it shows the first)")
    return PictureSource(paths)


def _run(frames: Source, detector: FrameDetector, out: Path, overlay: Path | None) -> Totals:
    """Detect in every frame; the files appear when all went well."""
    totals = Totals()
    start_ns = monotonic_ns()
    with ExitStack() as files:
        table = BoxTable(files.enter_context(files.enter_context(replacing(out)).open("w", encoding="ascii")))
        film: OverlayVideo | None = None
        draft = files.enter_context(replacing(overlay)) if overlay and overlay.suffix.lower() == ".mp4" else None
        for number, image in _with_progress(frames):
            found = detector.detect(image)
            table.add(number, found)
            totals.add(found, detector)
            if draft is not None:
                size = (image.shape[1], image.shape[0])
                film = film or files.enter_context(OverlayVideo(draft, size, frames.rate_hz or 25.0))
                film.add(draw(image, found, detector.info.classes))
            elif overlay is not None and totals.frames == 1:
                write_picture(overlay, draw(image, found, detector.info.classes))
    totals.elapsed_s = (monotonic_ns() - start_ns) / 1e9
    return totals


def _with_progress(frames: Source) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the frames, with a bar on standard error when a person is watching."""
    console = Console(stderr=True)
    columns = (TextColumn("detect"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("detect", total=frames.count)
        for item in frames.frames():
            yield item
            bar.advance(task)


def _summary(totals: Totals, frames: Source, detector: FrameDetector) -> dict[str, Any]:
    info = detector.info
    stages = {name: window.summary() for name, window in totals.stages.items()}
    return {
        "frames": totals.frames,
        "detections": totals.detections,
        "frames_per_s": round(totals.frames / totals.elapsed_s, 2) if totals.elapsed_s else None,
        "stages_ms": {
            name: {"p50": round(found.p50, 3), "p99": round(found.p99, 3)}
            for name, found in stages.items()
            if found is not None
        },
        "non_finite": detector.non_finite,
        "engine": {
            "name": info.name,
            "provider": info.provider,
            "model_bytes": info.model_bytes,
            "input_size_px": list(info.input_size_px),
            "load_ms": round(info.load_ms, 1),
        },
        "tiled": isinstance(detector, TiledDetector),
        "decoder_warnings": len(frames.warnings()),
    }


def _human(result: dict[str, Any]) -> str:
    per_frame = result["detections"] / result["frames"] if result["frames"] else 0.0
    stages = ", ".join(f"{name} {value['p50']:.1f}" for name, value in result["stages_ms"].items())
    engine = result["engine"]
    lines = [
        f"{result['frames']} frames, {result['detections']} detections ({per_frame:.1f} per frame), "
        f"{result['frames_per_s'] or 0:.1f} frames/s with decoding",
        f"per frame, p50 ms: {stages}; {engine['name']}, {engine['input_size_px'][0]}x{engine['input_size_px'][1]}, "
        f"loaded in {engine['load_ms']:.0f} ms",
        f"boxes: {result['out']}" + (f"; overlay: {result['overlay']}" if result["overlay"] else ""),
    ]
    if result["non_finite"]:
        lines.append(f"{result['non_finite']} candidates were not finite numbers and were dropped: check the model")
    return "\n".join(lines)
