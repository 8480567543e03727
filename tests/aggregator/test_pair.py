"""A pair as the rack shows it: who is active, whose frames are taken, and nothing new without failover."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aggregator.rack import Rack
from aggregator.report import status_text
from aggregator.store import Group
from aggregator.web.metrics import exposition
from tests.aggregator.match import T0_NS, rows
from tests.aggregator.rig import rack_config
from touchline.record import BatchHeader, pack_batch

S = 1_000_000_000
STEP_NS = 40_000_000


class Site:
    """A rack and two nodes that see camera 0."""

    def __init__(self, folder: Path) -> None:
        self.rack, self.now_ns, self.frame = Rack(rack_config(folder)), 100 * S, 0

    def batch(self, node: str, epoch: int, boot: bytes) -> None:
        self.now_ns += STEP_NS
        records = rows(0, self.frame, T0_NS + self.frame * STEP_NS, [(1, 1)])
        data = pack_batch(BatchHeader(node, boot, epoch, self.frame, self.frame, len(records)), records)
        self.rack.message(f"tl/v1/{node}/det", data, self.now_ns, T0_NS + self.now_ns, Group())
        self.frame += 1

    def health(self, node: str, **more: Any) -> None:
        document = {"state": "running", "ptp_ns": T0_NS + self.now_ns, "epoch": 1, **more}
        payload = json.dumps(document).encode()
        self.rack.message(f"tl/v1/{node}/health", payload, self.now_ns, T0_NS + self.now_ns, Group())

    def status(self) -> dict[str, Any]:
        return self.rack.status(self.now_ns, T0_NS + self.now_ns)


BOOT = bytes(range(12))


def test_role_epoch_and_cameras_of_each_node(tmp_path: Path):
    site = Site(tmp_path)
    site.batch("node-a", 4, BOOT + bytes(4))
    site.batch("node-b", 5, BOOT + bytes(4))
    site.health("node-a", failover={"role": "standby", "epoch": 4})
    site.health("node-b", failover={"role": "active", "epoch": 5})
    a, b = site.status()["nodes"]
    assert (a["role"], a["epoch"], a["owns"]) == ("standby", 4, [])
    assert (b["role"], b["epoch"], b["owns"]) == ("active", 5, [0])
    text = status_text(site.status())
    assert "  pair    standby, sends no camera\n" in text
    assert "  pair    active, sends camera 0" in text
    page = exposition(site.status).decode()
    for line in (
        'touchline_rack_node_active{node="node-a"} 0.0',
        'touchline_rack_node_active{node="node-b"} 1.0',
        'touchline_rack_node_epoch{node="node-b"} 5.0',
        'touchline_rack_camera_owner{camera="0",node="node-b"} 1.0',
    ):
        assert line in page
    assert 'touchline_rack_camera_owner{camera="0",node="node-a"}' not in page


def test_without_failover_nothing_new_is_shown(tmp_path: Path):
    site = Site(tmp_path)
    site.batch("node-a", 4, BOOT + bytes(4))
    site.health("node-a")
    assert "pair" not in status_text(site.status())
    page = exposition(site.status).decode()
    assert "touchline_rack_node_active" not in page and "touchline_rack_camera_owner" not in page


def test_a_standby_that_numbers_anew_has_not_restarted(tmp_path: Path):
    site = Site(tmp_path)
    for series in range(3):
        site.batch("node-a", 4, BOOT + bytes([series, 0, 0, 0]))
    site.batch("node-a", 4, bytes(16))
    events = [event["text"] for event in site.status()["events"] if event["code"] == "node"]
    assert [text.split(" (")[0] for text in events] == ["node-a is here", "node-a restarted"]
