"""Child processes: start one, hear it, learn of its end at once (pidfd), end it by pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent import control
from agent.processes.spec import ChildSpec
from agent.supervise import RestartBudget


@dataclass
class ChildHandle:
    """The parent's side of one child, across its restarts.

    ``report`` holds the last report of the present life; ``carried`` the counters of earlier lives, so that a total
    never goes back. ``last_failure`` says how the last failed life ended, ``failed_ns`` when. ``restart_ns``: when
    the next life begins; None when none is due. ``finished``: its job is done and no life follows. ``was_ready``: one
    of its lives has begun its job. ``events``: what it has to say to the rack; who takes them empties the list.
    ``duty``: role and epoch of the node as the publisher says; ``told_duty``: as this child was told.
    """

    spec: ChildSpec
    pass_fds: Sequence[int]
    budget: RestartBudget
    process: subprocess.Popen[bytes] | None = None
    pidfd: int = -1
    control: socket.socket | None = None
    ready: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    carried: dict[str, int] = field(default_factory=dict)
    last_failure: str = ""
    failed_ns: int = 0
    restart_ns: int | None = None
    finished: bool = False
    was_ready: bool = False
    events: list[dict[str, str]] = field(default_factory=list)
    lives: int = 0
    told_go: bool = False
    duty: tuple[str, int] | None = None
    told_duty: tuple[str, int] | None = None
    _words: str = ""

    @property
    def name(self) -> str:
        """The child's name in logs, metrics and health."""
        return self.spec.name

    @property
    def running(self) -> bool:
        """Whether the present life goes on."""
        return self.process is not None

    def start(self, boot_id: str) -> None:
        """Begin a life; a publisher's records are numbered anew under ``boot_id``."""
        parent_end, child_end = control.pair()
        self.spec = replace(self.spec, control_fd=child_end.fileno(), boot_id=boot_id)
        argv = [sys.executable, "-m", "agent.processes", self.spec.to_text(), str(os.getpid())]
        with child_end:
            self.process = subprocess.Popen(
                argv, pass_fds=(child_end.fileno(), *self.pass_fds), stdin=subprocess.DEVNULL, env=child_environment()
            )
        self.control = parent_end
        self.pidfd = os.pidfd_open(self.process.pid)
        self.ready, self.told_go, self.restart_ns, self._words = False, False, None, ""
        self.duty = self.told_duty = None
        self.lives += 1

    def hear(self) -> None:
        """Take every waiting message."""
        while self.control is not None:
            try:
                message = control.receive(self.control)
            except control.PeerGoneError:
                return
            if message is None:
                return
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        kind = message.pop("type")
        if kind == "ready":
            self.ready, self.was_ready, self.facts = True, True, message
        elif kind == "report":
            self.report = message
        elif kind == "role":
            self.duty = (message["role"], message["epoch"])
        elif kind == "events":
            self.events += message["events"]
        elif kind == "failed":
            self._words = " — ".join(part for part in (message["message"], message["hint"]) if part)

    def tell(self, message: dict[str, Any]) -> bool:
        """Send a message; False when the child cannot take it now."""
        return self.control is not None and control.send(self.control, message)

    def reap(self, now_ns: int) -> int:
        """Collect an ended life and return its exit code (negative: the signal that killed it)."""
        assert self.process is not None and self.control is not None
        self.hear()
        code = self.process.wait()
        for name, value in self.report.get("counters", {}).items():
            self.carried[name] = self.carried.get(name, 0) + value
        self.report = {**self.report, "counters": {}}
        self.control.close()
        os.close(self.pidfd)
        self.process, self.control, self.pidfd, self.ready = None, None, -1, False
        if code != 0:
            ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            self.last_failure, self.failed_ns = self._words or ended, now_ns
        return code

    def kill(self) -> None:
        """End the present life by force, by pid."""
        if self.process is not None:
            self.process.kill()

    def counters(self) -> dict[str, int]:
        """Totals over all lives."""
        total = dict(self.carried)
        for name, value in self.report.get("counters", {}).items():
            total[name] = total.get(name, 0) + value
        return total

    def stages(self) -> dict[str, dict[str, float]]:
        """Latency summaries of the present life, ms."""
        stages = self.report.get("stages", {})
        assert isinstance(stages, dict)
        return stages


def child_environment() -> dict[str, str]:
    """The children's environment: ours, with numeric libraries held to the threads that the configuration gives."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")
    return {**os.environ, **one, "PYTHONUNBUFFERED": "1"}
