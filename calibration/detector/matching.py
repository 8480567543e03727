"""How good a list of found boxes is against labelled ones: greedy matching, precision, recall, AP.  NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.detector.boxes import FloatArray, iou_matrix


@dataclass(frozen=True)
class Curve:
    """Precision and recall as the score threshold falls: one point for each found box, best score first."""

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    people: int
    """Labelled boxes."""

    def recall_at_precision(self, precision: float) -> tuple[float, float]:
        """Highest recall at which precision is still at least ``precision``, and the score threshold there.

        When no threshold reaches the precision the answer is recall 0 at threshold 1.
        """
        good = np.flatnonzero(self.precision >= precision)
        if good.size == 0:
            return 0.0, 1.0
        return float(self.recall[good[-1]]), float(self.scores[good[-1]])

    def average_precision(self) -> float:
        """Area under the curve, precision made to fall (all points, as in PASCAL VOC 2010 and later)."""
        if self.scores.size == 0:
            return 0.0
        envelope = np.maximum.accumulate(self.precision[::-1])[::-1]
        return float(np.sum(np.diff(self.recall, prepend=0.0) * envelope))


def match_frame(boxes: FloatArray, scores: FloatArray, truth: FloatArray, least_iou: float) -> NDArray[np.bool_]:
    """Which found boxes are right: best score first, each takes the free label it overlaps most, if enough."""
    right = np.zeros(len(boxes), dtype=np.bool_)
    if len(truth) == 0 or len(boxes) == 0:
        return right
    overlap = iou_matrix(boxes, truth).astype(np.float64)
    for rank in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable"):
        best = int(overlap[rank].argmax())
        if overlap[rank, best] >= least_iou:
            right[rank] = True
            overlap[:, best] = -1.0
    return right


def score_frames(
    found: Sequence[tuple[FloatArray, FloatArray]], truth: Sequence[FloatArray], least_iou: float = 0.5
) -> Curve:
    """Score found boxes against labels, frame by frame.

    ``found`` holds (boxes (n, 4), scores (n,)) of each frame, ``truth`` the labels (m, 4) of the same frames.
    """
    if len(found) != len(truth):
        raise ValueError(f"{len(found)} frames found, {len(truth)} labelled")
    right = [match_frame(b, s, t, least_iou) for (b, s), t in zip(found, truth, strict=True)]
    hits = np.concatenate([np.zeros(0, dtype=np.bool_), *right])
    scores = np.concatenate([np.zeros(0), *(np.asarray(s, dtype=np.float64) for _, s in found)])
    order = np.argsort(-scores, kind="stable")
    total = sum(len(boxes) for boxes in truth)
    true_so_far = np.cumsum(hits[order])
    return Curve(
        scores=scores[order],
        precision=true_so_far / np.arange(1, order.size + 1),
        recall=true_so_far / max(total, 1),
        people=total,
    )


def summary(curve: Curve, precision: float = 0.85) -> dict[str, Any]:
    """The figures of the bar, and every twentieth of the curve."""
    recall, threshold = curve.recall_at_precision(precision)
    steps = np.linspace(0, curve.scores.size - 1, 21).astype(int) if curve.scores.size else np.zeros(0, int)
    return {
        "people": curve.people,
        "precision": precision,
        "recall_at_precision": round(recall, 4),
        "score_threshold": round(threshold, 4),
        "ap50": round(curve.average_precision(), 4),
        "curve": [
            {
                "score": round(float(curve.scores[i]), 4),
                "precision": round(float(curve.precision[i]), 4),
                "recall": round(float(curve.recall[i]), 4),
            }
            for i in steps
        ],
    }
