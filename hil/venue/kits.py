"""How a venue looks: kits, skin, hair, grass, light. Everything follows from the seed; colours are RGB 0..255."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.venue.players import AWAY, HOME, MAX_PEOPLE, OFFICIALS

Colour = tuple[int, int, int]
Colours = NDArray[np.uint8]

# Shirt, shorts, socks of well separated kits; the first pair is blue against white.
KITS: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((28, 70, 200), (26, 60, 180), (24, 56, 170)),
    ((238, 240, 244), (236, 238, 242), (238, 240, 244)),
    ((196, 26, 34), (236, 236, 238), (196, 26, 34)),
    ((24, 26, 32), (24, 26, 32), (30, 30, 34)),
    ((246, 206, 36), (26, 70, 160), (246, 206, 36)),
    ((112, 184, 232), (238, 240, 244), (112, 184, 232)),
    ((120, 24, 48), (120, 24, 48), (90, 16, 40)),
    ((22, 120, 66), (238, 240, 244), (22, 120, 66)),
    ((246, 120, 28), (28, 28, 34), (246, 120, 28)),
    ((90, 40, 140), (90, 40, 140), (238, 240, 244)),
)
_KEEPERS: tuple[Colour, ...] = ((236, 214, 40), (60, 200, 90), (250, 110, 40), (210, 80, 200), (60, 64, 72))
_OFFICIALS: tuple[Colour, ...] = ((20, 20, 24), (210, 230, 40), (30, 160, 190))
_SKIN: tuple[Colour, ...] = ((236, 192, 160), (222, 172, 132), (186, 130, 92), (132, 86, 58), (88, 56, 40))
_HAIR: tuple[Colour, ...] = ((24, 20, 18), (44, 30, 22), (80, 54, 34), (150, 112, 64), (120, 118, 116))
_BOOTS: tuple[Colour, ...] = ((20, 20, 22), (240, 240, 240), (240, 90, 40), (60, 220, 180), (240, 60, 120))

PARTS = ("shirt", "shorts", "socks", "skin", "hair", "boots", "trim")


@dataclass(frozen=True)
class Wardrobe:
    """Colours of everybody by part, (26, 3) uint8 each, rows by person id; ``build`` (26,) scales widths."""

    shirt: Colours
    shorts: Colours
    socks: Colours
    skin: Colours
    hair: Colours
    boots: Colours
    trim: Colours
    build: NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """Light and ground of one venue.

    ``stripe`` is "along", "across", "checker" or "plain"; ``shade`` is how dark a shadow gets (0..1);
    ``sun`` the metres of shadow per metre of height (x, y), (0, 0) when overcast.
    """

    grass: Colour
    stripe: str
    stripe_contrast: float
    sun: tuple[float, float]
    shade: float
    backdrop: str
    seats: Colour
    surround: Colour
    gain: float
    tint: tuple[float, float, float]
    vignette: float
    noise: float


def wardrobe(seed: int) -> Wardrobe:
    """Kits of both teams, two goalkeepers and the officials; seed 0 is blue against white."""
    rng = np.random.default_rng([seed, 2])
    home, away = (0, 1) if seed == 0 else _pair(rng)
    keepers = rng.permutation(len(_KEEPERS))[:2]
    official = _OFFICIALS[int(rng.integers(len(_OFFICIALS)))] if seed else _OFFICIALS[1]
    rows = np.empty((MAX_PEOPLE, 3, 3), np.uint8)
    for team, kit in ((HOME, home), (AWAY, away)):
        rows[team * 11 : team * 11 + 11] = KITS[kit]
        keeper = _KEEPERS[keepers[team]]
        rows[team * 11] = (keeper, keeper, keeper)
    rows[OFFICIALS * 11 :] = (official, (20, 20, 24), (20, 20, 24))
    skin = _vary(rng, np.array(_SKIN)[rng.choice(len(_SKIN), MAX_PEOPLE, p=[0.3, 0.3, 0.15, 0.15, 0.1])], 8)
    hair = _vary(rng, np.array(_HAIR)[rng.choice(len(_HAIR), MAX_PEOPLE, p=[0.45, 0.25, 0.15, 0.1, 0.05])], 6)
    boots = np.array(_BOOTS, np.uint8)[rng.integers(len(_BOOTS), size=MAX_PEOPLE)]
    dark = rows[:, 0].astype(int).sum(axis=1) < 380
    trim = np.where(dark[:, None], np.uint8(235), np.uint8(30)).repeat(3, axis=1).astype(np.uint8)
    return Wardrobe(rows[:, 0], rows[:, 1], rows[:, 2], skin, hair, boots, trim, rng.uniform(0.92, 1.12, MAX_PEOPLE))


def look(seed: int) -> Look:
    """Grass, light and surroundings; seed 0 is an overcast afternoon in a small stadium."""
    rng = np.random.default_rng([seed, 3])
    if seed == 0:
        tint = (1.0, 1.0, 1.0)
        return Look((78, 122, 62), "along", 0.20, (0.0, 0.0), 0.45, "stand", (70, 92, 150), (104, 62, 54),
                    1.0, tint, 0.18, 2.2)  # fmt: skip
    grass = np.array([78, 118, 60]) * rng.uniform(0.75, 1.2) + rng.normal(0, 8, 3)
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.6) * (rng.random() < 0.5)
    surround = np.array([(104, 62, 54), (120, 120, 118), (70, 104, 62), (60, 84, 110)][int(rng.integers(4))])
    return Look(
        grass=_colour(grass),
        stripe=("along", "across", "checker", "plain")[int(rng.integers(4))],
        stripe_contrast=float(rng.uniform(0.04, 0.22)),
        sun=(float(np.cos(angle) * length), float(np.sin(angle) * length)),
        shade=float(rng.uniform(0.25, 0.6)),
        backdrop=("stand", "trees")[int(rng.integers(2))],
        seats=_colour(rng.uniform(30, 200, 3)),
        surround=_colour(surround + rng.normal(0, 10, 3)),
        gain=float(rng.uniform(0.7, 1.2)),
        tint=(float(rng.uniform(0.92, 1.08)), 1.0, float(rng.uniform(0.9, 1.14))),
        vignette=float(rng.uniform(0.0, 0.35)),
        noise=float(rng.uniform(0.8, 5.0)),
    )


def _pair(rng: np.random.Generator) -> tuple[int, int]:
    """Two kits whose shirts differ clearly."""
    while True:
        one, other = (int(k) for k in rng.permutation(len(KITS))[:2])
        if np.abs(np.subtract(KITS[one][0], KITS[other][0])).sum() > 220:
            return one, other


def _vary(rng: np.random.Generator, colours: NDArray[np.int_], spread: float) -> Colours:
    varied: Colours = np.clip(colours + rng.normal(0, spread, colours.shape), 0, 255).astype(np.uint8)
    return varied


def _colour(values: NDArray[np.float64]) -> Colour:
    red, green, blue = (int(v) for v in np.clip(values, 0, 255))
    return red, green, blue
