"""What every child does besides its job: obey the parent, report to it, die with it, and fail with a reason."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import select
import signal
import socket
from pathlib import Path
from typing import Any, Final

from agent import control
from agent.processes.spec import ChildSpec, Role
from agent.ring import Ring, RingFds
from touchline.config import CameraSection, NodeConfig, load
from touchline.errors import ResourceError
from touchline.stats import Window
from touchline.timeline import monotonic_ns

TRACKER: Final = "tracker_"  # prefix of the tracker's own counters
REPORT_EVERY_NS: Final = 500_000_000
_PATIENCE_S: Final = 0.5
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_LOG: Final = logging.getLogger(__name__)


class Child:
    """A child's side of the conversation with its parent.

    ``counters`` and ``stages`` are what the job fills; both go to the parent twice a second and at the end.
    """

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.config = load(Path(spec.config), NodeConfig)
        self.counters: dict[str, int] = {}
        self.stages: dict[str, Window] = {}
        self.extra: dict[str, Any] = {}
        self.control = socket.socket(fileno=spec.control_fd)
        self.control.setblocking(False)
        self.stopping = False
        self.may_go = False
        self.inbox: list[dict[str, Any]] = []
        self._reported_ns = 0

    @property
    def camera(self) -> CameraSection:
        """This child's camera."""
        assert self.spec.camera is not None
        return self.config.camera[self.spec.camera]

    def ring(self) -> Ring:
        """Open the inherited ring."""
        assert self.spec.ring is not None
        return Ring.attach(RingFds.from_text(self.spec.ring))

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        self.counters[name] = self.counters.get(name, 0) + amount

    def took(self, stage: str, duration_ms: float) -> None:
        """Take one duration of a stage."""
        window = self.stages.get(stage)
        if window is None:
            window = self.stages[stage] = Window()
        window.add(duration_ms)

    def ready(self, **facts: Any) -> None:
        """Tell the parent that the job has begun."""
        control.send(self.control, {"type": "ready", **facts})
        gc.collect()
        gc.freeze()  # what was loaded stays; looking at it again and again costs tail latency
        gc.set_threshold(20_000, 20, 50)  # not off: a publisher that redials for hours leaves cycles behind

    def tick(self) -> None:
        """Hear the parent and report to it when it is time; call it at least a few times a second."""
        self._hear()
        now_ns = monotonic_ns()
        if now_ns - self._reported_ns >= REPORT_EVERY_NS:
            self._reported_ns = now_ns
            self.report()

    def wait_for_go(self) -> None:
        """Everything is prepared: return at the parent's word that the others are, or when it says stop."""
        while not (self.may_go or self.stopping):
            select.select([self.control], [], [], _PATIENCE_S)
            self.tick()

    def report(self) -> None:
        """Send counters and stages now."""
        summaries = {name: window.summary() for name, window in self.stages.items()}
        stages = {name: one.as_dict() for name, one in summaries.items() if one is not None}
        control.send(self.control, {"type": "report", "counters": self.counters, "stages": stages, **self.extra})

    def _hear(self) -> None:
        try:
            while (message := control.receive(self.control)) is not None:
                if message.get("type") == "stop":
                    self.stopping = True
                elif message.get("type") == "go":
                    self.may_go = True
                self.inbox.append(message)
        except control.PeerGoneError:
            _LOG.warning("the parent is gone")
            self.stopping = True


def _die_with_the_parent(parent_pid: int) -> None:
    """Ask for SIGKILL when the parent dies: nobody would gather the results, and the spool survives a kill."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        _LOG.warning("PR_SET_PDEATHSIG is refused; the control socket alone tells of the parent's end")
    if os.getppid() != parent_pid:
        raise ResourceError("the parent ended while this child started")


def _cpus_of(config: NodeConfig, role: Role) -> list[int]:
    process = config.process
    table = {
        Role.CAPTURE: process.capture_cpus,
        Role.INFERENCE: process.inference_cpus,
        Role.PUBLISHER: process.publisher_cpus,
        Role.RECORDER: config.record.cpus if config.record is not None else [],
    }
    return table.get(role, [])  # the clock process is one of many small things: wherever there is room


def prepare(spec: ChildSpec, parent_pid: int) -> Child:
    """Set up this process for its job: signals, parent's death, CPU set."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they may reach the whole group; the parent decides the order
        signal.signal(number, signal.SIG_IGN)
    _die_with_the_parent(parent_pid)
    child = Child(spec)
    cpus = _cpus_of(child.config, spec.role)
    if cpus:
        try:
            os.sched_setaffinity(0, cpus)
        except OSError as error:
            raise ResourceError(
                f"{spec.role.value}_cpus = {cpus}: {error.strerror}", hint=f"this machine has 0..{os.cpu_count()}"
            ) from error
    return child
