"""What the demo runs and the two configuration files it writes for it. Pure but for writing them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hil.rack.pki import Identity

NODE: Final = "demo-node"
SIDES: Final = ("left", "right")
SIZE_PX: Final = (1280, 720)


@dataclass(frozen=True, slots=True)
class CameraPlan:
    """One camera of the demo: its number, its calibration and the lines of its ``[camera.options]``."""

    number: int
    source: str
    calibration: Path
    options: dict[str, Any]
    rate_hz: float
    pixel_format: str


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """Everything the demo was asked for."""

    seconds: float
    cameras: tuple[CameraPlan, ...]
    threads: int
    seed: int
    video: Path | None = None
    page_port: int = 0
    plain_port: int | None = None
    window_ms: float = 0.0

    @property
    def simulated(self) -> bool:
        """Whether the truth is known."""
        return self.video is None


def venue_cameras(calibrations: dict[str, Path], rate_hz: float, seed: int) -> tuple[CameraPlan, ...]:
    """The two cameras of the simulated venue."""
    return tuple(
        CameraPlan(number, "venue", calibrations[side], {"seed": seed, "side": side}, rate_hz, "rgb24")
        for number, side in enumerate(SIDES, start=1)
    )


def video_camera(video: Path, calibration: Path, rate_hz: float) -> tuple[CameraPlan, ...]:
    """One camera that plays a recording in real time, again and again."""
    options = {"file": str(video.resolve()), "pace": "realtime", "loop": True}
    return (CameraPlan(1, "video", calibration.resolve(), options, rate_hz, "rgb24"),)


def _toml(value: object) -> str:
    """A TOML scalar; JSON's strings, numbers and booleans are also TOML's."""
    return json.dumps(str(value) if isinstance(value, Path) else value)


def _table(name: str, rows: dict[str, Any]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in rows.items())])


def _mqtt(port: int, identity: Identity, client_id: str) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": port,
        "ca_file": identity.ca_file,
        "cert_file": identity.cert_file,
        "key_file": identity.key_file,
        "client_id": client_id,
    }


def node_toml(plan: DemoPlan, folder: Path, broker_port: int, identity: Identity) -> str:
    """The node's configuration."""
    width, height = SIZE_PX
    parts = [_table("node", {"name": NODE, "run_dir": folder / "run"})]
    for camera in plan.cameras:
        rows = {
            "number": camera.number,
            "source": camera.source,
            "width_px": width,
            "height_px": height,
            "pixel_format": camera.pixel_format,
            "rate_hz": camera.rate_hz,
            "calibration": camera.calibration,
        }
        parts += [_table("[camera]", rows), _table("camera.options", camera.options)]
    parts += [
        _table("ring", {"slots": 32, "lock": "auto"}),
        _table("detect", {"threads": plan.threads}),
        _table("publish", {"spool_dir": folder / "spool", "window_ms": plan.window_ms, "wait_for_sink": True}),
        _table("mqtt", _mqtt(broker_port, identity, NODE)),
        _table("metrics", {"port": 0}),
    ]
    return "\n\n".join(parts) + "\n"


def rack_toml(plan: DemoPlan, folder: Path, broker_port: int, identity: Identity) -> str:
    """The aggregator's configuration."""
    title = "Touchline demo" if plan.simulated else f"Touchline: {plan.video.name if plan.video else ''}"
    parts = [
        _table("mqtt", _mqtt(broker_port, identity, "touchline-rack")),
        _table("store", {"path": folder / "match.sqlite", "synchronous": "normal"}),
        _table("web", {"port": plan.page_port, "title": title}),
    ]
    return "\n\n".join(parts) + "\n"
