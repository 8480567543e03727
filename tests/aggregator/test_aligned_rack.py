"""The rack and the nodes' clocks: who is merged with whom, what the status, the metrics and the command line say."""

import json
from typing import Any

import pytest

from aggregator.rack import Rack
from aggregator.report import status_text
from aggregator.store import Group, Store
from aggregator.web.metrics import exposition
from tests.aggregator.match import T0_NS, Match, Node, rows
from tests.aggregator.rig import rack_config
from touchline.record import Flag

S = 1_000_000_000
STEP_NS = 40_000_000
GM, OTHER = "001122.fffe.334455", "aabbcc.fffe.000001"
LOCKED = {"state": "locked", "bound_ns": 60, "source": "ptp", "grandmaster": GM, "timescale": "PTP", "epoch": 1}
SYSTEM = {"state": "unlocked", "bound_ns": S, "epoch": 0}  # what an agent on the system clock says


class Site:
    """Two nodes with a camera each that both see one person, and time that is set by hand."""

    def __init__(self, folder: Any, **clocks: dict[str, Any] | None) -> None:
        self.config = rack_config(folder)
        self.rack, self.clocks, self.now_ns = Rack(self.config), clocks, 100 * S
        self.nodes = [Node(name.replace("_", "-")) for name in clocks]
        self.group = Group()
        self.frame = 0

    @property
    def ptp_ns(self) -> int:
        return T0_NS + self.now_ns

    def speak(self) -> None:
        for node, clock in zip(self.nodes, self.clocks.values(), strict=True):
            if clock is not None:
                document = json.dumps({"ptp_ns": self.ptp_ns, **clock}).encode()
                self.rack.message(f"tl/v1/{node.name}/clock", document, self.now_ns, self.ptp_ns, self.group)

    def run(self, seconds: float = 1.0, flags: int = Flag.CLOCK_IN_BOUND, speak: bool = True) -> None:
        for _ in range(round(seconds * S / STEP_NS)):
            if speak and self.frame % 25 == 0:
                self.speak()
            for camera, node in enumerate(self.nodes):
                seen = rows(camera, self.frame, self.ptp_ns, [(50 + camera / 10, 30)], salt=self.frame)
                seen["flags"] = flags
                self.rack.message(node.topic, node.batch(seen), self.now_ns, self.ptp_ns, self.group)
            self.rack.tick(self.now_ns, self.ptp_ns, self.group)
            self.now_ns += STEP_NS
            self.frame += 1

    def live(self) -> dict[str, Any]:
        return self.rack.live(self.now_ns, self.ptp_ns)

    def status(self) -> dict[str, Any]:
        return self.rack.status(self.now_ns, self.ptp_ns)

    def said(self, code: str) -> list[tuple[str, str]]:
        return [(e["severity"], e["text"]) for e in self.status()["events"] if e["code"] == code]


def test_two_nodes_on_one_grandmaster_show_one_person(tmp_path):
    site = Site(tmp_path, left_a=LOCKED, right_a={**LOCKED, "bound_ns": 75})
    site.run()
    live, status = site.live(), site.status()
    assert live["state"] == "live" and live["unaligned"] == live["left_out"] == []
    (dot,) = live["players"]
    assert dot[7:9] == [0, [0, 1]]
    assert status["alignment"] == {
        "spread_ns": 135, "grandmaster": GM, "aligned": ["left-a", "right-a"], "unaligned": [],
    }  # fmt: skip
    assert [n["clock"]["aligned"] for n in status["nodes"]] == [True, True]
    assert site.said("alignment") == [("info", "left-a is aligned"), ("info", "right-a is aligned")]
    assert status["stats"]["fuse"]["mixed_moments"] == 0


@pytest.mark.parametrize("clock", [SYSTEM, {**SYSTEM, "source": "system"}, None])
def test_nodes_on_the_system_clock_are_live_and_warned_of_but_not_merged(tmp_path, clock):
    site = Site(tmp_path, left_a=clock, right_a=clock)
    site.run()
    live, status = site.live(), site.status()
    assert live["state"] == "live" and live["unaligned"] == ["left-a", "right-a"] and live["left_out"] == []
    assert [dot[7:9] for dot in live["players"]] == [[1, [0]], [1, [1]]]
    assert status["alignment"]["spread_ns"] is None and status["stats"]["fuse"]["late_frames"] == 0
    assert status["stats"]["fuse"]["mixed_moments"] == 25
    if clock is not None:
        assert status["nodes"][0]["clock"]["why"] == "left-a's clock is the system clock"
        assert site.said("alignment")[0] == ("warning", "not aligned: left-a's clock is the system clock")


def test_two_cameras_of_one_unlocked_node_are_fused_as_ever(tmp_path):
    """The demo: one node, one clock."""
    site = Site(tmp_path, demo=SYSTEM)
    match, (node,) = Match(22), site.nodes
    for frame in range(25):
        for camera in (0, 1):
            seen = match.seen(camera, frame, frame / 25, site.ptp_ns)
            site.rack.message(node.topic, node.batch(seen), site.now_ns, site.ptp_ns, site.group)
        site.rack.tick(site.now_ns, site.ptp_ns, site.group)
        site.now_ns += STEP_NS
    live = site.live()
    assert live["state"] == "live" and live["unaligned"] == [] and 20 <= len(live["players"]) <= 24
    assert any(dot[8] == [0, 1] for dot in live["players"])


def test_a_node_that_loses_its_master_is_parted_and_said(tmp_path):
    site = Site(tmp_path, left_a=LOCKED, right_a=LOCKED)
    site.run(6.0)
    site.clocks["right_a"] = {**LOCKED, "state": "unlocked", "bound_ns": 5_000_000}
    site.run(2.0)
    why = "right-a's clock is unlocked (± 5 ms)"
    assert site.live()["unaligned"] == ["right-a"] and len(site.live()["players"]) == 2
    assert site.status()["nodes"][1]["clock"]["why"] == why
    assert site.said("alignment")[-1] == ("warning", f"not aligned: {why}")
    site.clocks["right_a"] = LOCKED
    site.run(6.0)
    assert site.said("alignment")[-1] == ("info", "right-a is aligned") and len(site.live()["players"]) == 1
    assert [e.text for e in site.group.events if e.code == "alignment"] == [text for _, text in site.said("alignment")]


def test_a_clock_that_fell_silent_is_not_aligned(tmp_path):
    site = Site(tmp_path, left_a=LOCKED, right_a=LOCKED)
    site.run(1.0)
    site.run(6.0, speak=False)
    assert site.status()["alignment"]["unaligned"] == ["left-a", "right-a"]
    assert site.status()["nodes"][0]["clock"]["why"] == "left-a's clock was last heard 7 s ago"


def test_records_that_nobody_vouched_for_are_counted_per_node_and_remembered(tmp_path):
    site = Site(tmp_path, left_a=LOCKED, right_a=SYSTEM)
    site.run(1.0)
    site.run(1.0, flags=0)
    data = site.nodes[0].sent[-1]
    site.rack.message(site.nodes[0].topic, data, site.now_ns, site.ptp_ns, site.group)  # re-delivered: not again
    status = site.status()
    assert [n["unflagged_records"] for n in status["nodes"]] == [25, 25]
    assert status["stats"]["records"]["unflagged"] == 50
    store = Store(tmp_path / "match.sqlite", "normal")
    store.open()
    site.rack.prepare(site.group)
    store.write(site.group)
    again = Site(tmp_path, left_a=LOCKED)
    again.rack.restore(store.load(), 0)
    store.close()
    again.speak()
    assert again.status()["nodes"][0]["unflagged_records"] == 25


def test_the_metrics_have_offset_alignment_flags_and_spread(tmp_path):
    site = Site(tmp_path, left_a={**LOCKED, "offset_ns": -12}, right_a=LOCKED, spare={**LOCKED, "grandmaster": OTHER})
    site.run(0.4, flags=0)
    text = exposition(site.status).decode()
    for line in (
        'touchline_rack_node_clock_bound_ns{node="left-a"} 60.0',
        'touchline_rack_node_clock_offset_ns{node="left-a"} -12.0',
        'touchline_rack_node_aligned{node="left-a"} 1.0',
        'touchline_rack_node_aligned{node="spare"} 0.0',
        'touchline_rack_node_records_unflagged_total{node="right-a"} 10.0',
        "touchline_rack_alignment_spread_ns 120.0",
        "touchline_rack_mixed_moments_total 10.0",
        "touchline_rack_left_out_frames_total 0.0",
    ):
        assert line in text.splitlines(), text
    assert 'touchline_rack_node_clock_offset_ns{node="right-a"}' not in text


def test_the_command_line_says_the_same(tmp_path):
    said = {**LOCKED, "offset_ns": -12, "path_delay_ns": 812, "residual_ns": 9.4, "port_state": "SLAVE"}
    site = Site(tmp_path, left_a=said, right_a=LOCKED, spare=SYSTEM)
    site.run(0.4)
    site.run(0.4, flags=0)
    lines = status_text(site.status()).splitlines()
    assert f"alignment ± 120 ns, 2 of 3 nodes aligned, grandmaster {GM}" in lines
    first = next(i for i, line in enumerate(lines) if line.startswith("node      left-a: "))
    assert lines[first + 1] == (
        "  clock   locked, ± 60 ns, offset -12 ns, path delay 812 ns, residual 9.4 ns, port SLAVE, epoch 1, aligned, "
        "10 records out of clock bound"
    )
    assert "unlocked, ± 1 s, epoch 0, NOT ALIGNED: spare's clock is the system clock, 10 records" in lines[-1]
    empty = Site(tmp_path)
    assert "alignment 0 of 0 nodes aligned" in status_text(empty.status()).splitlines()


def test_what_nodes_say_of_their_clocks_does_not_grow(tmp_path):
    site = Site(tmp_path, n={"state": "x" * 999, "grandmaster": "0" * 999, "bound_ns": 10**400, "offset_ns": [1],
                             "timescale": {}, "steps": [{"text": "y" * 9999}] * 999, "epoch": 10**30})  # fmt: skip
    site.speak()
    site.clocks["n"] = {"steps": [7], "bound_ns": -1, "state": None}
    site.speak()
    (node,) = site.status()["nodes"]
    assert node["clock"]["bound_ns"] is None and node["clock"]["epoch"] is None
    assert len(json.dumps(site.status())) < 5_000
