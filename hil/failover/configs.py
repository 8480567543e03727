"""The configuration files of a simulated site: rack.toml and one node.toml each, as a technician would write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from hil.failover.net import (
    ADDRESS,
    DIRECT_ADDRESS,
    NODES,
    PREFIX_LENGTH,
    RACK,
    UPLINK,
    VIRTUAL_ADDRESS,
    NodeId,
)
from hil.failover.people import SIZE_PX
from hil.rack.pki import Identity

BROKER_PORT: Final = 8883
PAGE_PORT: Final = 8080
WITNESS_PORT: Final = 7401
BEAT_PORT: Final = 7400
MIRROR_PORT: Final = 7500
RECORDINGS: Final = "recordings"
PAIR: Final = "pair-1"
CAMERA: Final = 1
CAMERA_BUFFERS: Final = 16  # what two cores shared with others may make a capture late by, 0.6 s, costs no exposure

Tables = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """What varies between sites. ``failover`` is added to ``[failover]`` of both nodes, ``start`` to each one's own.

    ``recording``: both nodes record and mirror each other's open file over the direct path.

    ``offset_us``: node b's camera exposes so much later than node a's: what two triggers differ by. The same exposure
    has then two keys, so that only the rack's rule keeps it from being there twice.
    """

    rate_hz: float = 25.0
    offset_us: float = 150.0
    spool_mib: int = 32
    recording: bool = False
    failover: Mapping[str, Any] = field(default_factory=dict)
    start: Mapping[NodeId, Literal["auto", "active", "standby"]] = field(default_factory=dict)
    more: Tables = field(default_factory=dict)  # further tables of both nodes, "[recording]" for one

    @property
    def period_ns(self) -> int:
        """Between two exposures."""
        return round(1e9 / self.rate_hz)


ASKED: Final = {"beat_ms": 200.0, "silence_ms": 600.0, "lease_ms": 600.0}
"""The mode that was asked for (FOV-1): 200 ms x 3."""


def node_name(node: NodeId) -> str:
    """The name in its certificate."""
    return f"node-{node}"


def other(node: NodeId) -> NodeId:
    """Its twin."""
    return NODES[1 - NODES.index(node)]


def node_toml(node: NodeId, settings: SiteSettings, identity: Identity, failover: bool = True) -> str:
    """The node's configuration; its files lie beside it."""
    width_px, height_px = SIZE_PX
    offset_us = 0.0 if node == "a" else settings.offset_us
    options = {"grid": True, "grid_offset_us": offset_us, "buffers": CAMERA_BUFFERS}
    camera = {
        "number": CAMERA,
        "source": "pattern",
        "width_px": width_px,
        "height_px": height_px,
        "pixel_format": "gray8",
        "rate_hz": settings.rate_hz,
        "calibration": "left.json",
        "options": options,
    }
    tables: dict[str, Mapping[str, Any]] = {
        "node": {"name": node_name(node), "run_dir": "run"},
        "ring": {"slots": 32, "lock": "off"},
        "detect": {"model": "people.onnx", "max_lag_ms": 0.0},
        "track": {"confirm_hits": 1},
        "publish": {"spool_dir": "spool", "spool_max": f"{settings.spool_mib // 2}MiB"},
        "mqtt": _mqtt(identity),
        "metrics": {"port": 0},
        **settings.more,
    }
    if settings.recording:
        tables["record"] = _record(node)
    if failover:
        tables["failover"] = _failover(node, settings)
    return _toml(tables, camera)


def rack_toml(settings: SiteSettings, identity: Identity, witness: bool = True) -> str:
    """The rack's configuration; its files lie beside it."""
    tables: dict[str, Mapping[str, Any]] = {
        "mqtt": _mqtt(identity) | {"client_id": "touchline-rack"},
        "store": {"path": "match.sqlite"},
        "accept": {"rate_hz": settings.rate_hz},
        "web": {"bind": ADDRESS[RACK], "port": PAGE_PORT},
    }
    if witness:
        tables["witness"] = {
            "bind": f"{ADDRESS[RACK]}:{WITNESS_PORT}",
            "state_file": "witness-epochs.json",
            "run_dir": "run",
            "pairs": {PAIR: [node_name(node) for node in NODES]},
            "lease_limit_ms": settings.failover.get("lease_ms", 100.0),
        }
    return _toml(tables, None)


def _failover(node: NodeId, settings: SiteSettings) -> dict[str, Any]:
    twin = other(node)
    paths = [[f"{table[node]}:{BEAT_PORT}", f"{table[twin]}:{BEAT_PORT}"] for table in (ADDRESS, DIRECT_ADDRESS)]
    return {
        "pair": PAIR,
        "twin": node_name(twin),
        "paths": paths,
        "witness": f"{ADDRESS[RACK]}:{WITNESS_PORT}",
        "start": settings.start.get(node, "auto"),
        "preferred": node == "a",
        "address": f"{VIRTUAL_ADDRESS}/{PREFIX_LENGTH}",
        "address_interface": UPLINK,
        **settings.failover,
    }


def _record(node: NodeId) -> dict[str, Any]:
    """An encoder that two cores can afford four times."""
    listen, peer = (f"{DIRECT_ADDRESS[one]}:{MIRROR_PORT}" for one in (node, other(node)))
    return {
        "folder": RECORDINGS,
        "preset": "ultrafast",
        "threads": 1,
        "max_size": "2GiB",
        "mirror_listen": listen,
        "mirror_peer": peer,
    }


def _mqtt(identity: Identity) -> dict[str, Any]:
    files = {name: str(getattr(identity, name).resolve()) for name in ("ca_file", "cert_file", "key_file")}
    return {"host": ADDRESS[RACK], "port": BROKER_PORT, **files}


def _toml(tables: Tables, camera: Mapping[str, Any] | None) -> str:
    blocks = [_block(f"[{name}]", table) for name, table in tables.items()]
    if camera is not None:
        blocks.append(_block("[[camera]]", camera))
    return "\n\n".join(blocks) + "\n"


def _block(head: str, table: Mapping[str, Any]) -> str:
    return "\n".join([head, *(f"{key} = {_value(value)}" for key, value in table.items())])


def _value(value: Any) -> str:
    """A TOML value; JSON's but for tables in a line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, Path):
        return json.dumps(str(value))
    return json.dumps(value)
