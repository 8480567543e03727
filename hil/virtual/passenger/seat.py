"""A seat's plan: names, addresses and the configuration of the agent that sits there. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from hil.virtual.ports import RACK_ADDRESS
from touchline.errors import ConfigError

SEATS: Final = ("a", "b")
CAMERA_PX: Final = (640, 360)
RATE_HZ: Final = 30.0
BROKER_PORT: Final = 8883

FOLDER: Final = "/etc/touchline"
PKI: Final = f"{FOLDER}/pki"
CONFIG: Final = f"{FOLDER}/node.toml"
RUN_DIR: Final = "/run/touchline"
SPOOL_DIR: Final = "/var/lib/touchline/spool"
UNIT: Final = "touchline-agent.service"
CAMERA_PATHS: Final = tuple(f"/dev/v4l/by-path/platform-vivid.{index}-video-index0" for index in range(2))
"""udev's stable names: the numbers of /dev/video* move when the driver is bound again."""

OPTICS_PATH: Final = "/dev/touchline-optics"
OPTICS_FILE: Final = "/etc/touchline-hil/optics.json"
"""Where it lies in a node, the shared camera is fed; what is in it says what is to be seen."""


@dataclass(frozen=True, slots=True)
class Passenger:
    """How the agent of one seat is set up. ``extra`` overrides keys of a table: ``{"publish": {"window_ms": 50}}``.

    ``camera``: ``vivid`` for the kernel's test pictures, with all the faults of that driver; ``optics`` for the one
    camera whose frames all nodes share.
    """

    seat: str
    cameras: int = 1
    camera: Literal["vivid", "optics"] = "vivid"
    extra: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()

    @property
    def name(self) -> str:
        """The node's name, which is also its certificate's."""
        return f"orin-{self.seat}"

    @property
    def camera_paths(self) -> tuple[str, ...]:
        """The devices of its cameras. Raises ConfigError for more than the node has."""
        there = CAMERA_PATHS if self.camera == "vivid" else (OPTICS_PATH,)
        if not 0 < self.cameras <= len(there):
            raise ConfigError(
                f"{self.name} with {self.cameras} cameras: {self.camera} has {len(there)}",
                hint=f"cameras=1{' or 2' if len(there) > 1 else ''}",
            )
        return there[: self.cameras]


def crew(seats: Iterable[str]) -> tuple[Passenger, ...]:
    """The passengers of a site: one alone looks at test pictures, twins look through the same optics."""
    taken = tuple(seats)
    return tuple(Passenger(seat, camera="optics" if len(taken) > 1 else "vivid") for seat in taken)


def node_toml(passenger: Passenger) -> str:
    """The seat's ``node.toml``."""
    width, height = CAMERA_PX
    blocks = [_table("node", {"name": passenger.name, "run_dir": RUN_DIR})]
    for index, path in enumerate(passenger.camera_paths):
        camera = {
            "number": index + 1,
            "source": "v4l2",
            "width_px": width,
            "height_px": height,
            "pixel_format": "nv12",
            "rate_hz": RATE_HZ,
            "calibration": "camera.json",
        }
        blocks += [_table("[camera]", camera), _table("camera.options", {"device": path})]
    tables: dict[str, dict[str, Any]] = {
        "ring": {"slots": 60, "lock": "required"},
        "detect": {"model": "bright_patches.onnx", "score_threshold": 0.3},
        "publish": {"spool_dir": SPOOL_DIR, "spool_max": "128MiB"},
        "mqtt": {
            "host": RACK_ADDRESS,
            "port": BROKER_PORT,
            "ca_file": f"{PKI}/ca.crt",
            "cert_file": f"{PKI}/node.crt",
            "key_file": f"{PKI}/node.key",
            "client_id": passenger.name,
        },
        "process": {"restart_limit": 20, "drain_s": 10.0},
    }
    for table, rows in passenger.extra:
        tables.setdefault(table, {}).update(rows)
    return "\n\n".join([*blocks, *(_table(name, rows) for name, rows in tables.items())]) + "\n"


def _table(name: str, rows: dict[str, Any]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in rows.items())])
