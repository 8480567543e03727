"""Labelled pictures for detector training: many venues, cameras, kits and lights, boxes known exactly.

Writes ``images/000000.jpg`` (1280x720) and ``boxes.csv`` (``frame,x1,y1,x2,y2,score``, source pixels, score 1.0): the
layout of the real clips' label files.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.camera_model import CameraCalibration
from hil.venue.optics import NATIVE_SIZE_PX, look_at
from hil.venue.pitch import LENGTH_M
from hil.venue.players import MAX_PEOPLE, PERIOD_S, Venue
from hil.venue.render import Box, Renderer
from touchline.errors import ResourceError

FRAMES_PER_VENUE = 5
MIN_HEIGHT_PX = 8.0
MAX_HIDDEN = 0.75
"""A person covered more than this by one nearer person carries no label."""


class Labelled(NamedTuple):
    """One generated picture, (h, w, 3) uint8 RGB, its boxes and the JPEG quality drawn for it."""

    picture: NDArray[np.uint8]
    boxes: list[Box]
    jpeg_quality: int


def random_camera(rng: np.random.Generator) -> CameraCalibration:
    """A mast beside the near touchline or behind a corner; people come out about 10 to 110 px tall."""
    across_m = -float(rng.uniform(6.0, 40.0))
    height_m = float(rng.uniform(6.0, 24.0))
    along_m = float(rng.uniform(15.0, LENGTH_M - 15.0))
    position = (along_m, across_m, height_m)
    target = (float(np.clip(rng.normal(along_m, 24.0), 5, 100)), float(rng.uniform(14.0, 44.0)), 0.0)
    focal_px = float(np.exp(rng.uniform(np.log(700.0), np.log(1900.0))))
    lens = (float(rng.uniform(-0.16, 0.02)), float(rng.uniform(-0.01, 0.02)), 0.0, 0.0)
    return look_at(position, target, focal_px, NATIVE_SIZE_PX, lens=lens, roll_rad=float(rng.normal(0, 0.012)))


def degrade(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """What lenses and camera firmware do: blur or over-sharpening, exposure, contrast."""
    image = picture.astype(np.float32)
    kind = rng.random()
    if kind < 0.55:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.35, 1.3))), np.float32)
    if 0.35 < kind < 0.75:
        soft = np.asarray(cv2.GaussianBlur(image, (0, 0), 1.2), np.float32)
        image += (image - soft) * np.float32(rng.uniform(0.4, 1.4))
    image = (image - 110) * np.float32(rng.uniform(0.8, 1.2)) + np.float32(110 + rng.normal(0, 9))
    return np.clip(image, 0, 255).astype(np.uint8)


def visible_boxes(boxes: list[Box]) -> list[Box]:
    """Boxes worth a label: tall enough, enough of them in the picture, not hidden (``boxes`` farthest first)."""
    kept = []
    for index, box in enumerate(boxes):
        hidden = max((_covered(box, nearer) for nearer in boxes[index + 1 :]), default=0.0)
        if box.y2_px - box.y1_px >= MIN_HEIGHT_PX and box.visible >= 0.3 and hidden <= MAX_HIDDEN:
            kept.append(box)
    return kept


def _covered(box: Box, nearer: Box) -> float:
    width = min(box.x2_px, nearer.x2_px) - max(box.x1_px, nearer.x1_px)
    height = min(box.y2_px, nearer.y2_px) - max(box.y1_px, nearer.y1_px)
    area = (box.x2_px - box.x1_px) * (box.y2_px - box.y1_px)
    return max(width, 0.0) * max(height, 0.0) / max(area, 1e-9)


def generate(frames: int, seed: int) -> Iterator[Labelled]:
    """Yield ``frames`` labelled pictures; the same seed gives the same pictures."""
    rng = np.random.default_rng([seed, 100])
    for index in range(frames):
        if index % FRAMES_PER_VENUE == 0:
            venue = Venue(int(rng.integers(1, 2**31)), MAX_PEOPLE)
            renderer = Renderer(venue, random_camera(rng))
        moments = [int(t * 1e9) for t in rng.uniform(0, PERIOD_S, 4)]
        ptp_ns = max(moments, key=lambda t: len(renderer.boxes_at(t)))
        picture = degrade(renderer.render(ptp_ns), rng)
        yield Labelled(picture, visible_boxes(renderer.boxes_at(ptp_ns)), int(rng.integers(60, 96)))


def write(out: Path, frames: int, seed: int, on_frame: Callable[[int], None] = lambda _: None) -> int:
    """Write the data set into ``out`` (made if missing); returns the number of boxes.

    Raises:
        ResourceError: the folder cannot be written.
    """
    total = 0
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
        with (out / "boxes.csv").open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow(["frame", "x1", "y1", "x2", "y2", "score"])
            for index, (picture, boxes, quality) in enumerate(generate(frames, seed)):
                options = [cv2.IMWRITE_JPEG_QUALITY, quality]
                _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
                (out / "images" / f"{index:06d}.jpg").write_bytes(data.tobytes())
                for box in boxes:
                    corners = (box.x1_px, box.y1_px, box.x2_px, box.y2_px)
                    rows.writerow([index, *(f"{value:.1f}" for value in corners), "1.0"])
                total += len(boxes)
                on_frame(index)
    except OSError as error:
        raise ResourceError(f"{out} cannot be written: {error.strerror}", hint="choose another --out") from error
    return total


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write.")
@click.option("--frames", type=click.IntRange(1, 1_000_000), default=400, show_default=True, help="How many.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Which pictures.")
def dataset(out: Path, frames: int, seed: int) -> None:
    """Generate labelled pictures of simulated matches for detector training.

    \b
    Examples:
      touchline hil venue dataset --out build/venue --frames 400 --seed 1
    """
    total = write(out, frames, seed)
    click.echo(f"{frames} pictures with {total} boxes in {out}")


if __name__ == "__main__":
    dataset()
