"""The parent's loop: start in order, restart within limits, feed the watchdog while frames flow, drain on the way out.

Order of starting: publisher and inference first, each camera's capture once its inference is ready, so that no frame of
a finite source is lost. Order of ending: captures close their rings, inferences work them off, the publisher empties
its spool until the deadline; what is left stays on disk for the next start.
"""

from __future__ import annotations

import json
import logging
import selectors
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.camera.port import PixelFormat, frame_bytes
from agent.parent.children import ChildHandle
from agent.parent.health import NodeView, Rates
from agent.parent.metrics import serve_metrics
from agent.processes.spec import ChildSpec, Role
from agent.ring import Ring, RingLedger, RingSpec
from agent.supervise import Flow, RestartBudget, Verdict
from touchline.config import NodeConfig
from touchline.notify import notify, watchdog_interval_s
from touchline.timeline import SystemClock, monotonic_ns, new_boot_id

_LOG: Final = logging.getLogger("agent")
_TICK_S: Final = 0.1
_STATUS_EVERY_NS: Final = 500_000_000
_INTERRUPTED: Final = 0


@dataclass
class Ending:
    """Why and until when the agent ends."""

    reason: str
    exit_code: int
    deadline_ns: int


class Agent:
    """One node's agent. :meth:`run` returns the exit code when everything has ended."""

    def __init__(self, config: NodeConfig, config_path: Path) -> None:
        self.config, self._path = config, config_path
        self._clock = SystemClock()
        self._boot_id = new_boot_id().hex()
        self._rings: dict[int, Ring] = {}
        self._children: list[ChildHandle] = []
        self._rates, self._flow = Rates(), Flow(config.process.stall_s)
        self._selector = selectors.DefaultSelector()
        self._ending: Ending | None = None
        self._was_running = False
        self._status_ns = self._watchdog_ns = 0
        self._view: NodeView | None = None
        self._link_ends: list[socket.socket] = []

    # --- life -------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Start everything, serve until told to stop or nothing is left to do, and return the exit code."""
        config = self.config
        config.node.run_dir.mkdir(parents=True, exist_ok=True)
        config.publish.spool_dir.mkdir(parents=True, exist_ok=True)
        server = serve_metrics(config.metrics.bind, config.metrics.port, lambda: self._view)
        _LOG.info("metrics: http://%s:%d/metrics", config.metrics.bind, server.server_port)
        try:
            self._make_rings()
            self._make_children()
            self._catch_signals()
            while self._step():
                pass
        finally:
            self._end_by_force()
            server.shutdown()
            server.server_close()
        ending = self._ending
        assert ending is not None
        notify("STOPPING=1", f"STATUS={ending.reason}")
        _LOG.info("ended: %s", ending.reason)
        return ending.exit_code

    def _make_rings(self) -> None:
        ring = self.config.ring
        for index, camera in enumerate(self.config.camera):
            size = frame_bytes(camera.width_px, camera.height_px, PixelFormat(camera.pixel_format))
            spec = RingSpec(ring.slots, size, readers=2, guard_slots=ring.guard_slots)
            self._rings[index] = Ring.create(spec, lock=ring.lock, hugepages=ring.hugepages)
            _LOG.info("camera %d %s", camera.number, self._rings[index].describe(camera.rate_hz))

    def _make_children(self) -> None:
        receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._link_ends = [receiving, sending]
        self._add(Role.PUBLISHER, None, receiving)
        for index in self._rings:
            self._add(Role.INFERENCE, index, sending)
        for index in self._rings:
            self._add(Role.CAPTURE, index, None)
        for child in self._children:
            if child.spec.role is not Role.CAPTURE:
                self._start(child)

    def _add(self, role: Role, camera: int | None, link: socket.socket | None) -> None:
        process = self.config.process
        ring = None if camera is None else self._rings[camera].fds()
        link_fds = () if link is None else (link.fileno(),)
        spec = ChildSpec(
            role=role,
            config=str(self._path.resolve()),
            control_fd=-1,
            boot_id=self._boot_id,
            camera=camera,
            ring=None if ring is None else ring.to_text(),
            link_fd=None if link is None else link.fileno(),
        )
        fds = (*(() if ring is None else ring.all()), *link_fds)
        self._children.append(ChildHandle(spec, fds, RestartBudget(process.restart_limit, process.restart_window_s)))

    def _start(self, child: ChildHandle) -> None:
        child.start()
        assert child.control is not None
        self._selector.register(child.control, selectors.EVENT_READ, child)
        self._selector.register(child.pidfd, selectors.EVENT_READ, child)

    def _catch_signals(self) -> None:
        waking, wake = socket.socketpair()
        for end in (waking, wake):
            end.setblocking(False)
        self._link_ends += [waking, wake]
        signal.set_wakeup_fd(wake.fileno())
        self._selector.register(waking, selectors.EVENT_READ, waking)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._end(f"{signal.Signals(number).name} received", _INTERRUPTED)

    # --- one turn of the loop -----------------------------------------------------------------------------------------

    def _step(self) -> bool:
        for key, _ in self._selector.select(_TICK_S):
            if isinstance(key.data, socket.socket):
                key.data.recv(4096)
            elif key.fd == key.data.pidfd:
                self._on_exit(key.data)
            else:
                key.data.hear()
        now_ns = monotonic_ns()
        self._start_captures()
        self._watch(now_ns)
        if self._ending is None:
            return True
        return self._drain(now_ns)

    def _start_captures(self) -> None:
        """Begin each capture once its inference is ready; after that it is restarted like any other child."""
        ready = {child.spec.camera for child in self._role(Role.INFERENCE) if child.ready}
        for child in self._role(Role.CAPTURE):
            if child.lives == 0 and child.spec.camera in ready and self._ending is None:
                self._start(child)

    def _role(self, role: Role) -> list[ChildHandle]:
        return [child for child in self._children if child.spec.role is role]

    def _on_exit(self, child: ChildHandle) -> None:
        assert child.control is not None
        self._selector.unregister(child.control)
        self._selector.unregister(child.pidfd)
        code = child.reap()
        if self._ending is not None:
            return
        verdict = child.budget.judge(code, monotonic_ns())
        if verdict is Verdict.RESTART:
            _LOG.warning("%s ended (%s): restart %d", child.name, child.last_failure, child.budget.total)
            self._start(child)
        elif verdict is Verdict.GIVE_UP:
            limit = "" if code in (2, 3, 4) else f" after {child.budget.limit} restarts"
            self._end(f"{child.name} failed{limit}: {child.last_failure}", code if code > 0 else 1)
        elif child.spec.role is Role.CAPTURE and not any(c.running for c in self._role(Role.CAPTURE)):
            self._end("every camera reached its end", 0)

    def _watch(self, now_ns: int) -> None:
        ledgers = self._ledgers()
        for camera, ledger in ledgers.items():
            self._flow.saw(camera, ledger.committed, now_ns)
        flowing = self._flow.alive(len(self._rings), now_ns) and all(one.committed for one in ledgers.values())
        if flowing and not self._was_running:
            self._was_running = True
            notify("READY=1", "STATUS=frames flow")
        interval_s = watchdog_interval_s()
        if flowing and interval_s and now_ns - self._watchdog_ns > interval_s * 1e9:
            self._watchdog_ns = now_ns
            notify("WATCHDOG=1")
        if now_ns - self._status_ns < _STATUS_EVERY_NS:
            return
        self._status_ns = now_ns
        for camera, ledger in ledgers.items():
            self._rates.look(camera, ledger.committed, now_ns)
        self._look(ledgers, *self._state(flowing, now_ns))
        self._tell_everybody()

    def _ledgers(self) -> dict[int, RingLedger]:
        """The books of every ring, by camera number."""
        return {self.config.camera[index].number: ring.ledger() for index, ring in self._rings.items()}

    def _look(self, ledgers: dict[int, RingLedger], state: str, reason: str) -> None:
        node = self.config.node
        self._view = NodeView(
            name=node.name,
            epoch=node.epoch,
            boot_id=self._boot_id,
            state=state,
            reason=reason,
            clock=self._clock.now(),
            children=self._children,
            ledgers=ledgers,
            rates=dict(self._rates.fps),
        )

    def _state(self, flowing: bool, now_ns: int) -> tuple[str, str]:
        if self._ending is not None:
            return "stopping", self._ending.reason
        if not self._was_running:
            return "starting", ""
        if not flowing:
            return "degraded", f"no frames from camera {self._flow.stalled(now_ns)}"
        failures = [f"{child.name}: {child.last_failure}" for child in self._children if child.last_failure]
        return "running", "; ".join(failures)

    def _tell_everybody(self) -> None:
        assert self._view is not None
        for child in self._role(Role.PUBLISHER):
            child.tell({"type": "documents", "health": self._view.document(), "clock": self._view.clock_document()})
        self._write_status()

    def _write_status(self) -> None:
        assert self._view is not None
        path = status_file(self.config)
        fresh = path.with_suffix(".new")
        try:
            fresh.write_text(json.dumps({**self._view.document(), "clock": self._view.clock_document()}))
            fresh.replace(path)
        except OSError as error:  # a full tmpfs must not end the agent; the metrics page still answers
            _LOG.warning("status file %s: %s", path, error.strerror)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _end(self, reason: str, exit_code: int) -> None:
        if self._ending is not None:
            return
        deadline_ns = monotonic_ns() + int(self.config.process.drain_s * 1e9)
        self._ending = Ending(reason, exit_code, deadline_ns)
        for child in self._role(Role.CAPTURE):
            child.tell({"type": "stop"})

    def _drain(self, now_ns: int) -> bool:
        assert self._ending is not None
        deadline_ns = self._ending.deadline_ns
        waiting = [child for child in self._children if child.running]
        if not waiting or now_ns > deadline_ns:
            return False
        roles = {child.spec.role for child in waiting}
        if Role.CAPTURE not in roles:
            self._tell_once(Role.INFERENCE, {"type": "stop"})
        if not roles & {Role.CAPTURE, Role.INFERENCE}:
            self._tell_once(Role.PUBLISHER, {"type": "stop", "deadline_ns": deadline_ns})
        return True

    def _tell_once(self, role: Role, message: dict[str, object]) -> None:
        for child in self._role(role):
            if child.running and child.facts.get("told") != message["type"] and child.tell(message):
                child.facts["told"] = message["type"]

    def _end_by_force(self) -> None:
        for child in self._children:
            if child.running:
                _LOG.warning("%s did not end in time: killed", child.name)
                child.kill()
                child.reap()
        self._look(self._ledgers(), "stopped", self._ending.reason if self._ending else "an error of the parent")
        self._write_status()
        for ring in self._rings.values():
            ring.close()
        for end in self._link_ends:
            end.close()
        signal.set_wakeup_fd(-1)


def status_file(config: NodeConfig) -> Path:
    """Where the agent writes what ``touchline agent status`` shows."""
    return config.node.run_dir / "agent-status.json"
