"""How far published records are from the truth. Pure: records, venue and cameras in, figures out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from calibration.camera_model import CameraCalibration
from hil.venue.players import Venue, VenueState

Array = NDArray[np.float64]

_FAR_M = 1e6


@dataclass(frozen=True, slots=True)
class PositionError:
    """Agreement of records with the truth at their own exposure times.

    ``rms_m`` and ``p95_m`` over matched records (nan when none matched); ``velocity_rms_mps`` over the same;
    ``matched_share`` is matched / records; ``found_share`` is the share of the people in view that have a record, nan
    when no camera is given.
    """

    records: int
    matched: int
    rms_m: float
    p95_m: float
    velocity_rms_mps: float
    matched_share: float
    found_share: float

    def as_dict(self) -> dict[str, float]:
        """The error as the demo's report has it, metres."""
        return {"rms": self.rms_m, "p95": self.p95_m}


def position_error(
    records: NDArray[np.void],
    venue: Venue,
    cameras: Mapping[int, CameraCalibration] | None = None,
    gate_m: float = 2.0,
) -> PositionError:
    """Match each camera frame's records one-to-one to the people present at its exposure.

    Args:
        records: (n,) of ``touchline.record.RECORD``.
        venue: the truth.
        cameras: calibration by camera number; people outside its picture are not expected (``found_share``).
        gate_m: records farther than this from everybody stay unmatched and do not enter the errors.
    """
    gaps, velocity_gaps, expected, found = [], [], 0, 0
    for frame in _frames(records):
        state = venue.state_at(int(frame["ptp_ns"][0]))
        found_m = np.stack([frame["x_m"], frame["y_m"]], axis=1)
        rows, people = match(found_m, state.xy_m, gate_m)
        gaps.append(np.linalg.norm(found_m[rows] - state.xy_m[people], axis=1))
        speeds = np.stack([frame["vx_mps"], frame["vy_mps"]], axis=1)[rows]
        velocity_gaps.append(np.linalg.norm(speeds - state.v_mps[people], axis=1))
        camera = (cameras or {}).get(int(frame["camera"][0]))
        if camera is not None:
            visible = in_view(camera, state)
            expected += int(visible.sum())
            found += int(visible[people].sum())
    gap = np.concatenate(gaps) if gaps else np.empty(0)
    velocity_gap = np.concatenate(velocity_gaps) if velocity_gaps else np.empty(0)
    return PositionError(
        records=len(records),
        matched=len(gap),
        rms_m=_rms(gap),
        p95_m=float(np.percentile(gap, 95)) if len(gap) else float("nan"),
        velocity_rms_mps=_rms(velocity_gap),
        matched_share=len(gap) / len(records) if len(records) else float("nan"),
        found_share=found / expected if expected else float("nan"),
    )


def match(found_m: Array, truth_m: Array, gate_m: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """One-to-one pairs (rows of ``found_m``, rows of ``truth_m``) within the gate: the most pairs, then the nearest.

    Rows with values that are not finite stay alone.
    """
    apart = np.linalg.norm(found_m[:, None] - truth_m[None], axis=2)
    cost = np.where(apart <= gate_m, apart, _FAR_M)
    rows, people = linear_sum_assignment(cost)
    near = cost[rows, people] < _FAR_M
    return rows[near], people[near]


def in_view(camera: CameraCalibration, state: VenueState) -> NDArray[np.bool_]:
    """Who stands with feet and head in the picture, (n,)."""
    feet = np.column_stack([state.xy_m, np.zeros(len(state.xy_m))])
    heads = np.column_stack([state.xy_m, state.height_m])
    width, height = camera.image_size_px
    inside = np.ones(len(feet), dtype=bool)
    for points in (feet, heads):
        px = np.nan_to_num(camera.pixels_from_pitch(points), nan=-1.0)
        inside &= ((px >= 0) & (px < (width, height))).all(axis=1)
    return inside


def _frames(records: NDArray[np.void]) -> list[NDArray[np.void]]:
    """The records of each (camera, exposure time)."""
    if not len(records):
        return []
    order = np.lexsort((records["ptp_ns"], records["camera"]))
    ordered = records[order]
    starts = (np.diff(ordered["ptp_ns"].astype(np.int64)) != 0) | (np.diff(ordered["camera"].astype(np.int64)) != 0)
    return list(np.split(ordered, np.flatnonzero(starts) + 1))


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")
