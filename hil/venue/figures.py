"""People as polygons: outline of everybody at once, then fills, far limbs before near ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.camera_model import CameraCalibration
from hil.venue import body
from hil.venue.kits import PARTS, Wardrobe
from hil.venue.players import OFFICIALS, VenueState

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

_SHIFT = 4
_ONE = 1 << _SHIFT
_EDGE_PX = 0.35
"""Anti-aliased fills reach about this far over their corners; widths are reduced by it."""

_FAR_PX = 9000.0
_SMALL_PX = 20.0
"""Figures below this height are drawn without feet, neck and number."""


class Limb(NamedTuple):
    """A capsule from joint ``start`` (share ``cut`` of the way to ``end``) to ``end``; half widths in body heights."""

    start: int
    end: int
    cut: float
    reach: float
    half_start: float
    half_end: float
    part: str


# Sides: 0 left, 1 right. Reach 1 ends at the joint.
def _leg(side: int) -> list[Limb]:
    hip, knee, ankle, toe = body.HIP[side], body.KNEE[side], body.ANKLE[side], body.TOE[side]
    return [
        Limb(hip, knee, 0.3, 1.0, 0.040, 0.030, "skin"),
        Limb(knee, ankle, 0.0, 1.0, 0.027, 0.019, "socks"),
        Limb(ankle, toe, -0.15, 1.0, 0.022, 0.014, "boots"),
        Limb(hip, knee, -0.1, 0.66, 0.052, 0.049, "shorts"),
    ]


def _arm(side: int) -> list[Limb]:
    shoulder, elbow, hand = body.SHOULDER[side], body.ELBOW[side], body.HAND[side]
    return [
        Limb(shoulder, elbow, 0.5, 1.0, 0.020, 0.017, "skin"),
        Limb(elbow, hand, 0.0, 1.1, 0.018, 0.014, "skin"),
        Limb(shoulder, elbow, -0.05, 0.68, 0.028, 0.026, "shirt"),
    ]


_TRUNK = [
    Limb(body.PELVIS, body.CHEST, -0.25, 0.2, 0.078, 0.074, "shorts"),
    Limb(body.PELVIS, body.NECK, 0.10, 0.97, 0.075, 0.098, "shirt"),
    Limb(body.NECK, body.HEAD, -0.1, 0.6, 0.026, 0.026, "skin"),
]
LIMBS = [*_leg(0), *_leg(1), *_arm(0), *_arm(1), *_TRUNK]
_LEGS, _ARMS, _TRUNK_ROWS = ((0, 4), (4, 8)), ((8, 11), (11, 14)), (14, 15, 16)
_NECK = 16
_DETAILS = frozenset({2, 6, _NECK})
_STARTS = np.array([limb.start for limb in LIMBS])
_ENDS = np.array([limb.end for limb in LIMBS])
_CUTS = np.array([limb.cut for limb in LIMBS])[None, :, None]
_REACHES = np.array([limb.reach for limb in LIMBS])[None, :, None]
_HALVES = np.array([[limb.half_start, limb.half_end] for limb in LIMBS])
_HEAD_ANGLES = np.linspace(0, 2 * np.pi, 12, endpoint=False)
_HEAD = np.stack([np.cos(_HEAD_ANGLES) * 0.050, np.sin(_HEAD_ANGLES) * 0.066], axis=1)


@dataclass(frozen=True, slots=True)
class Outline:
    """Polygons of everybody in sixteenths of a pixel, ready to fill.

    ``limbs`` (n, L, 6, 2), ``heads`` (n, 12, 2), ``numbers`` (n, 4, 2) int32; ``boxes`` (n, 4) and ``shadows``
    (n, 8, 2) in pixels; ``near_left`` whether the left side is nearer, ``back`` and ``numbered`` what is turned
    to the camera; ``order`` rows in view, farthest first.
    """

    limbs: NDArray[np.int32]
    heads: NDArray[np.int32]
    numbers: NDArray[np.int32]
    shadows: Array
    boxes: Array
    tall_px: Array
    near_left: NDArray[np.bool_]
    back: NDArray[np.bool_]
    numbered: NDArray[np.bool_]
    order: NDArray[np.intp]
    ids: NDArray[np.int64]
    soft: bool


def outline(
    camera: CameraCalibration, joints_m: Array, state: VenueState, build: Array, sun: tuple[float, float]
) -> Outline:
    """Project everybody's joints (n, 18, 3) and widen them to polygons; people outside the picture leave ``order``."""
    people = len(joints_m)
    ground = _shadow_points(joints_m, state, sun)
    together = np.concatenate([joints_m, ground], axis=1)
    px = camera.pixels_from_pitch(together.reshape(-1, 3)).reshape(people, -1, 2)
    seen = np.asarray(np.isfinite(px).all(axis=(1, 2)))
    px = np.clip(np.nan_to_num(px, nan=-_FAR_PX), -_FAR_PX, _FAR_PX)
    j, shadows = px[:, : body.JOINTS], px[:, body.JOINTS :]
    to_camera = camera.position_m - joints_m[:, body.PELVIS]
    distance = np.linalg.norm(to_camera, axis=1)
    unit = camera.camera_matrix[0, 0] / distance * state.height_m
    facing_camera = (state.facing * to_camera[:, :2]).sum(axis=1) / np.linalg.norm(to_camera[:, :2], axis=1)
    limbs = _limb_polygons(j, unit * build, np.sqrt(1 - np.clip(facing_camera**2, 0, 1)))
    heads = j[:, body.HEAD, None] + _HEAD * np.maximum(unit[:, None, None] - _EDGE_PX, 3)
    everything = np.concatenate([limbs.reshape(people, -1, 2), heads], axis=1)
    low, high = everything.min(axis=1) - 0.4, everything.max(axis=1) + 0.4
    width, height = camera.image_size_px
    inside = seen & (high > 0).all(axis=1) & (low < (width, height)).all(axis=1)
    order = np.argsort(-distance)
    left = np.stack([-state.facing[:, 1], state.facing[:, 0]], axis=1)
    return Outline(
        limbs=_fixed(limbs),
        heads=_fixed(heads),
        numbers=_fixed(_number(j, unit)),
        shadows=shadows,
        boxes=np.concatenate([low, high], axis=1),
        tall_px=high[:, 1] - low[:, 1],
        near_left=(left * to_camera[:, :2]).sum(axis=1) > 0,
        back=facing_camera < -0.35,
        numbered=(facing_camera < -0.35) & (state.team != OFFICIALS),
        order=order[inside[order]],
        ids=state.ids,
        soft=sun == (0.0, 0.0),
    )


def _fixed(points: Array) -> NDArray[np.int32]:
    """Continuous pixels (0.5 = first centre) to OpenCV's fixed point (0 = first centre)."""
    return np.round((points - 0.5) * _ONE).astype(np.int32)


def _limb_polygons(j: Array, unit: Array, sideways: Array) -> Array:
    """(n, L, 6, 2) tapered capsules of half widths ``unit`` x body heights; trunks are narrower seen from the side."""
    start, end = j[:, _STARTS], j[:, _ENDS]
    along = end - start
    a, b = start + along * _CUTS, start + along * _REACHES
    length = np.linalg.norm(along, axis=2, keepdims=True)
    direction = along / np.maximum(length, 1e-6)
    normal = np.stack([-direction[..., 1], direction[..., 0]], axis=2)
    halves = unit[:, None, None] * _HALVES
    halves[:, _TRUNK_ROWS[:2]] *= (1 - 0.32 * sideways)[:, None, None]
    halves = np.maximum(halves - _EDGE_PX, 0.12)
    ra, rb = halves[..., :1], halves[..., 1:]
    return np.stack(
        [
            a + normal * ra, a - direction * ra * 0.55, a - normal * ra,
            b - normal * rb, b + direction * rb * 0.55, b + normal * rb,
        ],
        axis=2,
    )  # fmt: skip


def _number(j: Array, unit: Array) -> Array:
    """(n, 4, 2) a patch on the upper back, where the number is."""
    middle = j[:, body.CHEST] * 0.75 + j[:, body.NECK] * 0.25
    half = unit[:, None, None] * np.array([[-0.034, -0.036], [0.034, -0.036], [0.034, 0.040], [-0.034, 0.040]])
    return np.asarray(middle[:, None] + half)


def _shadow_points(joints_m: Array, state: VenueState, sun: tuple[float, float]) -> Array:
    """(n, 8, 3) outline of the shadow on the grass: a soft ellipse, or the body thrown along the sun."""
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle), angle * 0], axis=1)
    feet = joints_m[:, body.ANKLE].mean(axis=1) * np.array([1, 1, 0])
    if sun == (0.0, 0.0):
        return np.asarray(feet[:, None] + ring * np.array([0.5, 0.5, 0.0]))
    throw = np.array([sun[0], sun[1], 0.0])
    side = np.array([-sun[1], sun[0], 0.0]) / np.hypot(*sun)
    spine = np.array([0.0, 0.35, 0.8, 0.95, 0.95, 0.8, 0.35, 0.0])
    half = np.array([0.12, 0.16, 0.2, 0.06, -0.06, -0.2, -0.16, -0.12])
    grown = state.height_m[:, None, None] * spine[None, :, None] * throw
    return np.asarray(feet[:, None] + grown + half[None, :, None] * side)


def palette(clothes: Wardrobe, light: Array) -> list[dict[str, tuple[float, ...]]]:
    """Colour tuples under ``light`` (gain per channel) by person id and part, with ``-dark`` variants."""
    found = []
    for row in range(len(clothes.shirt)):
        colours: dict[str, tuple[float, ...]] = {}
        for part in PARTS:
            lit = np.clip(getattr(clothes, part)[row] * light, 0, 255)
            colours[part] = tuple(float(c) for c in lit)
            colours[part + "-dark"] = tuple(float(c) * 0.72 for c in lit)
        found.append(colours)
    return found


def draw_shadow(picture: Image, people: Outline, row: int, shade: float) -> None:
    """Darken the grass under one person; soft edges."""
    points = people.shadows[row]
    height, width = picture.shape[:2]
    low, high = points.min(axis=0), points.max(axis=0)
    radius = max(1, int(high[1] - low[1]) // 3) if people.soft else 1
    x1, y1 = np.maximum(np.floor(low).astype(int) - radius - 2, 0)
    x2, y2 = np.minimum(np.ceil(high).astype(int) + radius + 3, (width, height))
    if x2 - x1 < 3 or y2 - y1 < 3:
        return
    mask = np.full((y2 - y1, x2 - x1), 255, np.uint8)
    dark = 255 * (1 - shade)
    cv2.fillConvexPoly(mask, _fixed(points - (x1, y1)), dark, cv2.LINE_AA, _SHIFT)
    soft = cv2.blur(mask, (2 * radius + 1, 2 * radius + 1))
    patch = picture[y1:y2, x1:x2]
    cv2.multiply(patch, cv2.merge([soft, soft, soft]), patch, 1 / 255)


def draw_ball(picture: Image, px: Array, radius_px: float, tone: tuple[float, ...]) -> None:
    """Fill a disc of ``radius_px`` around ``px`` (2,)."""
    rim = np.stack([np.cos(_HEAD_ANGLES), np.sin(_HEAD_ANGLES)], axis=1) * max(radius_px - _EDGE_PX, 0.5)
    cv2.fillConvexPoly(picture, _fixed(px + rim), tone, cv2.LINE_AA, _SHIFT)


def draw(picture: Image, people: Outline, row: int, colours: list[dict[str, tuple[float, ...]]]) -> None:
    """Fill one person, far side first."""
    paint = colours[int(people.ids[row])]
    polygons = people.limbs[row]
    small = people.tall_px[row] < _SMALL_PX
    near = 0 if people.near_left[row] else 1
    far = 1 - near
    for first, last, tone in (
        (*_ARMS[far], "-dark"), (*_LEGS[far], "-dark"), (*_LEGS[near], ""), (14, 17, ""), (*_ARMS[near], ""),
    ):  # fmt: skip
        for index in range(first, last):
            if not (small and index in _DETAILS):
                cv2.fillConvexPoly(picture, polygons[index], paint[LIMBS[index].part + tone], cv2.LINE_AA, _SHIFT)
        if index == _NECK and not small and people.numbered[row]:
            cv2.fillConvexPoly(picture, people.numbers[row], paint["trim"], cv2.LINE_AA, _SHIFT)
    head = people.heads[row]
    cv2.fillConvexPoly(picture, head, paint["hair" if people.back[row] else "skin"], cv2.LINE_AA, _SHIFT)
    if not people.back[row]:
        cv2.fillConvexPoly(picture, head[6:], paint["hair"], cv2.LINE_AA, _SHIFT)
