"""Why a rejected landmark is wrong, in words an annotator can act on: wrong label, swapped, duplicate, displaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.landmarks import Click
from calibration.marks import marks

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SAME_PIXEL_PX = 4.0
NEAR_M = 0.5
"""A click within this (or three of its own sigmas) of a mark is taken to be on that mark."""


@dataclass(frozen=True)
class Finding:
    """What is likely wrong with one landmark; ``likely`` is the label that its click fits, if one does."""

    label: str
    reason: str
    likely: str | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything known about the clicks after the fit; arrays have one row per click.

    ``landed_m`` (n, 2) is where each click meets the grass, ``sigma_m`` (n,) how sure that is, ``expected_px`` (n, 2)
    where each label should have been clicked; ``labels`` are the other places that the annotator could have meant.
    """

    clicks: Sequence[Click]
    used: BoolArray
    landed_m: FloatArray
    sigma_m: FloatArray
    expected_px: FloatArray
    pitch_m: tuple[float, float]
    labels: Sequence[tuple[float, float]] = ()


def explain(evidence: Evidence, index: int) -> Finding:
    """The likely reason why click ``index`` does not fit."""
    click = evidence.clicks[index]
    landed = evidence.landed_m[index]
    if not np.isfinite(landed).all():
        return Finding(click.label, "displaced click: it lies above the horizon")
    return (
        _duplicate(evidence, index)
        or _swapped(evidence, index)
        or _wrong_label(evidence, index)
        or Finding(click.label, f"displaced click: {_offset_text(evidence, index)}")
    )


def _offset_text(evidence: Evidence, index: int) -> str:
    offset = np.asarray(evidence.clicks[index].px) - evidence.expected_px[index]
    if not np.isfinite(offset).all():
        return "its mark is not in this image"
    across = f"{abs(offset[0]):.0f} px {'right' if offset[0] > 0 else 'left'}"
    return f"{across} and {abs(offset[1]):.0f} px {'below' if offset[1] > 0 else 'above'} its mark"


def _duplicate(evidence: Evidence, index: int) -> Finding | None:
    click = evidence.clicks[index]
    for other_index, other in enumerate(evidence.clicks):
        if other_index == index or not evidence.used[other_index]:
            continue
        apart = float(np.hypot(*np.subtract(other.px, click.px)))
        if other.label == click.label:
            where = "repeats it" if apart <= SAME_PIXEL_PX else f"is {_offset_text(evidence, index)}"
            return Finding(click.label, f"duplicate label: the other click fits, this one {where}")
        if apart <= SAME_PIXEL_PX:
            return Finding(click.label, f"duplicate click: the same pixel as {other.label}, which fits")
    return None


def _tolerance(evidence: Evidence, index: int) -> float:
    return max(NEAR_M, 3.0 * float(evidence.sigma_m[index]))


def _swapped(evidence: Evidence, index: int) -> Finding | None:
    click, landed = evidence.clicks[index], evidence.landed_m[index]
    for other_index, other in enumerate(evidence.clicks):
        if evidence.used[other_index]:
            continue
        if other_index == index or other.label == click.label:
            continue
        here = np.hypot(*(landed - other.pitch_m))
        there = np.hypot(*(evidence.landed_m[other_index] - click.pitch_m))
        if here <= _tolerance(evidence, index) and there <= _tolerance(evidence, other_index):
            return Finding(click.label, f"labels swapped with {other.label}", other.label)
    return None


def _wrong_label(evidence: Evidence, index: int) -> Finding | None:
    """The nearest painted mark, or else the nearest label in use, if the click fits it much better than its own."""
    click, landed = evidence.clicks[index], evidence.landed_m[index]
    error = float(np.hypot(*(landed - click.pitch_m)))
    limit = min(_tolerance(evidence, index), error / 2)
    others = {f"({x:.6g},{y:.6g})": (x, y) for x, y in evidence.labels}
    for named in (marks(evidence.pitch_m), others):
        if not named:
            continue
        places = np.array(list(named.values()))
        distance = np.hypot(*(places - landed).T)
        nearest = int(distance.argmin())
        if distance[nearest] <= limit:
            likely = f"({places[nearest][0]:.6g},{places[nearest][1]:.6g})"
            name = list(named)[nearest]
            which = "" if name == likely else f", {name}"
            reason = f"wrong label? the click is {distance[nearest]:.2f} m from {likely}{which}"
            return Finding(click.label, reason, likely)
    return None
