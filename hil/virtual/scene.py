"""What all cameras of a site see: pictures that are a pure function of absolute time and a few words.

Frame k is exposed at k/30 s of UTC since 1970. Its picture is NV12, 640x360: a dark ground, bright patches that each
fill one cell of the tiny engine's grid and walk on closed paths, and the frame's own number as a row of bars, so that
a picture says which frame it is. Read on the host by the ``optics`` handle and its tests, in the node by the program
that feeds the camera.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np

RATE_HZ: Final = 30
WIDTH_PX, HEIGHT_PX = 640, 360
FRAME_BYTES: Final = WIDTH_PX * HEIGHT_PX * 3 // 2

CELL_PX: Final = 64
"""16 pixels of the tiny engine's input, which is a quarter of the picture."""
TOP_PX: Final = 52
"""The first whole cell below the letterbox's edge: (16 - 3) * 4."""
COLUMNS, ROWS = 10, 4
STEP_FRAMES: Final = 30
"""A patch goes on to the next cell once a second."""

BLACK, DARK, GROUND, BRIGHT = 16, 24, 40, 180
"""Luma: covered, bars of 0, ground, patches (75 % white, as vivid's bar). Bars of 1 stay below the engine's DARK."""
BAR: Final = 96
NEUTRAL: Final = 128

BITS: Final = 32
BAR_PX: Final = 16
BARS_TOP_PX, BARS_END_PX = 336, 352

MOST_PEOPLE: Final = 24
_S_NS: Final = 1_000_000_000
_WEIGHTS: Final = (1 << np.arange(BITS, dtype=np.int64))[::-1]

Picture: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Cell: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Scene:
    """What is before the cameras. ``covered``: something is held before the lens, all is black."""

    seed: int = 1
    people: int = 6
    covered: bool = False


def frame_utc_ns(frame: int) -> int:
    """Start of exposure of a frame, ns since 1970 UTC."""
    return frame * _S_NS // RATE_HZ


def frame_at(utc_ns: int) -> int:
    """The first frame that is exposed at this time or later."""
    return -(-utc_ns * RATE_HZ // _S_NS)


@lru_cache(maxsize=256)
def closed_path(seed: int, person: int) -> tuple[Cell, ...]:
    """The cells (column, row) around a rectangle, each a neighbour of the next, the last of the first."""
    chance = random.Random(f"touchline {seed} {person}")
    left, right = sorted(chance.sample(range(COLUMNS), 2))
    top, bottom = sorted(chance.sample(range(ROWS), 2))
    ring = [(column, top) for column in range(left, right)]
    ring += [(right, row) for row in range(top, bottom)]
    ring += [(column, bottom) for column in range(right, left, -1)]
    ring += [(left, row) for row in range(bottom, top, -1)]
    start = chance.randrange(len(ring))
    ring = ring[start:] + ring[:start]
    return tuple(ring if chance.random() < 0.5 else ring[::-1])


def cells(scene: Scene, frame: int) -> tuple[Cell, ...]:
    """Where each patch stands, in the order of the people; two may share a cell."""
    paths = (closed_path(scene.seed, person) for person in range(0 if scene.covered else scene.people))
    return tuple(path[frame // STEP_FRAMES % len(path)] for path in paths)


def _ground() -> Picture:
    picture = np.full(FRAME_BYTES, NEUTRAL, np.uint8)
    picture[: WIDTH_PX * HEIGHT_PX] = GROUND
    return picture


_GROUND: Final = _ground()
_COVERED: Final = np.where(np.arange(FRAME_BYTES) < WIDTH_PX * HEIGHT_PX, BLACK, NEUTRAL).astype(np.uint8)


def paint(picture: Picture, scene: Scene, frame: int, before: tuple[Scene, int] | None = None) -> None:
    """Write the frame's NV12 picture into ``picture``, a flat array of :data:`FRAME_BYTES`.

    ``before``: scene and frame whose picture it holds already; what is the same in both is not written again.
    """
    same = before is not None and before[0] == scene and before[1] // STEP_FRAMES == frame // STEP_FRAMES
    if scene.covered:
        if not same:
            np.copyto(picture, _COVERED)
        return
    luma = picture[: WIDTH_PX * HEIGHT_PX].reshape(HEIGHT_PX, WIDTH_PX)
    if not same:
        np.copyto(picture, _GROUND)
        for column, row in cells(scene, frame):
            top = TOP_PX + row * CELL_PX
            luma[top : top + CELL_PX, column * CELL_PX : (column + 1) * CELL_PX] = BRIGHT
    bars = np.where(_WEIGHTS & frame, np.uint8(BAR), np.uint8(DARK))
    luma[BARS_TOP_PX:BARS_END_PX, : BITS * BAR_PX] = np.repeat(bars, BAR_PX)


def frame_in(picture: Picture, near: int) -> int | None:
    """The number of the frame that this picture shows, the one nearest to ``near``; None when it is covered."""
    luma = picture[: WIDTH_PX * HEIGHT_PX].reshape(HEIGHT_PX, WIDTH_PX)
    bars = luma[(BARS_TOP_PX + BARS_END_PX) // 2, BAR_PX // 2 : BITS * BAR_PX : BAR_PX]
    if int(bars.max()) <= BLACK:
        return None
    low = int(_WEIGHTS @ (bars > (DARK + BAR) // 2))
    half = 1 << (BITS - 1)
    return near + (low - near + half) % (1 << BITS) - half


# --- what comes when ---


@dataclass(frozen=True, slots=True)
class Change:
    """From this frame on this scene."""

    frame: int
    scene: Scene


def scene_at(changes: Iterable[Change], frame: int) -> Scene:
    """The scene of a frame: that of the latest change at or before it, a plain scene before the first."""
    begun = [change for change in changes if change.frame <= frame]
    return max(begun, key=lambda change: change.frame).scene if begun else Scene()


def to_json(changes: Iterable[Change]) -> str:
    """The changes as a document."""
    return json.dumps([asdict(change) for change in changes])


def from_json(text: str | bytes) -> tuple[Change, ...]:
    """Undo :func:`to_json`; ValueError for anything else."""
    try:
        return tuple(Change(int(one["frame"]), Scene(**one["scene"])) for one in json.loads(text))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no list of scenes: {error!r}") from error
