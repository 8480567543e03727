"""A real publisher process; the test is its parent, its inference and its failover service."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from agent import control
from agent.parent.children import child_environment
from agent.processes.frames import frame_message
from agent.processes.spec import ChildSpec, Role
from agent.publish.duty import Look
from failover.core.types import CameraCursor, Gate
from failover.core.types import Role as PairRole
from failover.link import Opened, PublisherPort, PublisherWord, socket_path
from hil.rack.pki import Identity
from touchline.record import new_records
from touchline.timeline import monotonic_ns

MS = 1_000_000
FITNESS = {"clock_ok": True, "trouble": ""}

CONFIGURATION = """
[node]
name = "{name}"
run_dir = "run"
[[camera]]
number = 1
source = "pattern"
calibration = "none.json"
[publish]
spool_dir = "spool"
spool_max = "64MiB"
wait_for_sink = false
[mqtt]
host = "127.0.0.1"
port = {port}
ca_file = "{ca}"
cert_file = "{cert}"
key_file = "{key}"
[failover]
pair = "goal-1"
twin = "{twin}"
paths = [["127.0.0.1:17400", "127.0.0.1:17401"]]
witness = "127.0.0.1:17402"
"""


class PublisherProcess:
    """One node's publisher; ``service`` is the end that the failover service would hold."""

    def __init__(self, folder: Path, name: str, twin: str, port: int, identity: Identity) -> None:
        self.name = name
        (folder / "run").mkdir(parents=True, exist_ok=True)
        self._config = folder / "node.toml"
        self._config.write_text(
            CONFIGURATION.format(
                name=name, twin=twin, port=port, ca=identity.ca_file, cert=identity.cert_file, key=identity.key_file
            )
        )
        self.service = PublisherPort(socket_path(folder / "run"))
        self.word: PublisherWord | None
        self.opened: list[Opened] = []
        self.roles: list[tuple[str, int]] = []
        self.report: dict[str, Any] = {}
        self.start()

    def start(self) -> None:
        """Begin a life; what the last one said is forgotten."""
        self.word = None
        self.roles.clear()
        self._records, receiving = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._records.settimeout(60.0)  # while it starts, its frames wait: none is to be lost
        self._control, child_end = control.pair()
        self._records.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        spec = ChildSpec(
            Role.PUBLISHER, str(self._config), child_end.fileno(), os.urandom(16).hex(), link_fd=receiving.fileno()
        )
        with receiving, child_end:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent.processes", spec.to_text(), str(os.getpid())],
                pass_fds=(child_end.fileno(), receiving.fileno()),
                env=child_environment(),
            )
        self.vouch()

    def vouch(self) -> None:
        """The parent's documents."""
        control.send(self._control, {"type": "documents", "health": {}, "clock": {}, "fitness": FITNESS})

    def frame(self, number: int, ptp_ns: int, people: int) -> None:
        """One frame of camera 1 from the inference."""
        rows = new_records(people)
        rows["camera"], rows["frame"], rows["ptp_ns"], rows["x_m"] = 1, number, ptp_ns, np.arange(people)
        self._records.send(frame_message(Look(1, number, ptp_ns), rows))

    def gate(self, *, is_open: bool, epoch: int, covered: tuple[CameraCursor, ...], for_ms: int = 60_000) -> int:
        """The service's word of this moment; until when it is good. By itself it does not run out during a test."""
        role = PairRole.ACTIVE if is_open else PairRole.STANDBY
        until_ns = monotonic_ns() + (for_ms * MS if is_open else 0)
        self.service.send(Gate(is_open, epoch, until_ns, role, True, covered))
        return until_ns

    def hear(self) -> None:
        """Take what it says to its service and to its parent."""
        for said in self.service.receive():
            if isinstance(said, Opened):
                self.opened.append(said)
            else:
                self.word = said
        try:
            while (message := control.receive(self._control)) is not None:
                if message["type"] == "role":
                    self.roles.append((message["role"], message["epoch"]))
                elif message["type"] == "report":
                    self.report = message
        except control.PeerGoneError:
            return

    @property
    def cursors(self) -> tuple[CameraCursor, ...]:
        """As last told to the service."""
        return self.word.pipeline.cursors if self.word is not None else ()

    def kill(self) -> None:
        """kill -9; the service sees the connection end."""
        self.process.kill()
        self.process.wait()
        self._records.close()

    def stop(self) -> int:
        """In good order; its exit code."""
        deadline_ns = monotonic_ns() + 30_000 * MS
        control.send(self._control, {"type": "stop", "deadline_ns": deadline_ns, "reason": "enough"})
        return self.process.wait(60.0)

    def close(self) -> None:
        """Whatever is left of it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._records.close()
        self._control.close()
        self.service.close()
