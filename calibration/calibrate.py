"""Landmarks in, judged calibration out: checks, fit, blunders named, residuals in metres (POS-1). No files here."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.blunders import Evidence, Finding, explain
from calibration.board import BoardResult
from calibration.camera_model import CameraCalibration, Landmark, LandmarkState, Quality
from calibration.landmarks import LandmarkSet, check_on_pitch
from calibration.layout import check_layout, require_count
from calibration.solve import Fit, fit_camera
from touchline.errors import InputError

FloatArray = NDArray[np.float64]

GATE_M = 0.08
"""POS-1: RMS reprojection on the ground."""


@dataclass(frozen=True)
class Outcome:
    """The calibration, what is wrong with each rejected landmark, and the fit behind it."""

    calibration: CameraCalibration
    findings: tuple[Finding, ...]
    fit: Fit


def calibrate(
    landmarks: LandmarkSet,
    pitch_m: tuple[float, float],
    *,
    board: BoardResult | None = None,
    crown_m: float | None = None,
    camera: str = "",
) -> Outcome:
    """Calibrate one camera.

    ``board`` gives a lens prior; ``crown_m`` fixes the crown of the grass, None lets the landmarks decide.

    Raises:
        InputError: labels off the pitch, too few, collinear or clustered landmarks, or no camera that fits them.
    """
    check_on_pitch(landmarks, pitch_m)
    check_layout(landmarks, pitch_m)
    places = np.array([click.pitch_m for click in landmarks.clicks], dtype=np.float64)
    clicks = np.array([click.px for click in landmarks.clicks], dtype=np.float64)
    fit = fit_camera(places, clicks, landmarks.image_size_px, pitch_m, board=board, crown_m=crown_m)
    used = _without_duplicates(landmarks, fit)
    evidence = _evidence(landmarks, fit, used, places, clicks)
    findings = tuple(explain(evidence, int(index)) for index in np.flatnonzero(~used))
    _require_enough(landmarks, findings, int(used.sum()))
    error_m = np.hypot(*(evidence.landed_m - places).T)
    error_px = np.hypot(*(evidence.expected_px - clicks).T)
    quality = _quality(fit, error_m[used], error_px[used], len(findings))
    judged = _landmarks(landmarks, used, findings, error_px, error_m)
    return Outcome(replace(fit.calibration, camera=camera, quality=quality, landmarks=judged), findings, fit)


def _without_duplicates(landmarks: LandmarkSet, fit: Fit) -> NDArray[np.bool_]:
    """The used landmarks (n,), one click per label: the best fitting."""
    used = fit.used.copy()
    best: dict[tuple[float, float], int] = {}
    for index in np.argsort(fit.distance, kind="stable"):
        place = landmarks.clicks[index].pitch_m
        if used[index] and best.setdefault(place, int(index)) != index:
            used[index] = False
    return used


def _evidence(
    landmarks: LandmarkSet, fit: Fit, used: NDArray[np.bool_], places: FloatArray, clicks: FloatArray
) -> Evidence:
    camera = fit.calibration
    landed, covariance = camera.ground(clicks, fit.noise)
    sigma = np.sqrt(np.trace(covariance, axis1=1, axis2=2))
    expected = camera.pixels_from_pitch(places)
    sigma = np.nan_to_num(sigma, nan=0.0)
    return Evidence(landmarks.clicks, used, landed, sigma, expected, camera.pitch_m, landmarks.labels)


def _require_enough(landmarks: LandmarkSet, findings: tuple[Finding, ...], used: int) -> None:
    try:
        require_count(used, landmarks.source, "landmarks left after rejecting the wrong ones")
    except InputError as error:
        named = "; ".join(f"{finding.label}: {finding.reason}" for finding in findings[:8])
        raise InputError(f"{error.message}. Rejected: {named}", hint=error.hint) from error


def _quality(fit: Fit, error_m: FloatArray, error_px: FloatArray, rejected: int) -> Quality:
    rms_m = float(np.sqrt((error_m**2).mean()))
    return Quality(
        rms_m=rms_m,
        max_m=float(error_m.max()),
        rms_px=float(np.sqrt((error_px**2).mean())),
        max_px=float(error_px.max()),
        sigma_px=fit.noise,
        condition=fit.condition,
        used=len(error_m),
        rejected=rejected,
        gate_m=GATE_M,
        gate_holds=rms_m <= GATE_M,
        method=fit.method,
    )


def _landmarks(
    landmarks: LandmarkSet,
    used: NDArray[np.bool_],
    findings: tuple[Finding, ...],
    error_px: FloatArray,
    error_m: FloatArray,
) -> tuple[Landmark, ...]:
    reasons = iter(findings)
    return tuple(
        Landmark(
            click.label,
            click.pitch_m,
            click.px,
            LandmarkState.USED if kept else LandmarkState.REJECTED,
            _finite(px),
            _finite(metres),
            "" if kept else next(reasons).reason,
        )
        for click, kept, px, metres in zip(landmarks.clicks, used, error_px, error_m, strict=True)
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
