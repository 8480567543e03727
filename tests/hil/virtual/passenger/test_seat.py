"""A seat's configuration is one that the agent accepts."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.virtual.passenger.seat import CAMERA_PATHS, OPTICS_PATH, Passenger, crew, node_toml
from touchline.config import NodeConfig, load
from touchline.errors import ConfigError


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


def test_twins_look_through_the_optics_and_one_alone_does_not(tmp_path: Path):
    devices = [loaded(tmp_path, one).camera[0].options["device"] for one in crew("ab")]
    assert devices == [OPTICS_PATH, OPTICS_PATH]
    assert [one.camera for one in crew("a")] == ["vivid"]


@pytest.mark.parametrize("passenger", [Passenger("a", 2, camera="optics"), Passenger("a", 3), Passenger("a", 0)])
def test_more_cameras_than_there_are_is_refused(passenger: Passenger):
    with pytest.raises(ConfigError, match=r"orin-a with \d cameras"):
        node_toml(passenger)
