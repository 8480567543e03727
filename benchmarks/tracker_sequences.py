"""Sequences with known identities for the tracker's comparison: simulated people, and real boxes linked offline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agent.track.ground import GroundProjector
from calibration.camera_model import CameraCalibration

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
RATE_HZ = 25.0


@dataclass(frozen=True, slots=True)
class People:
    """One frame's detections, in the shape that detectors return."""

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: I64


@dataclass(frozen=True, slots=True)
class Sequence:
    """Frames with truth.

    Attributes:
        name: for the report. ground: the camera. found: detections of each frame.
        true_ids: (k,) per frame, 0.. without gaps over the sequence. true_boxes: (k, 4) per frame.
        true_xy_m: (k, 2) per frame, or None where it is not known.
    """

    name: str
    ground: GroundProjector
    found: list[People]
    true_ids: list[I64]
    true_boxes: list[F64]
    true_xy_m: list[F64] | None


def simulated_camera() -> CameraCalibration:
    """A 1280x720 camera on a 12 m mast behind the near touchline, looking at the middle of the pitch."""
    return CameraCalibration.from_look_at((1280, 720), 900.0, (52.5, 86.0, 12.0), (52.5, 32.0, 0.0))


def play(rng: np.random.Generator, people: int, frames: int) -> F64:
    """Positions (frames, people, 2) of people who chase a ball: at most 8 m/s and 5 m/s2, bunching and crossing."""
    home = rng.uniform((30.0, 6.0), (75.0, 62.0), (people, 2))
    place, speed = home.copy(), np.zeros((people, 2))
    ball, target = np.array([52.5, 34.0]), np.array([52.5, 34.0])
    eager = rng.uniform(0.1, 0.8, people)
    wish = home.copy()
    step_s = 1.0 / RATE_HZ
    out = np.empty((frames, people, 2))
    for frame in range(frames):
        if rng.random() < 0.02:
            target = rng.uniform((34.0, 8.0), (71.0, 60.0))
        ball += np.clip(target - ball, -0.5, 0.5)
        again = rng.random(people) < 0.03
        fresh = home + eager[:, None] * (ball - home) + rng.normal(0.0, 4.0, (people, 2))
        wish[again] = np.clip(fresh, (28.0, 2.0), (77.0, 66.0))[again]
        wanted = 1.2 * (wish - place)
        wanted *= np.minimum(1.0, 8.0 / np.maximum(np.linalg.norm(wanted, axis=1), 1e-9))[:, None]
        apart = place[:, None] - place[None]
        gap = np.linalg.norm(apart, axis=2) + np.eye(people) * 1e9
        wanted += (apart / gap[..., None] * np.clip(0.7 - gap, 0.0, None)[..., None] * 6.0).sum(1)
        push = (wanted - speed) / 0.4
        push *= np.minimum(1.0, 5.0 / np.maximum(np.linalg.norm(push, axis=1), 1e-9))[:, None]
        place = place + speed * step_s + 0.5 * push * step_s**2
        speed = speed + push * step_s
        out[frame] = place
    return out


def simulated(seed: int, people: int = 25, frames: int = 500, *, miss: float = 0.10, harsh: bool = True) -> Sequence:
    """People with bounded accelerations seen by a noisy detector: misses, low scores, false boxes, hidden legs.

    Without ``harsh`` everybody not missed is found with a high score, and nothing else is.
    """
    rng = np.random.default_rng(seed)
    camera = simulated_camera()
    places = play(rng, people, frames)
    tall = rng.uniform(1.68, 1.95, people)
    phase = rng.uniform(0.0, 2.0 * np.pi, people)
    found, ids, boxes, xys = [], [], [], []
    for frame in range(frames):
        feet = camera.pixels_from_pitch(places[frame])
        heads = camera.pixels_from_pitch(np.column_stack((places[frame], tall)))
        height = feet[:, 1] - heads[:, 1]
        width = height * (0.40 + 0.07 * np.sin(phase + 2.0 * np.pi * 2.5 * frame / RATE_HZ))
        true = np.column_stack((feet[:, 0] - width / 2, heads[:, 1], feet[:, 0] + width / 2, feet[:, 1]))
        found.append(_detect(rng, true, miss, harsh))
        inside = (true[:, 0] > 0) & (true[:, 2] < 1280) & (true[:, 1] > 0) & (true[:, 3] < 720)
        ids.append(np.flatnonzero(inside))
        boxes.append(true[inside])
        xys.append(places[frame][inside])
    return Sequence(f"simulated, seed {seed}", camera, found, ids, boxes, xys)


def hidden_share(boxes: F64) -> F64:
    """Share (n,) of each box that nearer people (lower in the picture) cover, the largest single cover."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0.0, None).prod(axis=2)
    nearer = boxes[None, :, 3] > boxes[:, None, 3]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.asarray((shared * nearer).max(axis=1) / area)


def _detect(rng: np.random.Generator, true: F64, miss: float, harsh: bool) -> People:
    count = len(true)
    height = true[:, 3] - true[:, 1]
    noisy = true + rng.normal(0.0, 1.0, (count, 4)) * (0.6 + 0.02 * height)[:, None]
    hidden = hidden_share(true) * harsh
    part, most = (hidden > 0.35) & (hidden <= 0.7), hidden > 0.7
    noisy[part, 3] -= rng.uniform(0.0, 0.35, count)[part] * height[part]
    lost = rng.random(count) < np.where(most, 0.9, np.where(part, 0.4, miss))
    weak = part | most | (rng.random(count) < 0.12 * harsh)
    scores = np.where(weak, rng.uniform(0.15, 0.6, count), rng.uniform(0.62, 0.95, count))
    seen = ~lost & (noisy[:, 0] > 0) & (noisy[:, 2] < 1280) & (noisy[:, 1] > 0) & (noisy[:, 3] < 720)
    return _with_false(rng, noisy[seen], scores[seen], 0.8 * harsh)


def _with_false(rng: np.random.Generator, boxes: F64, scores: F64, rate: float) -> People:
    """Add false boxes: shifted copies of real ones (the size fits the place), a third of them parts of a person."""
    number = int(rng.poisson(rate)) if len(boxes) else 0
    extra = boxes[rng.integers(0, max(len(boxes), 1), number)].copy()
    size = extra[:, 2:] - extra[:, :2]
    part = rng.random(number) < 0.33
    extra[~part] += np.tile(rng.uniform(-6.0, 6.0, (number, 1)) * size[:, :1], 4)[~part] * np.array([1, 0, 1, 0])
    extra[part, 3] -= 0.5 * size[part, 1]
    order = rng.permutation(len(boxes) + number)
    return People(
        np.concatenate((boxes, extra))[order].astype(np.float32),
        np.concatenate((scores, rng.uniform(0.1, 0.75, number)))[order].astype(np.float32),
        np.zeros(len(order), dtype=np.int64),
    )


def degraded(name: str, ground: GroundProjector, linked: list[tuple[I64, F64]], seed: int) -> Sequence:
    """Linked real boxes as truth; the same made worse as detections: drops, jitter, low scores, false boxes."""
    rng = np.random.default_rng(seed)
    found = []
    for _, boxes in linked:
        count = len(boxes)
        height = boxes[:, 3] - boxes[:, 1]
        noisy = boxes + rng.normal(0.0, 1.0, (count, 4)) * (0.6 + 0.015 * height)[:, None]
        kept = rng.random(count) >= np.where(hidden_share(boxes) > 0.6, 0.7, 0.10)
        weak = rng.random(count) < 0.15
        scores = np.where(weak, rng.uniform(0.15, 0.6, count), rng.uniform(0.62, 0.95, count))
        found.append(_with_false(rng, noisy[kept], scores[kept], 0.5))
    return Sequence(name, ground, found, [ids for ids, _ in linked], [boxes for _, boxes in linked], None)


def left_camera(stadium: Path) -> CameraCalibration:
    """The left stadium camera, solved from its clicked landmarks."""
    from calibration.landmarks import load_cvat
    from calibration.solve import fit_camera

    clicks = load_cvat(stadium / "left_landmarks.xml")
    places = np.array([click.pitch_m for click in clicks.clicks])
    pixels = np.array([click.px for click in clicks.clicks])
    return fit_camera(places, pixels, clicks.image_size_px, (105.0, 68.0)).calibration
