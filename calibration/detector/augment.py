"""Random training crops: the POS-9 distortions, and people pasted where no one stood.

Every function takes its random generator, so a seed fixes the whole training set.  Crops are uint8 RGB.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.detector.boxes import iou_matrix
from calibration.detector.dataset import NO_BOXES, Boxes, Image, Scene

HUE_SHARE = 0.18
"""POS-9: hue turned by up to 18 % of the circle either way."""
JPEG_QUALITY = (45, 95)
BLUR_SIGMA_PX = 2.0
SCALES = (0.5, 1.7)
LARGE_SCALES = (1.7, 2.6)
WORK_SCALES, NATIVE_SCALES = (0.85, 1.2), (1.9, 2.5)
"""Pixel scale against a 1280-pixel camera; the large ones are for tiles of a native 3072-pixel picture."""


@dataclass(frozen=True)
class Crop:
    """One training picture."""

    image: Image
    boxes: Boxes
    trust: NDArray[np.float32]
    """How far each box is believed, (n,) 0..1."""
    unsure: Boxes


def random_crop(rng: np.random.Generator, scene: Scene, size_px: tuple[int, int], wild_share: float = 1.0) -> Crop:
    """Cut, scale and mirror one picture of ``size_px`` (width, height) from a scene.

    A ``wild_share`` of the crops is pasted, littered and distorted; the rest stays close to the camera's own
    pictures, which is what the last stretch of a training wants.
    """
    wild = bool(rng.random() < wild_share)
    index = int(rng.integers(len(scene.frames)))
    ratio = scene.work_scale * _choose_scale(rng, wild)
    bare = wild and scene.plate is not None and bool(scene.people) and rng.random() < 0.12
    frame = scene.plate if bare and scene.plate is not None else scene.frames[index]
    boxes = np.column_stack([scene.boxes[index], scene.trust[index]])[: 0 if bare else None]
    unsure = NO_BOXES if bare else scene.unsure[index]
    window = _choose_window(rng, frame.shape[:2], boxes, size_px, ratio)
    image = _cut(rng, frame, window, size_px)
    shift, zoom = np.array([window[0], window[1]] * 2), size_px[0] / (window[2] - window[0])
    boxes[:, :4] = (boxes[:, :4] - shift) * zoom
    boxes, cut_off = clip_boxes(boxes, size_px)
    unsure = np.concatenate([clip_boxes((unsure - shift) * zoom, size_px, least_share=0.0)[0], cut_off[:, :4]])
    if wild:
        image, boxes = _dress(rng, image, boxes, unsure, scene, zoom=zoom, bare=bare)
    if rng.random() < 0.5:
        image, boxes, unsure = image[:, ::-1], _mirror(boxes, size_px[0]), _mirror(unsure, size_px[0])
    image = distort(rng, image) if wild else shift_colour(image, rng.normal(0, 0.015), *rng.normal(1, 0.08, 2))
    return Crop(np.ascontiguousarray(image), boxes[:, :4], boxes[:, 4], unsure)


def _choose_scale(rng: np.random.Generator, wild: bool) -> float:
    if not wild:
        return float(rng.uniform(*(NATIVE_SCALES if rng.random() < 0.25 else WORK_SCALES)))
    return float(np.exp(rng.uniform(*np.log(LARGE_SCALES if rng.random() < 0.15 else SCALES))))


def _dress(
    rng: np.random.Generator, image: Image, boxes: Boxes, unsure: Boxes, scene: Scene, *, zoom: float, bare: bool
) -> tuple[Image, Boxes]:
    """Other grass, litter and pasted people."""
    invented = bare and rng.random() < 0.4
    if invented:
        image = grass(rng, (image.shape[1], image.shape[0]))
    if rng.random() < 0.3:
        image = litter(rng, image, np.concatenate([boxes[:, :4], unsure]))
    if scene.people and (bare or rng.random() < 0.5):
        ground = np.ones(image.shape[:2], dtype=bool) if invented else green(image)
        image, boxes = paste_people(rng, image, boxes, scene.people, zoom * scene.people_scale, ground=ground)
    return image, boxes


def _choose_window(
    rng: np.random.Generator, shape: tuple[int, ...], boxes: Boxes, size_px: tuple[int, int], ratio: float
) -> tuple[int, int, int, int]:
    """Where to cut, in source pixels: around a person most of the time, else anywhere."""
    height, width = shape[:2]
    ratio = max(ratio, size_px[0] / width, size_px[1] / height)
    wide, high = min(round(size_px[0] / ratio), width), min(round(size_px[1] / ratio), height)
    if len(boxes) and rng.random() < 0.7:
        x1, y1, x2, y2 = boxes[rng.integers(len(boxes)), :4]
        left = int((x1 + x2) / 2 - rng.uniform(0.1, 0.9) * wide)
        top = int((y1 + y2) / 2 - rng.uniform(0.1, 0.9) * high)
    else:
        left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
    left, top = min(max(left, 0), width - wide), min(max(top, 0), height - high)
    return left, top, left + wide, top + high


def _cut(rng: np.random.Generator, frame: Image, window: tuple[int, int, int, int], size_px: tuple[int, int]) -> Image:
    left, top, right, bottom = window
    part = frame[top:bottom, left:right]
    shrinking = part.shape[1] > size_px[0]
    if shrinking and (rng.random() < 0.8 or part.shape[1] > 1.7 * size_px[0]):
        method = cv2.INTER_AREA
    else:
        method = cv2.INTER_LINEAR if rng.random() < 0.6 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, size_px, interpolation=method), dtype=np.uint8)


def clip_boxes(boxes: Boxes, size_px: tuple[int, int], least_share: float = 0.45) -> tuple[Boxes, Boxes]:
    """Clip boxes to a picture; those that keep less than ``least_share`` of their area come second.

    Columns after the fourth stay as they are.
    """
    limit = np.array([size_px[0], size_px[1]] * 2, dtype=np.float32)
    clipped = np.asarray(boxes, dtype=np.float32).copy()
    clipped[:, :4] = np.clip(clipped[:, :4], 0, limit)
    sides, whole = clipped[:, 2:4] - clipped[:, :2], boxes[:, 2:4] - boxes[:, :2]
    share = sides.prod(axis=1) / np.maximum(whole.prod(axis=1), 1e-6)
    inside = sides.min(axis=1, initial=np.inf) > 1.0
    keep = inside & (share >= least_share)
    return clipped[keep], clipped[inside & ~keep]


def green(image: Image) -> NDArray[np.bool_]:
    """Which pixels (h, w) of an undistorted picture look like grass, fine texture smoothed away."""
    red, grass_green, blue = cv2.split(cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), 2).astype(np.float32))
    found: NDArray[np.bool_] = grass_green > 1.03 * np.maximum(red, blue)
    return found


def paste_people(
    rng: np.random.Generator,
    image: Image,
    boxes: Boxes,
    people: list[Image],
    zoom: float,
    *,
    ground: NDArray[np.bool_],
) -> tuple[Image, Boxes]:
    """Paste up to 10 cut-out people with their feet on the ``ground`` (h, w).

    Some come next to another person, so that tight pairs are learnt.  Spectators on steps and benches are no
    labels in the real frames, so no one is pasted there either.
    """
    image, boxes = image.copy(), boxes.copy()
    high, wide = image.shape[:2]
    for _ in range(int(rng.integers(1, 11))):
        cut = people[rng.integers(len(people))]
        factor = zoom * rng.uniform(0.75, 1.3)
        size = max(round(cut.shape[1] * factor), 3), max(round(cut.shape[0] * factor), 8)
        if size[0] >= wide or size[1] >= high:
            continue
        person = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
        person = person[:, ::-1] if rng.random() < 0.5 else person
        if len(boxes) and rng.random() < 0.35:
            near = boxes[rng.integers(len(boxes))]
            left = int(near[0] + rng.uniform(-1.1, 1.1) * size[0])
            top = int(near[3] - size[1] + rng.uniform(-0.25, 0.25) * size[1])
        else:
            left, top = int(rng.integers(wide - size[0])), int(rng.integers(high - size[1]))
        box = np.ones((1, boxes.shape[1]), dtype=np.float32)
        box[0, :4] = left, top, left + size[0], top + size[1]
        feet_y, feet_x = min(max(top + size[1] - 2, 0), high - 1), min(max(left + size[0] // 2, 0), wide - 1)
        if not ground[feet_y, feet_x]:
            continue
        off_picture = left < 0 or top < 0 or box[0, 2] > wide or box[0, 3] > high
        if off_picture or (len(boxes) and iou_matrix(box[:, :4], boxes[:, :4]).max() > 0.45):
            continue
        _blend(image[top : top + size[1], left : left + size[0]], np.asarray(person), rng)
        boxes = np.concatenate([boxes, box])
    return image, boxes


def _blend(under: Image, person: NDArray[np.uint8], rng: np.random.Generator) -> None:
    alpha = person[..., 3:].astype(np.float32) / 255
    colour = person[..., :3].astype(np.float32)
    if rng.random() < 0.5:  # another kit: channels change places, which keeps shading and skin plausible enough
        colour = colour[..., rng.permutation(3)]
    colour = colour * rng.uniform(0.7, 1.25)
    under[:] = np.clip(under * (1 - alpha) + colour * alpha, 0, 255).astype(np.uint8)


def grass(rng: np.random.Generator, size_px: tuple[int, int]) -> Image:
    """A meadow that exists nowhere: random green, stripes, noise and a few straight lines."""
    wide, high = size_px
    base = np.array([rng.uniform(30, 140), rng.uniform(70, 170), rng.uniform(20, 110)])
    x, y = np.meshgrid(np.arange(wide), np.arange(high))
    angle, period = rng.uniform(0, np.pi), rng.uniform(40, 200)
    stripe = np.sign(np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period))
    coarse = cv2.resize(rng.normal(0, 6, (high // 8, wide // 8)), size_px, interpolation=cv2.INTER_CUBIC)
    tone = stripe * rng.uniform(0, 10) + coarse + rng.normal(0, rng.uniform(1, 8), (high, wide))
    image: Image = np.clip(base + tone[..., None], 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 4))):
        ends = [(int(rng.integers(-wide, 2 * wide)), int(rng.integers(-high, 2 * high))) for _ in range(2)]
        white = int(rng.integers(170, 255))
        cv2.line(image, ends[0], ends[1], (white, white, white), int(rng.integers(1, 5)), cv2.LINE_AA)
    return image


def litter(rng: np.random.Generator, image: Image, keep_clear: Boxes) -> Image:
    """Draw what is not a person away from the people: letters, posts, balls, boards and smears of paint."""
    image = np.ascontiguousarray(image)
    high, wide = image.shape[:2]
    for _ in range(int(rng.integers(1, 7))):
        x, y, size = int(rng.integers(wide)), int(rng.integers(high)), int(rng.integers(5, 60))
        area = np.array([[x - size, y - size, x + size, y + size]], dtype=np.float32)
        if len(keep_clear) and iou_matrix(area, keep_clear).max() > 0:
            continue
        pale = int(rng.integers(120, 255))
        colour = (pale, pale, pale) if rng.random() < 0.5 else tuple(int(c) for c in rng.integers(0, 255, 3))
        thick, kind = int(rng.integers(1, max(2, size // 6))), int(rng.integers(4))
        if kind == 0:
            letter = "".join(chr(c) for c in rng.integers(65, 122, 2))
            font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX]))
            cv2.putText(image, letter, (x - size // 2, y + size // 2), font, size / 25, colour, thick, cv2.LINE_AA)
        elif kind == 1:
            end = (x + int(rng.normal(0, size / 8)), y - size)
            cv2.line(image, (x, y), end, colour, thick, cv2.LINE_AA)
        elif kind == 2:
            axes = (max(1, size // 8), max(1, int(size / 8 * rng.uniform(0.8, 1.2))))
            cv2.ellipse(image, (x, y), axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
        else:
            corners = np.array([x, y]) + rng.uniform(-size, size, (4, 2)) * [0.6, rng.uniform(0.1, 0.6)]
            cv2.fillConvexPoly(image, cv2.convexHull(corners.astype(np.int32)), colour, cv2.LINE_AA)
    return image


def distort(rng: np.random.Generator, image: Image) -> Image:
    """Colour, light, blur, noise and compression as in POS-9."""
    if rng.random() < 0.7:
        image = shift_colour(image, rng.uniform(-HUE_SHARE, HUE_SHARE), rng.uniform(0.5, 1.5), rng.uniform(0.65, 1.3))
    if rng.random() < 0.3:
        contrast, light = rng.uniform(0.7, 1.3), rng.uniform(-25, 25)
        image = np.clip((image.astype(np.float32) - 114) * contrast + 114 + light, 0, 255).astype(np.uint8)
    if rng.random() < 0.35:
        sigma = float(rng.uniform(0.2, BLUR_SIGMA_PX) * rng.random() ** 0.5)
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.1)), dtype=np.uint8)
    if rng.random() < 0.2:
        noise = rng.normal(0, rng.uniform(1, 8), image.shape).astype(np.float32)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1))
        packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(image)


def shift_colour(image: Image, hue_share: float, saturation: float, light: float) -> Image:
    """Turn the hue by a share of the circle and scale saturation and lightness."""
    hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
    steps = np.arange(256, dtype=np.float32)
    tables = (
        (steps + hue_share * 180) % 180,
        np.clip(steps * saturation, 0, 255),
        np.clip(steps * light, 0, 255),
    )
    parts = [cv2.LUT(hsv[..., i], table.astype(np.uint8)) for i, table in enumerate(tables)]
    return np.asarray(cv2.cvtColor(cv2.merge(parts), cv2.COLOR_HSV2RGB), dtype=np.uint8)


def _mirror(boxes: Boxes, width_px: int) -> Boxes:
    turned = boxes.copy()
    turned[:, 0], turned[:, 2] = width_px - boxes[:, 2], width_px - boxes[:, 0]
    return turned
