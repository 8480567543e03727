"""A pair of failover services and a witness on loopback, real programs; the publishers are stand-ins of the test.

Leases and silences are as long as they may be: on a shared machine any of these processes is not run now and then for
longer than 100 ms, and a node whose lease ran out for that gives way as it should.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from failover.core.types import CameraCursor, Gate, Health, Pipeline, Role
from failover.link import Opened, PublisherWord, ServicePort, opened_message, pipeline_message, socket_path
from failover.link_recorder import RecorderWord, recorder_message, recorder_socket_path
from failover.service.control import ask
from hil.rack.pki import Identity, LocalCa
from hil.venue.optics import site_camera
from tests.ports import free_port
from touchline.errors import TouchlineError
from touchline.timeline import monotonic_ns, sleep_until

NODES = ("node-a", "node-b")
DEADLINE_S = 60.0
ANSWER_S = 0.2  # of a status: meanwhile the publishers are not served, and must not seem to hang
FIT = Health(cameras=1, clock_ok=True, publishing=True)
NODE = """
[node]
name = "{name}"
run_dir = "{run}"

[[camera]]
number = 1
source = "pattern"
width_px = 320
height_px = 192
pixel_format = "gray8"
calibration = "left.json"

[publish]
spool_dir = "{state}/spool"

[mqtt]
host = "127.0.0.1"
ca_file = "{pki.ca_file}"
cert_file = "{pki.cert_file}"
key_file = "{pki.key_file}"

[failover]
pair = "pair-1"
twin = "{twin}"
paths = [["127.0.0.1:{port}", "127.0.0.1:{theirs}"]]
witness = "127.0.0.1:{witness}"
silence_ms = 600
lease_ms = 600
{more}
"""
RACK = """
[mqtt]
host = "127.0.0.1"
ca_file = "{pki.ca_file}"
cert_file = "{pki.cert_file}"
key_file = "{pki.key_file}"

[store]
path = "match.sqlite"

[witness]
bind = "127.0.0.1:{witness}"
lease_limit_ms = 700
state_file = "{folder}/epochs"
run_dir = "{folder}/run-witness"
"""


class Program:
    """One of our programs, ended by pid."""

    def __init__(self, folder: Path, name: str, *words: str) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "touchline.cli", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


class Publisher:
    """The publisher of one node as the service sees it: always fit unless told otherwise; opens when it may."""

    def __init__(self, run_dir: Path) -> None:
        self.port = ServicePort(socket_path(run_dir))
        self.gate: Gate | None = None
        self.health = FIT
        self.opened: list[int] = []
        self.events: list[dict[str, Any]] = []
        self.cursor_ns = 0
        self.hangs = False
        self._said_ns = 0

    def turn(self, now_ns: int) -> None:
        if self.hangs:
            return
        self.port.connect(now_ns)
        for word in self.port.receive():
            if isinstance(word, Gate):
                if word.open and (not self.opened or self.opened[-1] != word.epoch):
                    self.opened.append(word.epoch)
                    self.port.send(opened_message(Opened(word.epoch, CameraCursor(1, 7), now_ns)))
                self.gate = word
            else:
                self.events.append(dict(word.document()))
        if now_ns - self._said_ns > 20_000_000:
            self._said_ns = now_ns
            cursors = (CameraCursor(1, self.cursor_ns),) if self.cursor_ns else ()
            self.port.send(pipeline_message(PublisherWord(Pipeline(self.health, cursors))))

    def open_at(self, now_ns: int) -> bool:
        return self.gate is not None and self.gate.open and now_ns < self.gate.until_ns


class Recorder:
    """The recorder of camera 1 as the service hears it: obeys the publisher's gate and writes, unless told not to."""

    def __init__(self, run_dir: Path, publisher: Publisher) -> None:
        self.port, self._publisher = ServicePort(recorder_socket_path(run_dir)), publisher
        self.word = RecorderWord(1, Role.STANDBY, 0, state="recording")
        self.there = False
        self.deaf = False
        self._said_ns = 0

    def turn(self, now_ns: int) -> None:
        if not self.there:
            self.port.close()
            return
        gate = self._publisher.gate
        wanted = (gate.role, gate.epoch) if gate is not None and not self.deaf else (self.word.role, self.word.epoch)
        if wanted != (self.word.role, self.word.epoch):
            self.word = RecorderWord(1, *wanted, now_ns, "recording", 0, 0, now_ns, now_ns, now_ns - 8_333_333)
            self._said_ns = 0
        if self.port.connect(now_ns) or now_ns - self._said_ns > 100_000_000:
            self._said_ns = now_ns
            self.word = replace(self.word, last_ptp_ns=now_ns, last_ns=now_ns)
            self.port.send(recorder_message(self.word))


class Pair:
    """See the module. ``more``: lines of ``[failover]`` and further sections by node."""

    def __init__(self, folder: Path, more: dict[str, str] | None = None) -> None:
        self.folder = folder
        ca = LocalCa(folder / "pki")
        site_camera("left", (320, 192)).save(folder / "left.json")
        a, b, self.witness_port = (free_port() for _ in range(3))
        ports = {"node-a": (a, b), "node-b": (b, a)}
        self.run = {name: folder / name for name in NODES}
        self.config: dict[str, Path] = {}
        for name, twin in zip(NODES, reversed(NODES), strict=True):
            self.config[name] = folder / f"{name}.toml"
            self.config[name].write_text(
                NODE.format(
                    name=name,
                    run=self.run[name],
                    state=folder / f"{name}-state",
                    pki=self._identity(ca, name),
                    twin=twin,
                    port=ports[name][0],
                    theirs=ports[name][1],
                    witness=self.witness_port,
                    more=(more or {}).get(name, ""),
                )
            )
        self.rack = folder / "rack.toml"
        self.rack.write_text(
            RACK.format(pki=self._identity(ca, "aggregator"), witness=self.witness_port, folder=folder)
        )
        self.publisher = {name: Publisher(self.run[name]) for name in NODES}
        self.recorder = {name: Recorder(self.run[name], self.publisher[name]) for name in NODES}
        self.program: dict[str, Program] = {}

    @staticmethod
    def _identity(ca: LocalCa, name: str) -> Identity:
        return ca.client(name)

    def start(self, *names: str) -> None:
        for name in names or ("witness", *NODES):
            if name == "witness":
                words = ("failover", "witness", "--config", str(self.rack))
            else:
                words = ("failover", "run", "--config", str(self.config[name]))
            self.program[name] = Program(self.folder, name, *words)

    def turn(self) -> None:
        now_ns = monotonic_ns()
        for publisher in self.publisher.values():
            publisher.turn(now_ns)
        for recorder in self.recorder.values():
            recorder.turn(now_ns)
        sleep_until(now_ns + 2_000_000)

    def until(self, true: Callable[[], bool], what: str, timeout_s: float = DEADLINE_S) -> float:
        """Serve the publishers until something is so; returns how long it took, ms."""
        begin_ns = monotonic_ns()
        while not true():
            if monotonic_ns() - begin_ns > timeout_s * 1e9:
                logs = "\n".join(f"--- {name}\n{one.log.read_text()[-2500:]}" for name, one in self.program.items())
                raise AssertionError(f"not within {timeout_s:g} s: {what}\n{logs}")
            self.turn()
        return (monotonic_ns() - begin_ns) / 1e6

    def run_for(self, seconds: float) -> None:
        """Serve the publishers for a while; never are two gates with a lease open at once."""
        end_ns = monotonic_ns() + int(seconds * 1e9)
        self.until(lambda: monotonic_ns() >= end_ns, "time to pass", seconds + DEADLINE_S)

    def active(self) -> list[str]:
        """Whose gate is open now: by what the services have said by now, not by what was read before the last pause."""
        for publisher in self.publisher.values():
            publisher.turn(monotonic_ns())
        now_ns = monotonic_ns()
        return [name for name, one in self.publisher.items() if one.open_at(now_ns)]

    def other(self, name: str) -> str:
        return NODES[1 - NODES.index(name)]

    def status(self, name: str) -> dict[str, Any]:
        """What the service says; empty when it does not answer soon."""
        try:
            found = ask(self.run[name], "status", ANSWER_S)["status"]
        except TouchlineError:
            return {}
        assert isinstance(found, dict)
        return found

    def said(
        self, name: str, true: Callable[[dict[str, Any]], object] = bool, what: str = "its status"
    ) -> dict[str, Any]:
        """The first status of a service of which something is so: what is asserted of it is asserted of the same."""
        found: list[dict[str, Any]] = []

        def so() -> bool:
            found.append(self.status(name))
            return bool(found[-1] and true(found[-1]))

        self.until(so, what)
        return found[-1]

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        """End a program, while the publishers are served: a service that is asked to end hands over first."""
        program = self.program[name]
        program.send(number)
        self.until(lambda: program.process.poll() is not None, f"the end of {name}")

    def cli_begin(self, *words: str) -> None:
        """Start another command of ours; :meth:`cli_end` waits for it."""
        argv = [sys.executable, "-m", "touchline.cli", *words]
        self._command = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def cli_end(self) -> subprocess.CompletedProcess[str]:
        """The end of the command, while the publishers are served."""
        with self._command as process:
            self.until(lambda: process.poll() is not None, "the end of a command")
            out, err = process.communicate()
        return subprocess.CompletedProcess([], process.returncode, out, err)

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another command of ours, to its end."""
        self.cli_begin(*words)
        return self.cli_end()

    def history(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / f"{name}-state" / "failover" / "history.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def close(self) -> None:
        for one in self.program.values():
            one.end()
        for publisher in self.publisher.values():
            publisher.port.close()
        for recorder in self.recorder.values():
            recorder.port.close()
