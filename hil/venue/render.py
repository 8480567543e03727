"""Frames of the match: the painted background plus everybody drawn back to front as small articulated figures.

Every limb is one convex polygon with sixteenth-of-a-pixel corners, all corners of all people computed at once; the
per-frame work is one copy of the background and about fifteen small fills per person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.camera_model import CameraCalibration
from hil.venue import figures
from hil.venue.background import paint
from hil.venue.body import joints
from hil.venue.kits import Look, Wardrobe, look, wardrobe
from hil.venue.players import Venue, VenueState

Image = NDArray[np.uint8]
NOISE_PICTURES = 4
"""Backgrounds with different sensor noise, taken in turn: noise at the price of a plain copy."""

BALL_RADIUS_M = 0.11


@dataclass(frozen=True, slots=True)
class Box:
    """The tight box of one drawn person: row of the state, x1, y1, x2, y2 in pixels, share of it in the picture."""

    row: int
    x1_px: float
    y1_px: float
    x2_px: float
    y2_px: float
    visible: float


class Renderer:
    """Draws one camera's view of one venue.

    Args:
        venue: the match.
        camera: any calibration; its image size is the frame's size.
        view: light and ground; by default the venue seed's own.
        clothes: colours; by default the venue seed's own.
    """

    def __init__(
        self,
        venue: Venue,
        camera: CameraCalibration,
        view: Look | None = None,
        clothes: Wardrobe | None = None,
    ) -> None:
        self.venue = venue
        self.camera = camera
        self.look = view or look(venue.seed)
        self.clothes = clothes or wardrobe(venue.seed)
        self.backgrounds = _noisy(paint(camera, self.look, venue.seed), self.look.noise, venue.seed)
        light = np.array(self.look.tint) * self.look.gain
        self._palette = figures.palette(self.clothes, light)

    def render_into(self, picture: Image, ptp_ns: int) -> None:
        """Draw the frame exposed at ``ptp_ns`` into ``picture`` (h, w, 3) uint8 RGB, C-contiguous."""
        np.copyto(picture, self.backgrounds[(ptp_ns // 1_000_000) % NOISE_PICTURES])
        state = self.venue.state_at(ptp_ns)
        self._ball(picture, state)
        outline = self._outline(state)
        for row in outline.order:
            figures.draw_shadow(picture, outline, row, self.look.shade)
        for row in outline.order:
            figures.draw(picture, outline, row, self._palette)

    def render(self, ptp_ns: int) -> Image:
        """The frame exposed at ``ptp_ns`` as a new (h, w, 3) uint8 RGB array."""
        width, height = self.camera.image_size_px
        picture: Image = np.empty((height, width, 3), np.uint8)
        self.render_into(picture, ptp_ns)
        return picture

    def boxes_at(self, ptp_ns: int) -> list[Box]:
        """Boxes of everybody of whom at least a tenth is in the picture, farthest first; truth for detectors."""
        outline = self._outline(self.venue.state_at(ptp_ns))
        width, height = self.camera.image_size_px
        found = []
        for row in outline.order:
            x1, y1, x2, y2 = outline.boxes[row].tolist()
            left, top = max(x1, 0.0), max(y1, 0.0)
            right, bottom = min(x2, float(width)), min(y2, float(height))
            share = max(right - left, 0.0) * max(bottom - top, 0.0) / max((x2 - x1) * (y2 - y1), 1e-9)
            if share >= 0.1:
                found.append(Box(int(row), left, top, right, bottom, share))
        return found

    def _outline(self, state: VenueState) -> figures.Outline:
        build = self.clothes.build[state.ids]
        return figures.outline(self.camera, joints(state), state, build, self.look.sun)

    def _ball(self, picture: Image, state: VenueState) -> None:
        centre = np.array([[state.ball_xy_m[0], state.ball_xy_m[1], BALL_RADIUS_M]])
        px = self.camera.pixels_from_pitch(centre)[0]
        if not np.isfinite(px).all() or np.abs(px).max() > 8000:
            return
        scale = self.camera.camera_matrix[0, 0] / float(np.linalg.norm(centre[0] - self.camera.position_m))
        tone = tuple(float(min(240.0 * t * self.look.gain, 255.0)) for t in self.look.tint)
        figures.draw_ball(picture, px, BALL_RADIUS_M * scale, tone)


def _noisy(clean: NDArray[np.float32], sigma: float, seed: int) -> list[Image]:
    """The background with :data:`NOISE_PICTURES` draws of sensor noise, mostly in luminance."""
    rng = np.random.default_rng([seed, 7])
    pictures = []
    for _ in range(NOISE_PICTURES):
        grain = rng.standard_normal(clean.shape[:2], dtype=np.float32)[..., None]
        noisy = clean + grain * np.float32(sigma) + 0.5
        pictures.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return pictures
