"""Real recorder processes tell the failover service that the recording goes on: encoding all along, or stopped."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from failover.actions.sequence import Outcome
from failover.core.types import Changed, Role, Trigger
from failover.link_recorder import RecorderPort, recorder_socket_path
from failover.service.recorders import SILENT_NS, Recorders
from tests.agent.record.bench import PERIOD_NS, PTP_NS, Camera, Node, pair_of
from tests.ports import free_port
from touchline.timeline import monotonic_ns, sleep_until

pytestmark = pytest.mark.system
TAKES = Changed(Role.ACTIVE, 6, Trigger.SILENCE, "silent")


class Service:
    """The service's end on one node."""

    def __init__(self, node: Node) -> None:
        self.port = RecorderPort(recorder_socket_path(node.folder))
        self.recorders = Recorders((1,))
        self.role = Role.STANDBY

    def look(self) -> None:
        self.recorders.look(self.port.receive(), self.port.cameras, True, self.role, monotonic_ns())

    def says(self) -> str:
        self.look()
        return str(self.recorders.document(monotonic_ns())[0]["state"])

    def until(self, change: Changed, begun_ns: int) -> Outcome:
        """Its answer to a change of role."""
        self.role = change.role
        while True:
            self.look()
            found = self.recorders.outcome(change, begun_ns, monotonic_ns())
            if found.code is not None or monotonic_ns() - begun_ns > 60_000_000_000:
                return found
            sleep_until(monotonic_ns() + 500_000)


@pytest.fixture
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Node, Node]]:
    nodes = pair_of(tmp_path, (free_port(), free_port()), standby_encoder=request.param)
    yield nodes
    for node in nodes:
        node.close()


@pytest.mark.parametrize("pair", ["running", "stopped"], indirect=True)
def test_the_standbys_recording_goes_on_and_says_so(pair: tuple[Node, Node]) -> None:
    a, b = pair
    service = Service(b)
    camera = Camera({node.name: node.ring for node in pair})
    for node in pair:
        node.start()
    for node in pair:
        node.wait_until_up()
    a.role("active", 5)
    b.role("standby", 0)
    camera.start()
    stopped = "stopped" in b.config.read_text()
    b.wait_for(lambda: service.says() == ("standing" if stopped else "recording"))
    a.wait_for(lambda: a.counter("record_frames") > 60)
    assert service.recorders.outcome(TAKES, monotonic_ns(), monotonic_ns()).code is None
    begun_ns = monotonic_ns()
    a.kill()
    b.role("active", 6)
    found = service.until(TAKES, begun_ns)
    assert found.code == 0 and found.at_ns > begun_ns, found  # how soon is for a machine of its own
    assert f"{PERIOD_NS / 1e6:.3f} ms after the picture before" in found.text
    assert service.recorders.document(monotonic_ns())[0]["last_ptp_ns"] > PTP_NS
    service.look()
    assert service.recorders.trouble == ""
    b.role("standby", 7)
    given = service.until(Changed(Role.STANDBY, 6, None, "lease over"), begun_ns)
    assert given.code == 0
    camera.stop()
    assert b.stop() == 0
    service.look()
    gone = service.recorders.outcome(TAKES, monotonic_ns(), monotonic_ns())
    assert gone.code == errno.ENOTCONN and service.recorders.trouble == "recorder of camera 1: not running"
    service.port.close()


@pytest.mark.parametrize("pair", ["running"], indirect=True)
def test_a_recorder_that_hangs_is_known_to(pair: tuple[Node, Node]) -> None:
    a, _ = pair
    service = Service(a)
    camera = Camera({a.name: a.ring})
    a.start().wait_until_up()
    camera.start()
    a.wait_for(lambda: service.says() == "recording")
    assert a.process is not None
    os.kill(a.process.pid, signal.SIGSTOP)
    later_ns = monotonic_ns() + SILENT_NS + 1_000_000_000
    service.look()
    assert service.recorders.outcome(TAKES, later_ns, later_ns).code == errno.ETIMEDOUT
    assert service.recorders.troubles(service.role, later_ns) == ("recorder of camera 1: hangs",)
    os.kill(a.process.pid, signal.SIGCONT)
    a.wait_for(lambda: service.recorders.troubles(service.role, monotonic_ns()) == () and service.says() == "recording")
    camera.stop()
    service.port.close()
