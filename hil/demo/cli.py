"""``touchline demo``: the whole chain on this machine."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from touchline.errors import ConfigError, ResourceError
from touchline.shell import note


@click.command()
@click.option("--seconds", default=30.0, show_default=True, type=click.FloatRange(1, 86_400), help="How long to run.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures to this file (- prints).")
@click.option("--headless", is_flag=True, help="No live terminal view, for CI.")
@click.option("--video", type=click.Path(path_type=Path), help="Use this recording instead of the simulated venue.")
@click.option("--calibration", type=click.Path(path_type=Path), help="Calibration of the recording's camera.")
@click.option("--fps", default=25.0, show_default=True, type=click.FloatRange(1, 240), help="Simulated camera rate.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 64), help="Engine threads per camera.")
@click.option("--seed", default=7, show_default=True, type=click.IntRange(0), help="Which simulated match.")
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="Port of the page; 0 = any.")
@click.option("--plain-port", type=click.IntRange(0, 65535), help="Also offer plain MQTT on loopback, for Wireshark.")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Keep logs, configuration and the match in a new folder below."
)
def demo(json_file: Path | None, headless: bool, keep: Path | None, **asked: Any) -> None:
    """Two cameras, one node, a broker with TLS and the aggregator with its page, on this machine.

    Without --video a rendered match with known truth is filmed, so that the figures include the position error.
    Exits with 8 when a record was lost or doubled.

    \b
    Examples:
      touchline demo
      touchline demo --seconds 60 --port 8080
      touchline demo --headless --seconds 10 --json demo.json
      touchline demo --video left_camera.mp4 --calibration left.json
    """
    from rich.console import Console

    if json_file is not None and str(json_file) != "-" and not json_file.absolute().parent.is_dir():
        raise ResourceError(f"--json {json_file}: its folder does not exist", hint="make it first")

    from hil.demo.run import judge, run_demo
    from hil.demo.show import result_table

    with ExitStack() as stack:
        folder = (
            _run_folder(keep) if keep else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tl-demo-")))
        )
        plan = _plan(folder, **asked)
        watch = stack.enter_context(_Watch(plan.seconds, headless or not sys.stderr.isatty()))
        result = run_demo(plan, folder, watch)
    if json_file is not None and str(json_file) != "-":
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    if json_file is not None and str(json_file) == "-":
        click.echo(json.dumps(result, indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 100).print(result_table(result))
    judge(result)


def _run_folder(keep: Path) -> Path:
    """A folder of its own for this run, so that no run reads another's match or spool."""
    for number in range(1, 10_000):
        folder = keep / f"run-{number:03d}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        note(f"keeping logs, configuration, keys and the match in {folder}")
        return folder
    raise ResourceError(f"{keep} holds 9,999 runs", hint="remove some")


def _plan(folder: Path, video: Path | None, calibration: Path | None, port: int, fps: float, **rest: Any) -> Any:
    from agent.camera.ffmpeg import probe
    from hil.demo.plan import DemoPlan, venue_cameras, video_camera
    from hil.venue.optics import write_calibrations

    if (video is None) != (calibration is None):
        raise ConfigError("--video and --calibration go together", hint="touchline calibrate camera makes the second")
    if video is not None and calibration is not None:
        cameras = video_camera(video, calibration, probe(video).rate_hz)
    else:
        cameras = venue_cameras(write_calibrations(folder / "calibration"), fps, rest["seed"])
    return DemoPlan(cameras=cameras, video=video, page_port=port, **rest)


class _Watch:
    """Shows the running demo: a live view in a terminal, a line now and then elsewhere."""

    def __init__(self, seconds: float, plain: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._seconds, self._plain, self._said_s = seconds, plain, -10.0
        self._live = None if plain else Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def __enter__(self) -> _Watch:
        note("starting broker, aggregator and agent ...")
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, stage: Any, elapsed_s: float) -> None:
        from hil.demo.show import live_view

        if self._live is not None:
            view = live_view(stage.url, elapsed_s, self._seconds, stage.status(), stage.stats())
            self._live.update(view, refresh=True)
        elif elapsed_s - self._said_s >= 5.0:
            self._said_s = elapsed_s
            stored = stage.stats().get("records", {}).get("unique", 0)
            note(f"{elapsed_s:5.1f} of {self._seconds:g} s, {stored} records stored, page {stage.url}")
