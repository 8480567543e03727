"""Failover with our units in two booted nodes: power cut, total loss, kill -9; real ARP, seen from the rack.

Two emulated machines on two cores are late by tens of milliseconds, so the pair beats slower here than on a node; how
fast a switch is, benchmarks/failover.py measures.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from hil.rack.broker import inside
from hil.virtual.node import ADDRESSES, MACS, VirtualNode
from hil.virtual.passenger.seat import CONFIG, UNIT, node_toml
from hil.virtual.ports import RACK_ADDRESS
from hil.virtual.rack import WITNESS_PORT
from hil.virtual.site import VirtualSite
from tests.hil.virtual.waiting import until
from touchline.run import run

pytestmark = [
    pytest.mark.system,
    pytest.mark.virtual,
    pytest.mark.skipif(not os.environ.get("TOUCHLINE_CAMPAIGN"), reason="seven minutes: TOUCHLINE_CAMPAIGN=1"),
]

FAILOVER = "touchline-failover.service"
SHARED = "10.77.0.20"
TIMES = (("beat_ms", 100.0), ("silence_ms", 650.0), ("lease_ms", 650.0), ("blind_ms", 5000.0))
CALM = (("window_ms", 200.0),)  # a batch takes such a node 30 ms of its processor, and it has one frame in 33
SEATS = ("a", "b")


class Twins:
    """Two nodes set up as a pair."""

    def __init__(self, site: VirtualSite) -> None:
        self.site = site
        site.rack.start_witness()
        for seat, twin in zip(SEATS, reversed(SEATS), strict=True):
            node = site.node(seat)
            pair = (
                ("pair", "virtual"),
                ("twin", site.node(twin).name),
                ("paths", [[f"{ADDRESSES[seat]}:7400", f"{ADDRESSES[twin]}:7400"]]),
                ("witness", f"{RACK_ADDRESS}:{WITNESS_PORT}"),
                ("address", f"{SHARED}/24"),
                ("address_interface", "eth0"),
                *TIMES,
            )
            passenger = replace(node.passenger, extra=(*node.passenger.extra, ("failover", pair), ("publish", CALM)))
            node.guest.write_file(CONFIG, node_toml(passenger).encode())
            node.run(f"systemctl restart --no-block {UNIT}")
        for node in site.nodes.values():
            node.await_agent()
            node.run(f"systemctl start --no-block {FAILOVER}")

    def status(self, seat: str) -> dict[str, Any]:
        node = self.site.node(seat)
        got = node.run(f"/opt/touchline/current/bin/touchline failover status --config {CONFIG} --json", check=False)
        return {} if got.exit_code else json.loads(got.out)

    def role(self, seat: str) -> str:
        found: str = self.status(seat).get("role", "")
        return found

    def until(self, seat: str, true: Any, what: str, timeout_s: float = 90.0) -> dict[str, Any]:
        """Wait for something in a node's status and return that."""
        said: dict[str, Any] = {}

        def look() -> bool:
            said.clear()
            said.update(self.status(seat))
            return bool(said) and bool(true(said))

        try:
            until(look, what, self.site.node(seat), timeout_s)
        except AssertionError as error:
            logs = self.site.node(seat).journal(40, FAILOVER)
            raise AssertionError(f"{error}\n{json.dumps(said)}\n{logs}") from error
        return said

    def settle(self) -> str:
        """One is active by a lease and the other one is a fit standby, in one look at both; return the active seat."""
        said: dict[str, dict[str, Any]] = {}

        def settled() -> bool:
            said.update({seat: self.status(seat) for seat in SEATS})
            return bool(active_of(said))

        try:
            until(settled, "an active node with a fit standby", self.site.node("a"), 180.0)
        except AssertionError as error:
            logs = "\n".join(self.site.node(seat).journal(40, FAILOVER) for seat in SEATS)
            raise AssertionError(f"{error}\n{json.dumps(said)}\n{logs}") from error
        return active_of(said)

    def answers(self) -> str:
        """The seat whose machine the rack's neighbour table has for the address; "" when none."""
        rack = inside(self.site.network.namespace)
        run([*rack, "bash", "-c", f"echo > /dev/udp/{SHARED}/9"])  # makes the kernel ask, if it does not know
        found = json.loads(run([*rack, "ip", "-j", "neigh", "show", SHARED]).stdout or b"[]")
        macs = {one.get("lladdr", "").lower() for one in found}
        return next((seat for seat in SEATS if MACS[seat].lower() in macs), "")

    def seen_at(self, seat: str) -> None:
        """Wait until the rack's neighbour table has a seat's machine for the address."""
        until(lambda: self.answers() == seat, f"the address at {seat}", self.site.node(seat))

    def frames(self, node: VirtualNode) -> int:
        """Camera frames that the rack took from a node."""
        query = (
            "SELECT COUNT(DISTINCT ptp_ns) FROM records JOIN batches ON batches.id = records.batch"
            " JOIN sources ON sources.id = batches.source WHERE node = ?"
        )
        with closing(sqlite3.connect(f"file:{self.site.rack.database}?mode=ro", uri=True, timeout=10.0)) as store:
            return int(store.execute(query, (node.name,)).fetchone()[0])


def active_of(said: dict[str, dict[str, Any]]) -> str:
    """The seat that is active, of a pair that is well and agrees on that; "" of another."""
    if not all(one and one["health"]["fit"] and one["twin"]["fit"] for one in said.values()):
        return ""
    active = [seat for seat, one in said.items() if one["role"] == "active" and one["holds_address"]]
    return active[0] if len(active) == 1 and said[other(active[0])]["twin"]["role"] == "active" else ""


def other(seat: str) -> str:
    return "b" if seat == "a" else "a"


def test_a_power_cut_of_the_active_node(virtual_twins: VirtualSite):
    twins = Twins(virtual_twins)
    first = twins.settle()
    second = other(first)
    twins.seen_at(first)
    before = twins.until(second, lambda said: said["role"] == "standby", "its epoch")["epoch"]
    virtual_twins.node(first).power_cut(seed=7)
    said = twins.until(second, lambda said: said["role"] == "active" and said["last_switch"], "the takeover")
    assert (said["epoch"], said["last_switch"]["trigger"]) == (before + 1, "silence")
    steps = {one["step"]: one["status"] for one in said["last_switch"]["steps"]}
    assert {steps[name] for name in ("detect", "lease", "gate", "address", "announce", "event")} == {"ok"}, steps
    node = virtual_twins.node(second)
    count = twins.frames(node)
    until(lambda: twins.frames(node) > count + 30, "frames of the twin", node)
    twins.seen_at(second)
    assert virtual_twins.rack.audit().clean


def test_total_loss_then_a_killed_service(virtual_twins: VirtualSite):
    twins = Twins(virtual_twins)
    first = twins.settle()
    second = other(first)
    a, b = virtual_twins.node(first), virtual_twins.node(second)
    a.net.loss_pct(100)
    twins.until(second, lambda said: said["role"] == "active" and said["holds_address"], "the takeover")
    twins.until(first, lambda said: not said["exclusive"] and not said["holds_address"], "the lost node lets go")
    until(lambda: SHARED not in a.run("ip -4 address show dev eth0").out, "the address of the lost one", a)
    a.net.loss_pct(0)
    assert twins.settle() == second
    twins.seen_at(second)
    b.run(f"systemctl kill -s SIGKILL {FAILOVER}")
    twins.until(first, lambda said: said["role"] == "active" and said["holds_address"], "the takeover back")
    until(lambda: SHARED not in b.run("ip -4 address show dev eth0").out, "the address of the killed one", b)
    assert twins.settle() == first
    twins.seen_at(first)
    assert virtual_twins.rack.audit().clean
