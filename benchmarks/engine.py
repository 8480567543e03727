"""The detector's engine at 1280x720 on two cores: ONNX Runtime beside OpenCV's DNN module on the same model.

    python -m benchmarks.engine --json engine.json

Both get the same tensor in turns, so that a busy machine slows both. The bar is 25 frames/s of the engine.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.detect.build import DEFAULT_MODEL, open_detector
from benchmarks.common import Row, report
from touchline.stats import Window, percentile
from touchline.timeline import monotonic_ns

BAR_FRAMES_PER_S = 25.0
CORES = 2


def picture() -> NDArray[np.uint8]:
    """A 1280x720 pitch with 25 upright blobs: the cost does not depend on it, the decoder's does."""
    rng = np.random.default_rng(7)
    image = np.full((720, 1280, 3), (40, 110, 40), np.uint8)
    image += rng.integers(0, 20, image.shape, np.uint8)
    for x, y in zip(rng.integers(40, 1200, 25), rng.integers(150, 620, 25), strict=True):
        cv2.rectangle(image, (int(x), int(y)), (int(x) + 16, int(y) + 44), (220, 40, 40), -1)
    return image


def timed_ms(call: Callable[[], object]) -> float:
    """Duration of one call."""
    start_ns = monotonic_ns()
    call()
    return (monotonic_ns() - start_ns) / 1e6


def median(values: list[float]) -> float:
    """Nearest-rank median."""
    return percentile(sorted(values), 0.5)


def opencv(model: Path, tensor: NDArray[np.float32], threads: int) -> Callable[[], object]:
    """The same model in OpenCV's DNN module."""
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(str(model))

    def infer() -> object:
        net.setInput(tensor)
        return net.forward()

    return infer


def measure(model: Path, rounds: int, threads: int) -> list[Row]:
    """All rows: engine beside peer, then the other stages."""
    detector = open_detector(model, threads=threads)
    image = picture()
    detector.place(image)
    tensor = detector.letterbox((1280, 720)).tensor
    peer = opencv(model, tensor.copy(), threads)
    ours_ms: list[float] = []
    peer_ms: list[float] = []
    letterbox, decode = Window(), Window()
    for turn in range(rounds + 3):
        detector.detect(image)
        spent_ms = timed_ms(peer)
        if turn < 3:  # warm caches and clocks
            continue
        ours_ms.append(detector.timings.infer_ms)
        peer_ms.append(spent_ms)
        letterbox.add(detector.timings.letterbox_ms)
        decode.add(detector.timings.decode_ms)
    ours, theirs = 1000 / median(ours_ms), 1000 / median(peer_ms)
    name = f"OpenCV {cv2.__version__} dnn"
    speed = f"engine at 1280x720, {threads} threads"
    rows = [Row(speed, ours, theirs, name, "frames/s", ours / theirs, "ours >= 25", ours >= BAR_FRAMES_PER_S)]
    load_ms = detector.info.load_ms
    rows.append(Row("model load to first result", load_ms, None, "INF-5", "ms", None, "<= 400", load_ms <= 400))
    for what, window, bar_ms in (("letterbox 1280x720", letterbox, 3.0), ("decode and suppress", decode, None)):
        found = window.summary()
        assert found is not None
        bar, holds = ("-", None) if bar_ms is None else (f"<= {bar_ms:g}", found.p50 <= bar_ms)
        rows.append(Row(what, found.p50, None, "-", "ms", None, bar, holds))
    return rows


def main() -> int:
    """Run on two cores, print, write, and return 8 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    return 0 if report(measure(options.model, options.rounds, len(cores)), options.json) else 8


if __name__ == "__main__":
    sys.exit(main())
