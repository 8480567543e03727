"""The whole agent with a serial line: a line a frame, read at 1 Mbaud; what befalls the line costs no record."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.uart.holder import holder_of
from agent.uart.line import LineFlag
from agent.uart.port import open_port
from agent.uart.scan import Anew, Tally
from hil.failover.people import SIZE_PX, STANDING_M
from tests.agent.clock.ptp_net import wait_until
from tests.agent.node import NAME, Node, wait_for
from tests.agent.publish.rack import Rack
from tests.agent.uart.wire import FarEnd
from touchline.errors import ResourceError
from touchline.timeline import Timebase

pytestmark = pytest.mark.system


@pytest.fixture
def far() -> Iterator[FarEnd]:
    with FarEnd() as end:
        yield end


@pytest.fixture
def node(rack: Rack, tmp_path: Path, far: FarEnd) -> Iterator[Node]:
    made = Node(tmp_path / "node", rack.broker.port, rack.ca.client(NAME), cameras=2)
    made.edit("[metrics]", f'[uart]\nport = "{far.path}"\n[metrics]')
    yield made
    made.close()


def status(node: Node) -> tuple[int, dict[str, Any]]:
    argv = [sys.executable, "-m", "touchline.cli", "uart", "status", "--config", str(node.config), "--json"]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=30)
    return done.returncode, json.loads(done.stdout or done.stderr)


def test_a_line_a_frame_with_its_best_box(rack: Rack, node: Node, far: FarEnd):
    node.start()
    lines = far.await_lines(300, 60.0)
    wait_for(lambda: node.status().get("uart", {}).get("lines", 0) > 0, "word of its lines", node)
    code, said = status(node)
    assert code == 0 and said["open"] and said["port"] == str(far.path) and said["lines"] > 0
    assert node.end() == 0, node.log
    dropped = sum(count for reason, count in node.status()["dropped"].items() if reason.startswith("uart"))
    far.await_lines(node.status()["frames"]["processed"] - dropped, 60.0)
    tally = Tally()
    for one in far.found():
        tally.take(one)
    assert not tally.bad and sorted(tally.cameras) == [1, 2]
    assert tally.lines + dropped == node.status()["frames"]["processed"]
    last = lines[-1]
    assert last.people == len(STANDING_M) and last.box is not None and last.box.score is not None
    assert 0 <= last.box.x_px < SIZE_PX[0] and 0 < last.box.height_px < SIZE_PX[1]
    assert last.raw is not None and last.raw.timebase is Timebase.MONOTONIC
    assert not last.flags & (LineFlag.LOCKED | LineFlag.STANDBY), "the system clock never locks"


def test_kill_9_of_the_line_costs_lines_and_no_record(rack: Rack, node: Node, far: FarEnd):
    sink = rack.subscriber()
    node.start()
    far.await_lines(100, 60.0)
    wait_for(lambda: bool(node.status().get("children", {}).get("uart", {}).get("pid")), "the line's process", node)
    before = len(far.lines())
    os.kill(node.child_pid("uart"), signal.SIGKILL)
    far.await_lines(before + 100, 60.0)
    wait_for(lambda: node.status()["children"]["uart"]["restarts"] == 1, "word of the restart", node)
    assert node.end() == 0, node.log
    document = node.status()
    assert sum(isinstance(one, Anew) for one in far.found()) == 2
    assert document["children"]["inference0"]["restarts"] == document["children"]["publisher"]["restarts"] == 0
    others = {reason for reason in document["dropped"] if not reason.startswith("uart")}
    assert others <= {"ring", "late"}, "frames that this machine did not look at in time, and no records"
    wait_for(lambda: len(sink.seen) == document["queued"], "all records at the sink", node)


def said_of(node: Node, why: re.Pattern[str]) -> bool:
    return why.search(node.status()["reason"]) is not None


def test_a_port_that_is_taken_degrades_the_node_with_the_fix(rack: Rack, node: Node, far: FarEnd):
    from agent.uart.port import open_port

    other = open_port(far.path, 1_000_000)
    node.start()
    why = re.compile("serial line: .*another program")
    wait_for(lambda: node.status().get("state") == "degraded" and said_of(node, why), "the trouble", node)
    code, said = status(node)
    assert code == 7 and "another program" in said["trouble"]
    other.close()
    far.await_lines(50, 60.0)
    wait_for(lambda: node.status().get("state") == "running", "recovery", node)
    assert node.end() == 0, node.log


AGETTY = shutil.which("agetty", path="/usr/sbin:/sbin:/usr/bin:/bin")


def refusal(path: Path) -> str:
    """What a user without root's rights is told who opens the port."""
    os.seteuid(65_534)
    try:
        with pytest.raises(ResourceError) as caught:
            open_port(path, 1_000_000)
    finally:
        os.seteuid(0)
    return str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0 or AGETTY is None, reason="root starts a login, and there must be an agetty")
def test_a_real_login_is_named_to_whom_it_locks_out_and_leaves_its_rights_behind():
    ours, theirs = os.openpty()
    path = Path(os.ttyname(theirs))
    os.close(theirs)
    path.chmod(0o666)
    getty = subprocess.Popen(
        [str(AGETTY), "-L", "115200", str(path.relative_to("/dev")), "vt100"], start_new_session=True
    )
    try:
        wait_until(lambda: holder_of(path.stat().st_rdev) is not None and not path.stat().st_mode & 0o006, 60.0)
        said = refusal(path)
        assert f"{path} is the terminal of agetty (process {getty.pid}" in said
        assert f".service && udevadm trigger -c add {path}" in said and "systemctl disable --now " in said
    finally:
        getty.kill()
        getty.wait(60)
    assert f"after a login on it: udevadm trigger -c add {path}" in refusal(path)
    os.close(ours)
