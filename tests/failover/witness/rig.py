"""A witness as a process, and nodes that talk to it over loopback.

The leases are long: on a shared machine each of them is not run now and then for longer than the usual 100 ms.
"""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from failover.wire.client import NodeWire, WireEvent
from failover.wire.identity import Credentials
from failover.witness.service import status_file
from hil.rack.pki import Identity
from tests.ports import free_port
from touchline.config.failover import FailoverSection
from touchline.timeline import monotonic_ns

MS = 1_000_000
DEADLINE_S = 60.0
LEASE_MS = 600
PROGRAM = """
import os
import sys
from pathlib import Path
from failover.witness.service import run_witness
from touchline.config import RackConfig, load
from touchline.shell import guarded

def say(text):
    os.write(1, (text + "\\n").encode())  # two threads say something

def ready(address):
    say("ready " + address)

sys.exit(guarded(lambda: run_witness(load(Path(sys.argv[1]), RackConfig), say, ready)))
"""


class WitnessProcess:
    """``with WitnessProcess(folder, identity) as witness``; :meth:`kill` and :meth:`start` as often as wanted."""

    def __init__(self, folder: Path, identity: Identity, keys: str = "", environ: dict[str, str] | None = None) -> None:
        self.folder, self.environ = folder, environ
        self.address = f"127.0.0.1:{free_port()}"
        self.config = folder / "rack.toml"
        self.config.write_text(
            f"""
            [mqtt]
            host = "localhost"
            ca_file = "{identity.ca_file}"
            cert_file = "{identity.cert_file}"
            key_file = "{identity.key_file}"
            [store]
            path = "match.sqlite"
            [witness]
            bind = "{self.address}"
            state_file = "epochs"
            run_dir = "run"
            realtime_priority = 0
            lease_limit_ms = {LEASE_MS}
            {keys}
            """
        )
        self.log = folder / "witness.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once it serves."""
        with self.log.open("ab") as log:
            begin = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(self.config)], stdout=log, stderr=log, env=self.environ
            )
        wait_for(lambda: b"ready " in self.log.read_bytes()[begin:] or self.process.poll() is not None)  # type: ignore[union-attr]
        assert self.process.poll() is None, self.log.read_text()

    def kill(self) -> None:
        """SIGKILL, by pid."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def status(self) -> dict[str, Any]:
        """What it said last."""
        found: dict[str, Any] = json.loads(status_file(self.folder / "run").read_text())
        return found

    def events(self, code: str = "holder") -> list[dict[str, Any]]:
        """Its log, as far as it is written."""
        written = self.log.read_text().rpartition("\n")[0].splitlines()
        lines = [json.loads(line) for line in written if line.startswith("{")]
        return [line for line in lines if line["code"] == code]

    def __enter__(self) -> WitnessProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def wait_for(condition: Callable[[], object], seconds: float = DEADLINE_S) -> None:
    """Look until it is so, without a processor's whole time."""
    deadline_ns = monotonic_ns() + int(seconds * 1e9)
    while not condition():
        assert monotonic_ns() < deadline_ns, "it did not come to pass"
        select.select([], [], [], 0.005)


class LocalNode:
    """A node's wire, with what it heard. ``sent``: every datagram that it sent, if asked to record."""

    def __init__(self, credentials: Credentials, twin: str, witness: str, paths: list[list[str]] | None = None) -> None:
        paths = paths or [[f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]]
        section = FailoverSection(pair="goal-1", twin=twin, paths=paths, witness=witness, lease_ms=LEASE_MS)
        self.wire = NodeWire(section, credentials, credentials.name)
        self.events: list[tuple[int, WireEvent]] = []

    def of(self, kind: type) -> list[Any]:
        """The events of a kind."""
        return [event for _, event in self.events if isinstance(event, kind)]

    def take(self) -> None:
        """What has arrived."""
        for fd in self.wire.filenos():
            now_ns = monotonic_ns()
            self.events += [(now_ns, event) for event in self.wire.receive(fd, now_ns)]

    def counters(self) -> dict[str, int]:
        """What was counted of datagrams that were not taken."""
        found: dict[str, int] = self.wire.status(monotonic_ns())["counters"]
        return found


def run_nodes(
    nodes: Iterable[LocalNode], until: Callable[[], object], every: Callable[[], object], ms: int = 10
) -> None:
    """Call ``every`` each so many ms and take what arrives, until it is so."""
    nodes = list(nodes)
    deadline_ns, next_ns = monotonic_ns() + int(DEADLINE_S * 1e9), 0
    while not until():
        now_ns = monotonic_ns()
        assert now_ns < deadline_ns, [node.wire.status(now_ns) for node in nodes]
        if now_ns >= next_ns:
            next_ns = now_ns + ms * MS
            every()
        select.select([fd for node in nodes for fd in node.wire.filenos()], [], [], max(0, next_ns - now_ns) / 1e9)
        for node in nodes:
            node.take()
