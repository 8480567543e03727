"""Synthetic landmarks with known truth, shaped like a real half-pitch camera."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibration.camera_model import CameraCalibration
from calibration.landmarks import Click, LandmarkSet
from calibration.marks import marks

PITCH = (105.0, 68.0)
SIZE = (3072, 1728)
LENS = (-0.37, 0.17, 0.0003, -0.0005, -0.04)


def truth(crown_m: float = 0.0, lens: Sequence[float] = LENS) -> CameraCalibration:
    """A camera on a 9 m mast near the halfway line that sees the left half."""
    return CameraCalibration.from_look_at(
        SIZE, 2130.0, (48.0, 84.0, 9.0), (24.0, 30.0, 0.0), distortion=lens, crown_m=crown_m, camera="truth"
    )


def places_in_view(camera: CameraCalibration) -> list[tuple[float, float]]:
    """Painted marks and points along both touchlines that the camera sees, 20 px inside the image."""
    along = [(x, y) for y in (0.0, PITCH[1]) for x in np.arange(5.5, 60.0, 5.5)]
    candidates = list(dict.fromkeys([*marks(PITCH).values(), *along]))
    px = camera.pixels_from_pitch(candidates)
    inside = np.asarray(((px > 20) & (px < np.array(SIZE) - 20)).all(axis=1))
    return [(float(x), float(y)) for (x, y), seen in zip(candidates, inside, strict=True) if seen]


def clicked(
    camera: CameraCalibration, noise_px: float = 0.7, seed: int = 1, places: list[tuple[float, float]] | None = None
) -> LandmarkSet:
    """The landmarks as clicked by a hand with this noise."""
    chosen = places_in_view(camera) if places is None else places
    px = camera.pixels_from_pitch(chosen) + np.random.default_rng(seed).normal(0, noise_px, (len(chosen), 2))
    clicks = tuple(
        Click(label_of(place), place, (float(u), float(v))) for place, (u, v) in zip(chosen, px.tolist(), strict=True)
    )
    return LandmarkSet("synthetic.xml", "still.png", SIZE, clicks)


def label_of(place: tuple[float, float]) -> str:
    """``(x,y)`` as annotators write it."""
    return f"({place[0]:.6g},{place[1]:.6g})"


def to_xml(landmarks: LandmarkSet) -> bytes:
    """The landmarks as a CVAT file."""
    width, height = landmarks.image_size_px
    points = "".join(
        f'<points label="{click.label}" points="{click.px[0]:.2f},{click.px[1]:.2f}"></points>'
        for click in landmarks.clicks
    )
    return (
        f'<?xml version="1.0" encoding="utf-8"?><annotations><image id="0" name="{landmarks.image_name}" '
        f'width="{width}" height="{height}">{points}</image></annotations>'
    ).encode()
