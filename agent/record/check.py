"""A recording played through: every PTS step, every key frame, every complaint of the decoder, and PTS beside PTP."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from agent.record.read import Recording, read_recording
from touchline.errors import InputError, ResourceError
from touchline.run import need

STEP_LIMIT_MS: Final = 33.367  # FOV-3: one frame at 29.97 Hz
_PACKAGE: Final = "ffmpeg"
_DECODE_TIMEOUT_S: Final = 6 * 3600.0
_TOLD: Final = 5


@dataclass(frozen=True, slots=True)
class Playback:
    """What ffprobe and ffmpeg see: PTS in us, key flags, pictures decoded, complaints."""

    pts_us: Sequence[int]
    keys: Sequence[bool]
    decoded: int
    complaints: Sequence[str]


def play(path: Path, *, decode: bool = True) -> Playback:
    """Read every packet and, unless told not to, decode every picture. Raises InputError for what is no video."""
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="give the path of a recording")
    words = [need("ffprobe", _PACKAGE), "-v", "error", "-select_streams", "V:0", "-show_entries", "packet=pts,flags"]
    rows, complaints = _lines([*words, "-of", "csv=p=0", f"file:{path}"], path)
    fields = [row.split(",") for row in rows if "," in row]
    try:
        pts = [int(field[0]) for field in fields]
    except ValueError as error:
        raise InputError(f"{path}: a picture without a time") from error
    if not pts:
        raise InputError(f"{path}: no video in it", hint="give the path of a recording")
    scale = _time_base_hz(path)
    decoded = len(pts)
    if decode:
        words = [need("ffmpeg", _PACKAGE), "-nostdin", "-hide_banner", "-v", "error", "-i", f"file:{path}"]
        seen, wrong = _lines([*words, "-map", "0:V:0", "-fps_mode", "passthrough", "-f", "framecrc", "pipe:1"], path)
        decoded = sum(1 for line in seen if line and not line.startswith("#"))
        complaints += wrong
    return Playback(
        [round(one * 1e6 / scale) for one in pts], ["K" in field[1] for field in fields], decoded, complaints
    )


def _time_base_hz(path: Path) -> float:
    words = [need("ffprobe", _PACKAGE), "-v", "error", "-select_streams", "V:0", "-show_entries", "stream=time_base"]
    rows, _ = _lines([*words, "-of", "csv=p=0", f"file:{path}"], path)
    above, _, below = rows[0].strip().strip(",").partition("/")
    return int(below) / int(above)


def _lines(words: Sequence[str], path: Path) -> tuple[list[str], list[str]]:
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_DECODE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ResourceError(f"{words[0]} did not finish {path} within {_DECODE_TIMEOUT_S:g} s") from error
    complaints = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    if done.returncode != 0:
        raise InputError(f"{path} cannot be played: {complaints[0] if complaints else done.returncode}")
    return done.stdout.decode(errors="replace").splitlines(), complaints


def check(path: Path, limit_ms: float = STEP_LIMIT_MS, *, decode: bool = True) -> dict[str, Any]:
    """Play a recording through and say what was found; ``good``: no step above the limit, nothing complained of."""
    played = play(path, decode=decode)
    pts = np.array(played.pts_us, np.int64)
    steps = np.diff(pts)
    keys = np.flatnonzero(played.keys)
    recording = read_recording(path) if _is_ours(path) else None
    torn = 0 if recording is None else recording.torn_bytes
    value: dict[str, Any] = {
        "file": str(path),
        "pictures": len(pts),
        "decoded": played.decoded,
        "seconds": round(float(pts[-1] - pts[0]) / 1e6, 6),
        "step_min_ms": _ms(steps.min(initial=pts[-1] - pts[0])),
        "step_median_ms": _ms(np.median(steps)) if len(steps) else 0.0,
        "step_max_ms": _ms(steps.max(initial=0)),
        "step_limit_ms": limit_ms,
        "steps_above": int((steps > limit_ms * 1e3).sum()),
        "steps_backward": int((steps <= 0).sum()),
        "key_frames": len(keys),
        "key_distance_max": int(np.diff(np.append(keys, len(pts))).max(initial=0)),
        "torn_bytes": torn,
        "complaints": list(played.complaints[:_TOLD]),
        "complaint_count": len(played.complaints),
        "ptp": None if recording is None else _beside_ptp(recording, pts),
    }
    whole = played.decoded == len(pts) and bool(len(keys)) and int(keys[0]) == 0
    quiet = not played.complaints or torn > 0  # a torn tail is complained of, and nothing else may be
    value["good"] = bool(whole and quiet and not value["steps_above"] and not value["steps_backward"])
    return value


def _ms(us: float) -> float:
    return round(float(us) / 1e3, 3)


def _is_ours(path: Path) -> bool:
    try:
        return read_recording(path) is not None
    except InputError:
        return False


def _beside_ptp(recording: Recording, pts_us: Any) -> dict[str, Any]:
    """How far the file's PTS are from the exposures that its boxes name, and whose pictures they are."""
    frames = recording.frames
    ptp = frames["ptp_ns"].astype(np.int64)
    count = min(len(ptp), len(pts_us))
    same_clock = np.flatnonzero(np.diff(frames["clock_epoch"][:count]) != 0)
    until = int(same_clock[0]) + 1 if len(same_clock) else count  # across a step of the clock they need not agree
    error_ns = (pts_us[:until] - pts_us[0]) * 1000 - (ptp[:until] - ptp[0])
    return {
        "node": recording.head.node,
        "camera": recording.head.camera,
        "first_ptp_ns": int(ptp[0]),
        "last_ptp_ns": int(ptp[-1]),
        "pictures": len(ptp),
        "compared": until,
        "pts_error_max_us": round(float(np.abs(error_ns).max(initial=0)) / 1e3, 3),
        "active_pictures": int(frames["active"].sum()),
        "bound_max_us": round(float(frames["bound_ns"].max(initial=0)) / 1e3, 3),
    }
