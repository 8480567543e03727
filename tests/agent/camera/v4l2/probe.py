"""Look at a real camera through the V4L2 backend: JSON on stdout, for any Linux machine that has Touchline installed.

Stamps are shown on CLOCK_MONOTONIC. The exit code is that of the error's kind, 0 when every frame came.

Example: python probe.py --device /dev/video0 --size 1280x720 --format rgb24 --rate 30 --frames 90
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from itertools import pairwise
from typing import Any

import numpy as np

from agent.camera.port import FrameTimeout
from agent.camera.v4l2 import V4l2Camera, open_camera
from touchline.config import CameraSection
from touchline.errors import TouchlineError
from touchline.timeline import ClockState, Stamp, Timebase, monotonic_ns, tie

READ_TIMEOUT_S = 0.2


class MonotonicClock:
    """Stamps are the monotonic clock's own numbers; their bound is only what the camera adds."""

    def now(self) -> Stamp:
        return self.at(monotonic_ns())

    def at(self, base_ns: int, timebase: Timebase = Timebase.MONOTONIC) -> Stamp:
        """The TSC is mapped by nothing here: the camera then shows when its frames arrived."""
        link = tie(timebase, Timebase.MONOTONIC)
        return Stamp(base_ns + link.difference_ns, link.half_ns, 0, ClockState.UNLOCKED)


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="/dev/video0", help="path, bus:<bus_info> or card:<name>")
    parser.add_argument("--size", default="1280x720", help="width x height of the view")
    parser.add_argument("--sensor", help="width x height asked of the driver, if it is not the view's")
    parser.add_argument("--roi", help="x,y,width,height of the sensor picture")
    parser.add_argument("--format", default="rgb24", help="gray8, rgb24, nv12 or raw16")
    parser.add_argument("--rate", type=float, default=30.0, help="frames a second")
    parser.add_argument("--frames", type=int, default=60, help="frames to read")
    parser.add_argument("--rounds", type=int, default=1, help="stop and start again so often")
    parser.add_argument("--silence", type=float, default=5.0, help="give up after so many seconds without a frame")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="option of the backend")
    parser.add_argument("--control", action="append", default=[], metavar="NAME=NUMBER", help="control set at open")
    return parser.parse_args(argv)


def numbers(text: str, sign: str) -> list[int]:
    return [int(part) for part in text.split(sign)]


def camera_of(args: argparse.Namespace) -> V4l2Camera:
    options: dict[str, Any] = {"device": args.device}
    for name, value in (pair.split("=", 1) for pair in args.option):
        options[name] = int(value) if value.isdigit() else value
    options["controls"] = {name: int(value) for name, value in (pair.split("=", 1) for pair in args.control)}
    if args.sensor:
        options["sensor_px"] = numbers(args.sensor, "x")
    width_px, height_px = numbers(args.size, "x")
    section: dict[str, Any] = {"number": 0, "source": "v4l2", "calibration": "none.json", "options": options}
    section |= {"width_px": width_px, "height_px": height_px, "pixel_format": args.format, "rate_hz": args.rate}
    if args.roi:
        section["roi"] = numbers(args.roi, ",")
    return open_camera(CameraSection.model_validate(section), MonotonicClock())


def luma(landing: memoryview, args: argparse.Namespace) -> float:
    """Mean brightness, 0 to 255; of raw words their upper byte."""
    width_px, height_px = numbers(args.size, "x")
    values = np.frombuffer(landing, np.uint8)
    if args.format == "rgb24":
        return float(values.reshape(-1, 3).mean(axis=0) @ (0.299, 0.587, 0.114))
    if args.format == "raw16":
        return float(values[1::2].mean())
    return float(values[: width_px * height_px].mean())


def read_frames(camera: V4l2Camera, args: argparse.Namespace, frames: list[dict[str, Any]]) -> int:
    """Append what was read to ``frames``; return how often nothing came in time."""
    landing = memoryview(bytearray(camera.info().frame_bytes))
    heard_ns, timeouts = monotonic_ns(), 0
    while len(frames) < args.frames:
        before_ns = monotonic_ns()
        try:
            frame = camera.read(landing, READ_TIMEOUT_S)
        except FrameTimeout:
            timeouts += 1
            if monotonic_ns() - heard_ns > args.silence * 1e9:
                raise
            continue
        heard_ns = monotonic_ns()
        assert frame is not None
        frames.append(
            {
                "sequence": frame.sequence,
                "start_ns": frame.stamp.ptp_ns,
                "bound_us": frame.stamp.bound_ns / 1000,
                "age_ms": (heard_ns - frame.stamp.ptp_ns) / 1e6,
                "read_ms": (heard_ns - before_ns) / 1e6,
                "luma": round(luma(landing, args), 2),
            }
        )
    return timeouts


def summary(frames: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates, gaps and ages of one round."""
    if len(frames) < 2:
        return {"frames": len(frames)}
    gaps = [(a["sequence"], b["sequence"] - a["sequence"] - 1) for a, b in pairwise(frames)]
    steps_ms = [(b["start_ns"] - a["start_ns"]) / 1e6 / (b["sequence"] - a["sequence"]) for a, b in pairwise(frames)]
    passed_s = (frames[-1]["start_ns"] - frames[0]["start_ns"]) / 1e9
    ages_ms = sorted(frame["age_ms"] for frame in frames)
    return {
        "frames": len(frames),
        "sensor_rate_hz": round((frames[-1]["sequence"] - frames[0]["sequence"]) / passed_s, 3),
        "delivered_rate_hz": round((len(frames) - 1) / passed_s, 3),
        "lost": sum(missing for _, missing in gaps),
        "gaps": [{"after": after, "missing": missing} for after, missing in gaps if missing],
        "period_ms": {"min": min(steps_ms), "max": max(steps_ms)},
        "age_ms": {"min": ages_ms[0], "median": ages_ms[len(ages_ms) // 2], "max": ages_ms[-1]},
        "luma": {"min": min(frame["luma"] for frame in frames), "max": max(frame["luma"] for frame in frames)},
    }


def main(argv: list[str]) -> int:
    """Run the probe; what was seen before an error is shown with it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    args = arguments(argv)
    report: dict[str, Any] = {"rounds": []}
    code = 0
    try:
        camera = camera_of(args)
        try:
            camera.open()
            for _ in range(args.rounds):
                frames: list[dict[str, Any]] = []
                report["rounds"].append({"frames": frames})
                camera.start()
                report["rounds"][-1]["timeouts"] = read_frames(camera, args, frames)
                camera.stop()
            report["source"], report["rate_hz"] = camera.info().source, camera.info().rate_hz
        finally:
            camera.close()
    except TouchlineError as error:
        code = error.exit_code
        report["error"] = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    for one in report["rounds"]:
        one["summary"] = summary(one["frames"])
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
