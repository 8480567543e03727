"""Golden answers of a real ptp4l, with what pmc says of them: ``python -m tests.agent.clock.management.capture``.

Adds the version under test (TOUCHLINE_PTP4L, TOUCHLINE_PMC) to ``golden.json``: for each data set the datagram as hex
and the same answer as pmc printed it. Needs root.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from agent.clock.management import DATA_SETS, DataSet
from agent.clock.management.endpoint import Endpoint
from agent.clock.management.values import ALL_PORTS, ANY_CLOCK, Action, ClockIdentity, PortIdentity
from agent.clock.management.wire import Management, Message, decode, encode
from tests.agent.clock.management.pmc_text import parse
from tests.agent.clock.ptp_net import PtpNet, linuxptp_version
from touchline.timeline import monotonic_ns, sleep_until

GOLDEN = Path(__file__).with_name("golden.json")
ASKER = PortIdentity(ClockIdentity(b"capture!"), 1)


def answer(endpoint: Endpoint, management_id: int) -> bytes:
    """ptp4l's answer, as it came."""
    question = Message(Action.GET, ASKER, PortIdentity(ANY_CLOCK, ALL_PORTS), 1, Management(management_id))
    deadline_ns = monotonic_ns() + 1_000_000_000
    assert endpoint.send(encode(question), deadline_ns)
    assert endpoint.wait(deadline_ns)
    found = endpoint.receive()
    assert found is not None
    return found


def capture(net: PtpNet, endpoint: Endpoint, kind: type[DataSet]) -> dict[str, object]:
    """A datagram and pmc's text that were the same before and after pmc asked."""
    for _ in range(100):
        before = answer(endpoint, kind.MANAGEMENT_ID)
        said = net.pmc("node", f"GET {kind.NAME}")
        if decode(before).body == decode(answer(endpoint, kind.MANAGEMENT_ID)).body:
            return {"datagram": before.hex(), "pmc": (parse(said) or [{"error": ""}])[0]}
    raise AssertionError(f"{kind.NAME} never stands still")


def main() -> None:
    """Capture all, once the node follows."""
    version = ".".join(map(str, linuxptp_version()))
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    with tempfile.TemporaryDirectory() as folder, PtpNet(Path(folder)) as net:
        net.start_ptp4l("gm", {"clockClass": 6, "clockAccuracy": "0x21", "timeSource": "0x20", "logSyncInterval": 1})
        node = net.start_ptp4l("node", {"summary_interval": 0})
        node.wait_for("UNCALIBRATED")
        net.certain("node")
        node.wait_for("to SLAVE")
        sleep_until(monotonic_ns() + 5_000_000_000)  # a few more syncs, so that counters and offsets are not round
        with Endpoint((node.socket,), Path(folder)) as endpoint:
            endpoint.connect()
            golden[version] = {kind.NAME: capture(net, endpoint, kind) for kind in DATA_SETS.values()}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}: {error.stderr}")
