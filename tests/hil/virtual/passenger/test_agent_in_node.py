"""The agent as systemd runs it in the node: a real V4L2 camera, TLS to the rack, and what it must survive."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from hil.virtual.machine.power import FLUSH, parse_log
from hil.virtual.machine.qemu import DATA_LOG
from hil.virtual.node import VirtualNode
from hil.virtual.passenger.seat import PKI, SPOOL_DIR, UNIT
from hil.virtual.rack import Start
from tests.hil.virtual.waiting import pause, until

pytestmark = [pytest.mark.system, pytest.mark.virtual]

TIDY = pytest.mark.virtual(tidy=True)
LOSS_S = 10.0
BURST_RECORDS = 200


def boot_id(node: VirtualNode) -> str:
    return str(node.agent_status().get("boot_id", ""))


def stored(node: VirtualNode, start: str) -> Start:
    """What the rack has of one start of the node's publisher."""
    found = [one for one in node.rack.starts(node.name) if one.boot_id == start]
    return found[0] if found else Start(start, 0, 0, -1)


def await_records(node: VirtualNode, more: int = 30) -> None:
    """Wait until ``more`` new records are stored."""
    before = node.rack.records(node.name)
    until(lambda: node.rack.records(node.name) >= before + more, f"{more} new records", node)


def await_running(node: VirtualNode) -> dict[str, Any]:
    """Wait until the agent says that it runs and that its link is open; return all that it says then."""
    said: dict[str, Any] = {}

    def look() -> bool:
        said.clear()
        said.update(node.agent_status())
        return bool(said.get("state") == "running" and said["link"].get("phase") == "open")

    until(look, "word that it runs", node)
    return said


def flushes(node: VirtualNode) -> int:
    """How often the guest has had its data disk write down what it holds."""
    return sum(bool(entry.flags & FLUSH) for entry in parse_log((node.machine.run_dir / DATA_LOG).read_bytes()))


@TIDY
def test_records_flow_from_the_camera_to_the_rack(virtual_node: VirtualNode):
    await_records(virtual_node, 90)
    status = await_running(virtual_node)
    assert status["children"]["capture0"]["source"].startswith("v4l2 /dev/v4l/by-path/platform-vivid.0")
    assert status["children"]["inference0"]["engine"]["name"].startswith("onnxruntime")
    assert stored(virtual_node, boot_id(virtual_node)).missing == 0
    assert virtual_node.unit("ActiveState", "User", "NRestarts") == {
        "ActiveState": "active",
        "User": "touchline",
        "NRestarts": "0",
    }


@TIDY
def test_the_key_never_left_the_node(virtual_node: VirtualNode):
    listed = virtual_node.run(f"stat -c '%a %U' {PKI}/node.key").out.strip()
    assert listed == "400 touchline"
    assert virtual_node.site is not None
    held = sorted(path.name for path in virtual_node.site.folder.rglob("*.key"))
    assert held == ["aggregator.key", "broker.key"]
    greeted = virtual_node.run(
        f"openssl s_client -connect rack:8883 -CAfile {PKI}/ca.crt -verify_return_error </dev/null; true"
    )
    assert "Verify return code: 0 (ok)" in greeted.out  # the rack is who it says it is


@TIDY
def test_camera_disconnected_and_back(virtual_node: VirtualNode):
    await_records(virtual_node)
    camera = virtual_node.camera(0)
    camera.disconnect()

    def noticed() -> bool:
        status = virtual_node.agent_status()
        capture = status.get("children", {}).get("capture0", {})
        lost = capture.get("restarts", 0) > 0 and "camera 1" in capture["last_failure"]
        return bool(lost and status["link"]["phase"] == "open")

    until(noticed, "word of the lost camera, and of the link that is not", virtual_node)
    camera.reconnect()
    await_records(virtual_node, 60)
    await_running(virtual_node)
    assert virtual_node.unit("NRestarts")["NRestarts"] == "0"
    assert stored(virtual_node, boot_id(virtual_node)).missing == 0


def test_kill_9_of_the_agent(virtual_node: VirtualNode):
    await_records(virtual_node)
    before, pid = boot_id(virtual_node), virtual_node.unit("MainPID")["MainPID"]
    spooled = virtual_node.agent_status()["queued"]
    virtual_node.run(f"kill -9 {pid}")
    until(lambda: virtual_node.unit("MainPID")["MainPID"] not in ("0", pid), "restart by systemd", virtual_node)
    virtual_node.await_agent()
    until(lambda: boot_id(virtual_node) not in ("", before), "a new start", virtual_node)
    await_records(virtual_node)
    until(lambda: stored(virtual_node, before).last + 1 >= spooled, "what the dead agent had spooled", virtual_node)
    assert stored(virtual_node, before).missing == 0
    assert virtual_node.unit("NRestarts", "Result") == {"NRestarts": "1", "Result": "success"}


@TIDY
def test_total_loss_for_ten_seconds(virtual_node: VirtualNode):
    await_records(virtual_node)
    start = boot_id(virtual_node)
    virtual_node.net.loss_pct(100)
    pause(LOSS_S)
    during: dict[str, Any] = {}

    def spooling() -> bool:
        during.update(virtual_node.agent_status())
        return bool(during.get("state") == "running" and during["spool"].get("records", 0) > 0)

    until(spooling, "a running agent whose records wait in the spool", virtual_node)
    at_the_end = during["queued"]
    virtual_node.net.clear()
    until(lambda: stored(virtual_node, start).last + 1 >= at_the_end, "the backlog", virtual_node)
    assert stored(virtual_node, start).missing == 0
    after = virtual_node.agent_status()
    assert after["spool"]["trouble"] == ""
    lost = {reason for reason, count in after["dropped"].items() if count}
    assert not {reason for reason in lost if "record" in reason or "spool" in reason}, (
        "a busy emulator may lose pictures; records it may not"
    )


@pytest.mark.parametrize("seed", range(1, 7 if os.environ.get("TOUCHLINE_CAMPAIGN") else 2))
def test_power_cut_in_the_middle_of_a_burst(virtual_node: VirtualNode, seed: int):
    """The rack is unreachable, records pile up in the spool, and the plug is pulled while they are being written."""
    await_records(virtual_node)
    start = boot_id(virtual_node)
    acknowledged = stored(virtual_node, start).last
    virtual_node.net.loss_pct(100)
    first = virtual_node.agent_status()["queued"]
    until(lambda: virtual_node.agent_status()["queued"] > first + BURST_RECORDS, "a burst in the spool", virtual_node)
    durable, flushed = virtual_node.agent_status()["queued"], flushes(virtual_node)
    # a sync that began before and the file system's own may be two each: then all that was queued is on the platter
    until(lambda: flushes(virtual_node) >= flushed + 6, "flushes of the disk", virtual_node)
    cut = virtual_node.power_cut(seed)
    assert cut.flushes > 0

    virtual_node.boot()
    checked = virtual_node.run("journalctl -b -t systemd-fsck --no-pager -o cat").out
    assert "touchline-data: clean" in checked, checked
    assert virtual_node.run("mountpoint -q /var/lib/touchline && touch /var/lib/touchline/.writable").exit_code == 0
    assert virtual_node.run(f"ls {SPOOL_DIR}").out.strip()
    virtual_node.await_agent()
    assert await_running(virtual_node)["spool"]["trouble"] == ""
    until(lambda: stored(virtual_node, start).last + 1 >= durable, "the spooled burst", virtual_node)
    kept = stored(virtual_node, start)
    assert kept.last >= acknowledged
    assert kept.missing == 0
    await_records(virtual_node)
    assert not re.search(r"corrupt_regions=[1-9]", virtual_node.journal(unit=UNIT))  # a torn tail is what a cut leaves
