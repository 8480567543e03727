"""The outcome of a calibration as text for a person and as plain values for ``--json``."""

from __future__ import annotations

from typing import Any

from calibration.board import BoardResult
from calibration.calibrate import Outcome
from calibration.camera_model import CameraCalibration, Landmark, LandmarkState
from calibration.cells import Cell, cells


def to_values(outcome: Outcome, board: BoardResult | None, out: str) -> dict[str, Any]:
    """Everything measured, as plain JSON values."""
    calibration = outcome.calibration
    position = calibration.position_m
    return {
        "out": out,
        "quality": dict(vars(calibration.quality)) if calibration.quality else None,
        "crown_m": calibration.crown_m,
        "crown_sigma_m": outcome.fit.crown_sigma_m,
        "camera": {"x_m": position[0], "y_m": position[1], "height_m": position[2]},
        "handedness": calibration.handedness.value,
        "rejected": [vars(finding) for finding in outcome.findings],
        "landmarks": [
            {"label": mark.label, "state": mark.state.value, "error_m": mark.error_m, "error_px": mark.error_px}
            for mark in calibration.landmarks
        ],
        "cells": [vars(cell) for cell in cells(calibration)],
        "board": _board_values(board),
    }


def _board_values(board: BoardResult | None) -> dict[str, Any] | None:
    if board is None:
        return None
    return {
        "rms_px": board.rms_px,
        "covered_width": board.covered[0],
        "covered_height": board.covered[1],
        "stills": [vars(still) for still in board.stills],
    }


def to_text(outcome: Outcome, board: BoardResult | None, out: str) -> str:
    """The report that a person reads."""
    parts = [_table(outcome.calibration), *_board_text(board), *_rejected_text(outcome), _summary(outcome, out)]
    return "\n\n".join(part for part in parts if part)


def _table(calibration: CameraCalibration) -> str:
    rows = [f"{'landmark':<18}{'error m':>9}{'error px':>10}  "]
    order = sorted(calibration.landmarks, key=lambda mark: (mark.state.value, -(mark.error_m or 0.0)))
    rows += [_row(mark) for mark in order]
    return "\n".join(rows)


def _row(mark: Landmark) -> str:
    metres = "-" if mark.error_m is None else f"{mark.error_m:.2f}"
    pixels = "-" if mark.error_px is None else f"{mark.error_px:.1f}"
    state = "" if mark.state is LandmarkState.USED else f"REJECTED  {mark.reason}"
    return f"{mark.label:<18}{metres:>9}{pixels:>10}  {state}".rstrip()


def _board_text(board: BoardResult | None) -> list[str]:
    if board is None:
        return []
    used = [still for still in board.stills if not still.reason]
    text = (
        f"Board: {len(used)} of {len(board.stills)} stills, {board.rms_px:.2f} px RMS, spanning "
        f"{board.covered[0]:.0%} of the width and {board.covered[1]:.0%} of the height"
    )
    dropped = [f"  dropped {still.name}: {still.reason}" for still in board.stills if still.reason]
    return ["\n".join([text, *dropped])]


def _rejected_text(outcome: Outcome) -> list[str]:
    options = [f'--relabel "{finding.label}={finding.likely}"' for finding in outcome.findings if finding.likely]
    if not options:
        return []
    return ["If these labels are wrong, run again with:\n  " + " ".join(options)]


def _summary(outcome: Outcome, out: str) -> str:
    calibration, quality = outcome.calibration, outcome.calibration.quality
    assert quality is not None
    x, y, height = calibration.position_m
    grass = "flat grass"
    if calibration.crown_m:
        sigma = f" +- {outcome.fit.crown_sigma_m:.2f}" if outcome.fit.crown_sigma_m else " (given)"
        grass = f"grass with a crown of {calibration.crown_m:.2f}{sigma} m"
    verdict = "holds" if quality.gate_holds else f"MISSED by {quality.rms_m - quality.gate_m:.2f} m"
    return "\n".join(
        (
            f"Ground error   {quality.rms_m:.3f} m RMS, {quality.max_m:.2f} m max over {quality.used} landmarks, "
            f"{quality.rejected} rejected",
            f"Image error    {quality.rms_px:.1f} px RMS, {quality.max_px:.1f} px max",
            f"Condition      {quality.condition:.0f} (scaled Jacobian; refused above 1e7)",
            f"Camera         x {x:.1f}  y {y:.1f}  height {height:.2f} m, {grass}",
            f"Certainty      {_certainty(calibration)}",
            f"Gate POS-1     {quality.gate_m:.2f} m RMS: {verdict}",
            f"Written        {out}",
        )
    )


def _certainty(calibration: CameraCalibration) -> str:
    seen: list[Cell] = [cell for cell in cells(calibration) if cell.sigma_m is not None]
    if not seen:
        return "no part of the pitch is in view"
    ordered = sorted(seen, key=lambda cell: cell.sigma_m or 0.0)
    middle, worst = ordered[len(ordered) // 2], ordered[-1]
    return (
        f"1-sigma of the calibration per cell: median {middle.sigma_m:.2f} m, worst {worst.sigma_m:.2f} m "
        f"at ({worst.x_m:.0f},{worst.y_m:.0f}); a 1 px error adds up to {worst.sigma_1px_m:.2f} m there"
    )
