"""A seat's configuration is one that the agent accepts."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.virtual.passenger.seat import CAMERA_PATHS, Passenger, node_toml
from touchline.config import NodeConfig, load


def loaded(tmp_path: Path, passenger: Passenger) -> NodeConfig:
    path = tmp_path / "node.toml"
    path.write_text(node_toml(passenger))
    return load(path, NodeConfig)


@pytest.mark.parametrize(("seat", "cameras"), [("a", 1), ("b", 2)])
def test_configuration_is_accepted(tmp_path: Path, seat: str, cameras: int):
    config = loaded(tmp_path, Passenger(seat, cameras))
    assert config.node.name == f"orin-{seat}"
    assert [camera.options["device"] for camera in config.camera] == list(CAMERA_PATHS[:cameras])
    assert config.ring.lock == "required"


def test_twins_see_the_same_cameras(tmp_path: Path):
    numbers = [[camera.number for camera in loaded(tmp_path, Passenger(seat)).camera] for seat in "ab"]
    assert numbers[0] == numbers[1]


def test_extra_keys_win(tmp_path: Path):
    config = loaded(tmp_path, Passenger("a", extra=(("publish", (("window_ms", 50.0),)),)))
    assert config.publish.window_ms == 50.0
