"""The site's configurations are ones that the real programs take."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.failover.configs import ASKED, CAMERA, SiteSettings, node_name, node_toml, other, rack_toml
from hil.failover.net import NODES
from hil.rack.pki import LocalCa
from touchline.config import NodeConfig, RackConfig, load


@pytest.mark.parametrize("settings", [SiteSettings(), SiteSettings(failover=ASKED, start={"b": "standby"})])
def test_both_nodes_and_the_rack_load(tmp_path: Path, settings: SiteSettings):
    ca = LocalCa(tmp_path / "pki")
    configs = []
    for node in NODES:
        path = tmp_path / f"{node}.toml"
        path.write_text(node_toml(node, settings, ca.client(node_name(node))))
        configs.append(load(path, NodeConfig))
    path = tmp_path / "rack.toml"
    path.write_text(rack_toml(settings, ca.client("aggregator")))
    rack = load(path, RackConfig)
    a, b = configs
    assert a.failover is not None and b.failover is not None and rack.witness is not None
    assert (a.failover.twin, b.failover.twin) == (b.node.name, a.node.name)
    assert [list(reversed(path)) for path in a.failover.paths] == b.failover.paths
    assert rack.witness.lease_limit_ms >= a.failover.lease_ms
    assert a.failover.witness == rack.witness.bind
    assert [camera.number for camera in (*a.camera, *b.camera)] == [CAMERA, CAMERA]
    assert a.camera[0].options["grid_offset_us"] != b.camera[0].options["grid_offset_us"]


def test_without_failover_there_is_no_such_table(tmp_path: Path):
    path = tmp_path / "a.toml"
    identity = LocalCa(tmp_path / "pki").client("node-a")
    path.write_text(node_toml("a", SiteSettings(), identity, failover=False))
    assert load(path, NodeConfig).failover is None


def test_each_is_the_others_twin():
    assert [other(node) for node in NODES] == ["b", "a"]
