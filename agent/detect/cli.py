"""``touchline detect``: look at a model on your own footage before trusting it."""

from __future__ import annotations

import re
from pathlib import Path

import click

from agent.detect.thresholds import IOU_THRESHOLD, SCORE_THRESHOLD
from touchline.shell import emit, json_option, note


def frame_range(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int | None] | None:
    """Read A:B, A:, :B or A, both ends included; raises click's usage error."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d*)(:?)(\d*)", value)
    if not match or not (match[1] or match[2]):
        raise click.BadParameter(f"{value!r} is not a range of frames; write A:B, A:, :B or A", ctx, param)
    first = int(match[1] or 0)
    last = int(match[3]) if match[3] else (None if match[2] else first)
    if last is not None and last < first:
        raise click.BadParameter(f"{value!r} ends before it begins", ctx, param)
    return first, last


@click.command(name="detect")
@click.argument("source", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--frames",
    "wanted",
    metavar="A:B",
    callback=frame_range,
    help="Frames A to B, both included, from 0 (200:249 = 50).",
)
@click.option("--model", type=click.Path(path_type=Path), help="YOLOv8-layout ONNX  [default: the project's own].")
@click.option(
    "--tiles", is_flag=True, help="Cover the frame with tiles at its own resolution (slower, sees smaller people)."
)
@click.option("--score", default=SCORE_THRESHOLD, show_default=True, help="Weakest detection kept, 0..1.")
@click.option(
    "--nms", "overlap", default=IOU_THRESHOLD, show_default=True, help="Overlap at which the weaker box goes, 0..1."
)
@click.option("--classes", help="Class numbers kept, such as 0,2  [default: all].")
@click.option("--threads", default=0, help="Threads of the engine  [default: all cores allowed].")
@click.option("--allow-large", is_flag=True, help="Accept a model above 117 MB.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="CSV of boxes in source pixels.")
@click.option(
    "--overlay", type=click.Path(path_type=Path), help="Boxes drawn: .mp4 of all frames, or .png of the first."
)
@json_option
def detect(
    *,
    source: tuple[Path, ...],
    wanted: tuple[int, int | None] | None,
    model: Path | None,
    tiles: bool,
    score: float,
    overlap: float,
    classes: str | None,
    threads: int,
    allow_large: bool,
    out: Path,
    overlay: Path | None,
    as_json: bool,
) -> None:
    """Find people in SOURCE (one video, or pictures) and write their boxes.

    The CSV has the columns frame,x1,y1,x2,y2,score,class in pixels of the source. Pictures are numbered from 0 in
    the order given. Files are written whole or not at all.

    \b
    Examples:
      touchline detect match.mp4 --out boxes.csv
      touchline detect match.mp4 --frames 200:249 --out boxes.csv --overlay look.mp4
      touchline detect match.mp4 --frames 200 --tiles --out boxes.csv --overlay look.png
      touchline detect one.jpg two.jpg --model yolov8n.onnx --classes 0 --out boxes.csv --json

    Exit codes: 0 done, 2 usage, 3 model layout or threshold, 4 video, picture or model file, 5 disk or program.
    """
    for target in (out, overlay):
        if target is not None and target.resolve() in {path.resolve() for path in source}:
            raise click.UsageError(f"{target} is the source itself; name another file to write")
    numbers = _class_numbers(classes)
    from agent.detect.look import Order, look

    order = Order(source, wanted, model, tiles, score, overlap, numbers, threads, allow_large, out, overlay)
    result, text, warnings = look(order)
    emit(result, as_json, text)
    for line in warnings:
        note(f"decoder: {line}")


def _class_numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise click.UsageError(f"--classes {text!r}: write class numbers separated by commas, such as 0,2")
    return [int(word) for word in text.split(",")]
