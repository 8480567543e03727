"""Two nodes and a rack on one network: real ARP, one of them loses its power, the rack keeps every frame once."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from hil.virtual.node import MACS
from hil.virtual.site import VirtualSite
from tests.hil.virtual.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.virtual]


def frames(site: VirtualSite) -> int:
    """Camera frames that the rack has stored."""
    with closing(sqlite3.connect(f"file:{site.rack.database}?mode=ro", uri=True, timeout=10.0)) as store:
        return int(store.execute("SELECT COUNT(DISTINCT ptp_ns) FROM records").fetchone()[0])


@pytest.mark.virtual(tidy=True)
def test_they_find_each_other_by_arp(virtual_twins: VirtualSite):
    a, b = virtual_twins.node("a"), virtual_twins.node("b")
    answer = a.run(f"ip neigh flush dev eth0; arping -c 1 -w 25 -I eth0 {b.address}").out
    assert MACS["b"].upper() in answer.upper()
    b.net.unplug()
    assert a.run(f"arping -c 1 -w 2 -I eth0 {b.address}", check=False).exit_code != 0
    b.net.plug()


def test_one_loses_its_power_and_the_other_goes_on(virtual_twins: VirtualSite):
    a, b = virtual_twins.node("a"), virtual_twins.node("b")
    until(lambda: frames(virtual_twins) > 30, "frames at the rack", a)
    for node in (a, b):
        until(lambda node=node: node.agent_status().get("link", {}).get("phase") == "open", "link", node)  # type: ignore[misc]
    a.power_cut(seed=3)
    before = frames(virtual_twins)
    until(lambda: frames(virtual_twins) > before + 60, "frames of the twin", b)
    assert virtual_twins.rack.audit().clean
