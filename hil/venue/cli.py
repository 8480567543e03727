"""``touchline hil venue``: look at the simulated venue, write its calibrations, make training pictures."""

from __future__ import annotations

from pathlib import Path

import click
import cv2

from hil.venue.dataset import dataset
from hil.venue.optics import SIDES, site_camera, write_calibrations
from hil.venue.players import MAX_PEOPLE, Venue
from hil.venue.render import Image, Renderer
from touchline.errors import ResourceError
from touchline.shell import emit, json_option


@click.group()
def venue() -> None:
    """The simulated venue: a rendered match with known truth.

    \b
    Examples:
      touchline hil venue render --out frame.png --camera right --t 12.5 --boxes
      touchline hil venue dataset --out frames --frames 400 --seed 1
    """


@venue.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="PNG or JPEG file.")
@click.option("--camera", type=click.Choice(SIDES), default="left", show_default=True, help="Which camera.")
@click.option("--t", "t_s", type=float, default=3.0, show_default=True, help="Second of the match.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Which match.")
@click.option("--people", type=click.IntRange(1, MAX_PEOPLE), default=25, show_default=True, help="How many people.")
@click.option("--boxes", is_flag=True, help="Draw the true boxes.")
@json_option
def render(*, out: Path, camera: str, t_s: float, seed: int, people: int, boxes: bool, as_json: bool) -> None:
    """Render one frame of the venue to a picture file.

    \b
    Examples:
      touchline hil venue render --out frame.png
      touchline hil venue render --out right.png --camera right --t 12.5 --boxes
    """
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise click.BadParameter("the name must end in .png, .jpg or .jpeg", param_hint="--out")
    ptp_ns = round(t_s * 1e9)
    renderer = Renderer(Venue(seed, people), site_camera(camera))
    picture, truth = renderer.render(ptp_ns), renderer.boxes_at(ptp_ns)
    if boxes:
        for box in truth:
            corners = (round(box.x1_px), round(box.y1_px)), (round(box.x2_px), round(box.y2_px))
            cv2.rectangle(picture, *corners, (255, 230, 0), 1)
    _write(out, picture)
    emit({"file": str(out), "people": len(truth)}, as_json, f"{out}: {len(truth)} people in view")


@venue.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write.")
@json_option
def calibrations(out: Path, as_json: bool) -> None:
    """Write the exact calibration file of each simulated camera.

    \b
    Examples:
      touchline hil venue calibrations --out run/calibration
    """
    paths = write_calibrations(out)
    emit({side: str(path) for side, path in paths.items()}, as_json, "\n".join(str(path) for path in paths.values()))


venue.add_command(dataset)


def _write(out: Path, picture: Image) -> None:
    _, data = cv2.imencode(out.suffix.lower(), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    try:
        out.write_bytes(data.tobytes())
    except OSError as error:
        raise ResourceError(f"{out} cannot be written: {error.strerror}", hint="choose another --out") from error
