"""``touchline calibrate``: from clicked landmarks to a calibration file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from touchline.errors import ConfigError, GateError, InputError, ResourceError
from touchline.shell import emit, json_option, note

if TYPE_CHECKING:
    from calibration.board import BoardResult
    from calibration.calibrate import Outcome

_FILE = click.Path(path_type=Path)


class _Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic only in newer click
    """Two positive numbers with an x between them."""

    name = "WxH"

    def __init__(self, whole: bool) -> None:
        self.whole = whole

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float] | tuple[int, int]:
        """Parse ``105x68`` or ``3072x1728``."""
        if isinstance(value, tuple):
            return value
        number = r"(\d{1,6})" if self.whole else r"(\d{1,4}(?:\.\d+)?)"
        match = re.fullmatch(rf"{number}x{number}", str(value))
        if match is None or not all(float(part) > 0 for part in match.groups()):
            self.fail(f"{value!r} is not two positive numbers with an x between them", param, ctx)
        if self.whole:
            return int(match[1]), int(match[2])
        return float(match[1]), float(match[2])


@click.group()
def calibrate() -> None:
    """Camera calibration: pixels to metres.

    \b
    Examples:
      touchline calibrate camera --landmarks left_landmarks.xml --out left.json
      touchline calibrate camera --landmarks left.xml --checkerboards boards --board 9x5 --out left.json
    """


@dataclass(frozen=True)
class _Request:
    """What the user asked for."""

    landmarks: Path
    image: str | None
    relabel: tuple[str, ...]
    checkerboards: Path | None
    board: tuple[int, int]
    image_size: tuple[int, int] | None
    pitch: tuple[float, float]
    crown: float | None
    name: str


@calibrate.command()
@click.option("--landmarks", type=_FILE, required=True, help='CVAT XML; each label is "(x,y)" in metres.')
@click.option("--image", help="Which image of the XML, if several have landmarks.")
@click.option("--relabel", multiple=True, metavar="OLD=NEW", help="Correct a label before solving; repeatable.")
@click.option("--checkerboards", type=_FILE, help="Folder of stills of a checkerboard, same camera and mode.")
@click.option("--board", type=_Size(True), default="9x5", show_default=True, help="Inner corners of the board.")
@click.option("--image-size", type=_Size(True), help="Size of the source's images; refused if the XML differs.")
@click.option("--pitch", type=_Size(False), default="105x68", show_default=True, help="Length x width in metres.")
@click.option("--crown", type=click.FloatRange(0, 1), help="Rise of the centre spot in metres. [default: measured]")
@click.option("--name", default="", help="Name of the camera, kept in the file.")
@click.option("--still", type=_FILE, help="An image or video of this camera to draw the lines over.")
@click.option("--picture", type=_FILE, help="Write an SVG: errors and certainty on the pitch, lines over the still.")
@click.option("--out", type=_FILE, required=True, help="The calibration file to write (JSON).")
@click.option("--require-gate", is_flag=True, help="Exit 8 when the 0.08 m gate (POS-1) is missed.")
@json_option
def camera(
    *,
    still: Path | None,
    picture: Path | None,
    out: Path,
    require_gate: bool,
    as_json: bool,
    **request: Any,
) -> None:
    """Lens and pose of one camera from clicked landmarks.

    Wrong landmarks are found, named and left out. The file is written with the residuals in metres even where the
    0.08 m gate is missed; --require-gate turns a miss into exit code 8.

    \b
    Examples:
      touchline calibrate camera --landmarks left.xml --out left.json
      touchline calibrate camera --landmarks left.xml --checkerboards boards/ --board 9x5 --out left.json
      touchline calibrate camera --landmarks left.xml --still left.mp4 --picture left.svg --out left.json
      touchline calibrate camera --landmarks left.xml --relabel "(0,14.84)=(0,13.84)" --out left.json --json
    """
    from calibration import report

    _check_paths(out, picture, still)
    outcome, board = _run(_Request(**request))
    if picture is not None:
        _write_picture(outcome, still, picture)
    outcome.calibration.save(out)
    emit(report.to_values(outcome, board, str(out)), as_json, report.to_text(outcome, board, str(out)))
    quality = outcome.calibration.quality
    if require_gate and quality is not None and not quality.gate_holds:
        raise GateError(
            f"ground error {quality.rms_m:.3f} m RMS misses the {quality.gate_m:.2f} m gate (POS-1)",
            hint="correct the named landmarks, click painted marks at pixel precision, add checkerboard stills",
        )


def _check_paths(out: Path, picture: Path | None, still: Path | None) -> None:
    """Refuse before the work what would fail after it."""
    if picture is not None and picture.suffix.lower() != ".svg":
        raise click.BadParameter("the picture is an SVG; give a name ending in .svg", param_hint="--picture")
    if still is not None and picture is None:
        raise click.BadParameter("--still needs --picture to draw into", param_hint="--still")
    for path in (out, picture):
        if path is not None and not path.absolute().parent.is_dir():
            raise ResourceError(f"folder {path.absolute().parent} does not exist", hint="create it first")


def _run(request: _Request) -> tuple[Outcome, BoardResult | None]:
    from calibration.board import calibrate_boards, require_same_size
    from calibration.calibrate import calibrate as solve
    from calibration.landmarks import load_cvat

    landmarks = load_cvat(request.landmarks, request.image).relabelled(_changes(request.relabel))
    if request.image_size not in (None, landmarks.image_size_px):
        width, height = landmarks.image_size_px
        raise ConfigError(
            f"{request.landmarks} was clicked on a {width}x{height} image, --image-size says "
            f"{request.image_size[0]}x{request.image_size[1]}",
            hint="click the landmarks on an image of the source's own size",
        )
    board = None
    if request.checkerboards is not None:
        note(f"reading checkerboards in {request.checkerboards} ...")
        board = calibrate_boards(request.checkerboards, request.board)
        require_same_size(board, landmarks.image_size_px, request.checkerboards)
    outcome = solve(landmarks, request.pitch, board=board, crown_m=request.crown, camera=request.name)
    return outcome, board


def _changes(relabel: tuple[str, ...]) -> list[tuple[str, str]]:
    changes = []
    for text in relabel:
        old, separator, new = text.partition("=")
        if not separator:
            raise click.BadParameter(f"{text!r} is not OLD=NEW", param_hint="--relabel")
        changes.append((old.strip(), new.strip()))
    return changes


def _write_picture(outcome: Outcome, still: Path | None, picture: Path) -> None:
    import cv2
    import numpy as np

    from calibration.picture import draw

    image = None
    if still is not None:
        frame = cv2.imread(str(still)) if still.is_file() else None
        if frame is None and still.is_file():
            frame = cv2.VideoCapture(str(still)).read()[1]
        if frame is None:
            raise InputError(f"{still} is no readable image or video", hint="give a frame of this camera")
        outcome.calibration.check_source(frame.shape[1], frame.shape[0], str(still))
        image = np.asarray(frame, dtype=np.uint8)
    try:
        picture.write_text(draw(outcome.calibration, image), encoding="utf-8")
    except OSError as error:
        raise ResourceError(f"{picture} cannot be written: {error.strerror}", hint="check folder and disk") from error
