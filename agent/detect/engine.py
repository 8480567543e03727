"""The port that every inference engine fills, and the layout that every model must have.

The layout is YOLOv8's detection head: input (1, 3, H, W) float32 RGB 0..1 with H and W multiples of 32, one output
(1, 4 + classes, candidates) float32: cx, cy, w, h in input pixels, then one score per class after the sigmoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from touchline.errors import ConfigError

STRIDE_PX: Final = 32
MAX_MODEL_BYTES: Final = 117_000_000  # INF-5: models under 117 MB

Shape = Sequence[int | str | None]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """A loaded engine. ``input_size_px``: (width, height); ``output_shape``: (1, 4 + classes, candidates).

    ``load_ms`` is from the call of ``load`` until the first inference was done (INF-5 asks 400 at most).
    """

    name: str
    provider: str
    input_size_px: tuple[int, int]
    output_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    load_ms: float
    model_bytes: int


class Engine(Protocol):
    """One model on one piece of silicon. ``load`` first; ``infer`` then takes the same shape for ever."""

    def load(self) -> EngineInfo:
        """Read the model, check its layout, run it once. InputError: the file; ConfigError: its layout."""
        ...

    def infer(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run on a C-contiguous (1, 3, H, W); the returned (1, 4 + classes, A) is overwritten by the next call."""
        ...

    def info(self) -> EngineInfo:
        """Return what ``load`` found."""
        ...


def checked_input(name: str, shapes: Sequence[Shape], element_types: Sequence[str]) -> tuple[int, int]:
    """Return the input's (width, height), or raise ConfigError: found against expected."""
    wanted = f"one fixed input (1, 3, H, W) of float32, H and W multiples of {STRIDE_PX}"
    found = _listed(shapes, element_types)
    shape = list(shapes[0]) if len(shapes) == 1 else []
    sizes = [size for size in shape if isinstance(size, int)]
    fits = len(shape) == 4 and len(sizes) == 4 and sizes[:2] == [1, 3] and min(sizes) > 0
    if not fits or element_types[0] != "float32" or sizes[2] % STRIDE_PX or sizes[3] % STRIDE_PX:
        raise ConfigError(
            f"{name}: the model's input is {found}; expected {wanted}",
            hint="export the model with a fixed batch of 1 and a fixed size, for example 1280x736, in float32",
        )
    return sizes[3], sizes[2]


def checked_output(
    name: str, shapes: Sequence[Shape], element_types: Sequence[str], named_classes: int | None = None
) -> tuple[int, int, int]:
    """Return the output's shape (1, 4 + classes, A), or raise ConfigError: found against expected.

    ``named_classes``: how many class names the file carries, None if it carries none.
    """
    shape = list(shapes[0]) if len(shapes) == 1 else []
    sizes = [size for size in shape if isinstance(size, int)]
    fits = len(shape) == 3 and len(sizes) == 3 and sizes[0] == 1 and 5 <= sizes[1] < sizes[2]
    if not fits or element_types[0] != "float32":
        raise ConfigError(
            f"{name}: the model's output is {_listed(shapes, element_types)}; expected one output "
            "(1, 4 + classes, candidates) of float32, the YOLOv8 detection layout",
            hint=_guess(shapes),
        )
    if named_classes is not None and named_classes != sizes[1] - 4:
        raise ConfigError(
            f"{name}: the model names {named_classes} classes, but its output {tuple(sizes)} has room for "
            f"{sizes[1] - 4}; expected (1, 4 + classes, candidates)",
            hint="export a detection model: pose, oriented-box and segmentation heads have other rows",
        )
    return sizes[0], sizes[1], sizes[2]


def _listed(shapes: Sequence[Shape], element_types: Sequence[str]) -> str:
    pairs = zip(shapes, element_types, strict=True)
    words = [f"({', '.join(str(size) for size in shape)}) {kind}" for shape, kind in pairs]
    return " and ".join(words) if words else "nothing"


def _guess(shapes: Sequence[Shape]) -> str:
    """Name the export that usually gives this output, with its remedy."""
    if len(shapes) > 1:
        return "export the detection head as one output: no segmentation, no split scales"
    sizes = [size for size in shapes[0] if isinstance(size, int)] if shapes else []
    if len(sizes) == 3 and sizes[1] > sizes[2]:
        if sizes[2] == 6:
            return "this looks like a head with suppression built in: export without it (nms=False)"
        return "this looks like YOLOv5 or a transposed head: candidates must be the last axis"
    return "export a YOLOv8-layout detection model with fixed sizes"
