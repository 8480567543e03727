"""A walking, running figure as joints in metres: pure geometry, all people at once.

Segment lengths are fractions of the body height (Winter, Biomechanics and Motor Control of Human Movement).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.venue.players import VenueState

Array = NDArray[np.float64]

HEAD, NECK, CHEST, PELVIS = 0, 1, 2, 3
SHOULDER, ELBOW, HAND = (4, 5), (6, 7), (8, 9)
HIP, KNEE, ANKLE, TOE = (10, 11), (12, 13), (14, 15), (16, 17)
JOINTS = 18
"""Joint rows; pairs are (left, right)."""

_THIGH, _SHIN, _ANKLE_HEIGHT, _FOOT = 0.245, 0.246, 0.039, 0.10
_TRUNK, _UPPER_ARM, _FOREARM = 0.288, 0.186, 0.17
_HIP_WIDTH, _SHOULDER_WIDTH = 0.058, 0.106


def joints(state: VenueState) -> Array:
    """(n, 18, 3) joint positions x, y, up in metres; the lowest ankle stands on the grass."""
    speed = np.linalg.norm(state.v_mps, axis=1)
    local = _local_joints(state.stride_rad, speed) * state.height_m[:, None, None]
    local[:, :, 2] += (_ANKLE_HEIGHT * state.height_m - local[:, ANKLE, 2].min(axis=1))[:, None]
    forward = state.facing
    world = np.empty_like(local)
    world[:, :, 0] = state.xy_m[:, :1] + local[:, :, 0] * forward[:, :1] - local[:, :, 1] * forward[:, 1:]
    world[:, :, 1] = state.xy_m[:, 1:] + local[:, :, 0] * forward[:, 1:] + local[:, :, 1] * forward[:, :1]
    world[:, :, 2] = local[:, :, 2]
    return world


def _local_joints(stride_rad: Array, speed_mps: Array) -> Array:
    """(n, 18, 3) forward, leftward, up, in body heights, hips at a fixed height."""
    found = np.zeros((len(stride_rad), JOINTS, 3))
    hip_up = _THIGH + _SHIN + _ANKLE_HEIGHT
    lean = np.minimum(0.03 + 0.03 * speed_mps, 0.25)
    found[:, PELVIS, 2] = hip_up
    for row, length in ((CHEST, _TRUNK * 0.75), (NECK, _TRUNK), (HEAD, _TRUNK + 0.095)):
        found[:, row, 0], found[:, row, 2] = np.sin(lean) * length, hip_up + np.cos(lean) * length
    for side, sign in enumerate((1.0, -1.0)):
        found[:, HIP[side], 1], found[:, HIP[side], 2] = sign * _HIP_WIDTH, hip_up
        _leg(found, side, stride_rad + np.pi * side, speed_mps)
        _arm(found, side, sign, stride_rad + np.pi * (1 - side), speed_mps)
    return found


def _leg(found: Array, side: int, phase: Array, speed_mps: Array) -> None:
    """Swing from the hip, knee bent while the leg comes forward."""
    swing = np.minimum(0.05 + 0.14 * speed_mps, 0.75) * np.sin(phase) + 0.02 * speed_mps
    flex = 0.08 + np.minimum(0.15 + 0.24 * speed_mps, 1.6) * np.maximum(np.cos(phase), 0.0) ** 2
    flex *= np.minimum(speed_mps / 0.5, 1.0)
    _hang(found, HIP[side], KNEE[side], swing, _THIGH)
    _hang(found, KNEE[side], ANKLE[side], swing - flex, _SHIN)
    pitch = swing - flex + np.pi / 2 - 0.15
    _hang(found, ANKLE[side], TOE[side], pitch, _FOOT)
    found[:, TOE[side], 2] = np.maximum(found[:, TOE[side], 2], found[:, ANKLE[side], 2] - 0.02)


def _arm(found: Array, side: int, sign: float, phase: Array, speed_mps: Array) -> None:
    """Arms swing against the legs and bend with speed."""
    swing = np.minimum(0.08 + 0.11 * speed_mps, 0.7) * np.sin(phase)
    bend = np.minimum(0.15 + 0.22 * speed_mps, 1.5)
    found[:, SHOULDER[side]] = found[:, CHEST] * 0.15 + found[:, NECK] * 0.85
    found[:, SHOULDER[side], 1] = sign * _SHOULDER_WIDTH
    _hang(found, SHOULDER[side], ELBOW[side], swing, _UPPER_ARM)
    _hang(found, ELBOW[side], HAND[side], swing + bend, _FOREARM)
    found[:, ELBOW[side], 1] += sign * 0.03
    found[:, HAND[side], 1] += sign * 0.03


def _hang(found: Array, start: int, end: int, angle: Array, length: float) -> None:
    """Place ``end`` at ``length`` below ``start``, swung forward by ``angle``."""
    found[:, end, 0] = found[:, start, 0] + np.sin(angle) * length
    found[:, end, 1] = found[:, start, 1]
    found[:, end, 2] = found[:, start, 2] - np.cos(angle) * length
