"""The parent's loop: start in order, restart within limits, feed the watchdog while frames flow, drain on the way out.

All children start at once and load side by side; each capture lets its camera run once its inference is ready, so that
no frame of a finite source is lost. A camera that cannot go on is given up alone; the node ends when none is left. How
it ends is in :mod:`agent.parent.drain`.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
from pathlib import Path
from typing import Final

from agent.parent.children import ChildHandle
from agent.parent.clock import ClockView, NodeClock
from agent.parent.drain import Drain
from agent.parent.duty import SPARED, NodeDuty
from agent.parent.health import NodeView, Rates
from agent.parent.metrics import MetricsServer
from agent.parent.status import prepare_folders, write_status
from agent.processes.spec import ChildSpec, Role
from agent.ring import Ring, RingLedger
from agent.rings import make_ring
from agent.supervise import FINAL_EXITS, Flow, RestartBudget, Verdict
from touchline.config import NodeConfig
from touchline.notify import notify, watchdog_interval_s
from touchline.timeline import Timebase, monotonic_ns, new_boot_id

_LOG: Final = logging.getLogger("agent")
_TICK_S: Final = 0.1
_LOOK_EVERY_NS: Final = 500_000_000
_RECENT_NS: Final = 60_000_000_000  # a failure is part of the state's reason for so long
_LINK_BUFFER_BYTES: Final = 4 << 20
_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Agent:
    """One node's agent. :meth:`run` returns the exit code when everything has ended."""

    def __init__(self, config: NodeConfig, config_path: Path) -> None:
        self.config, self._path = config, config_path
        self._clock = NodeClock(config)
        self._clock_lost = ""  # why the clock process is given up
        self._duty = NodeDuty(config)
        self._rings: dict[int, Ring] = {}
        self._children: list[ChildHandle] = []
        self._given_up: dict[int, int] = {}  # camera index -> exit code
        self._rates = Rates()
        self._landed, self._taken = Flow(config.process.stall_s), Flow(config.process.stall_s)
        self._selector = selectors.DefaultSelector()
        self._drain: Drain | None = None
        self._was_running = False
        self._looked_ns = self._watchdog_ns = 0
        self._view: NodeView | None = None
        self._sockets: list[socket.socket] = []

    def run(self) -> int:
        """Start everything, serve until told to stop or nothing is left to do, and return the exit code."""
        prepare_folders(self.config)
        metrics = self.config.metrics
        server = MetricsServer(metrics.bind, metrics.port, lambda: self._view)
        _LOG.info("metrics: http://%s:%d/metrics", metrics.bind, server.port)
        try:
            self._make_rings()
            self._make_children()
            self._catch_signals()
            while self._turn():
                pass
        finally:
            self._close_all()
            server.close()
        assert self._drain is not None
        notify("STOPPING=1", f"STATUS={self._drain.reason}")
        _LOG.info("ended: %s", self._drain.reason)
        return self._drain.exit_code

    # --- start ----------------------------------------------------------------------------------------------------

    def _make_rings(self) -> None:
        for index, camera in enumerate(self.config.camera):
            self._rings[index] = make_ring(self.config.ring, camera, recorded=self.config.record is not None)
            _LOG.info("camera %d %s", camera.number, self._rings[index].describe(camera.rate_hz))

    def _make_children(self) -> None:
        receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LINK_BUFFER_BYTES)
        self._sockets += [receiving, sending]
        heard, told = self._uart_pair()
        if self.config.clock.source == "ptp":
            self._add(Role.CLOCK, None, None)
        self._add(Role.PUBLISHER, None, receiving)
        for index in self._rings:
            self._add(Role.INFERENCE, index, sending, told)
        if heard is not None:
            self._add(Role.UART, None, heard)
        if self.config.record is not None:
            for index in self._rings:
                self._add(Role.RECORDER, index, None)
        for index in self._rings:
            self._add(Role.CAPTURE, index, None)
        for child in self._children:
            self._start(child)

    def _uart_pair(self) -> tuple[socket.socket | None, socket.socket | None]:
        """Ends of the uart and of all inferences; the kernel keeps 0.4 s of two cameras that see 22 people."""
        if self.config.uart is None:
            return None, None
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._sockets += ends
        return ends

    def _add(
        self, role: Role, camera: int | None, link: socket.socket | None, uart: socket.socket | None = None
    ) -> None:
        process = self.config.process
        ring = None if camera is None else self._rings[camera].fds()
        link_fds = [end.fileno() for end in (link, uart) if end is not None]
        spec = ChildSpec(
            role=role,
            config=str(self._path.resolve()),
            control_fd=-1,
            boot_id="",
            camera=camera,
            ring=None if ring is None else ring.to_text(),
            link_fd=None if link is None else link.fileno(),
            uart_fd=None if uart is None else uart.fileno(),
        )
        fds = (*(() if ring is None else ring.all()), *link_fds)
        self._children.append(ChildHandle(spec, fds, RestartBudget(process.restart_limit, process.restart_window_s)))

    def _start(self, child: ChildHandle) -> None:
        child.start(new_boot_id().hex())
        assert child.control is not None
        self._selector.register(child.control, selectors.EVENT_READ, child)
        self._selector.register(child.pidfd, selectors.EVENT_READ, child)

    def _catch_signals(self) -> None:
        waking, wake = socket.socketpair()
        for end in (waking, wake):
            end.setblocking(False)
        self._sockets += [waking, wake]
        signal.set_wakeup_fd(wake.fileno())
        self._selector.register(waking, selectors.EVENT_READ, waking)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _frame: self._end(f"{signal.Signals(number).name} received", 0))

    # --- one turn of the loop -------------------------------------------------------------------------------------

    def _turn(self) -> bool:
        for key, _ in self._selector.select(_TICK_S):
            if isinstance(key.data, socket.socket):
                key.data.recv(4096)
            elif key.fd == key.data.pidfd:
                self._on_exit(key.data)
            else:
                key.data.hear()
                self._pass_on(key.data)
        now_ns = monotonic_ns()
        if self._drain is None:
            self._start_what_is_due(now_ns)
        self._watch(now_ns)
        return self._drain is None or self._drain.goes_on(now_ns)

    def _start_what_is_due(self, now_ns: int) -> None:
        """Restarts whose pause is over, and the word to each capture whose inference is ready."""
        ready = {child.spec.camera for child in self._role(Role.INFERENCE) if child.ready}
        for child in self._children:
            if child.restart_ns is not None and now_ns >= child.restart_ns and child.spec.camera not in self._given_up:
                self._start(child)
        for capture in self._role(Role.CAPTURE):
            if capture.running and not capture.told_go and (capture.spec.camera in ready or capture.lives > 1):
                capture.told_go = capture.tell({"type": "go"})
        self._duty.tell(self._children)

    def _role(self, role: Role) -> list[ChildHandle]:
        return [child for child in self._children if child.spec.role is role]

    def _on_exit(self, child: ChildHandle) -> None:
        assert child.control is not None
        self._selector.unregister(child.control)
        self._selector.unregister(child.pidfd)
        now_ns = monotonic_ns()
        code = child.reap(now_ns)
        self._pass_on(child)
        if self._drain is not None:
            return
        verdict = child.budget.judge(code, now_ns)
        if verdict is Verdict.RESTART:
            child.restart_ns = now_ns + int(child.budget.pause_s * 1e9)
            self._tell_event("warning", "restart", f"{child.name} ended ({child.last_failure}) and is started again")
        elif verdict is Verdict.GIVE_UP:
            self._give_up(child, code if code > 0 else 1)
        else:
            child.finished = True
            if child.spec.role is Role.PUBLISHER:
                self._end("the publisher ended without being told", 1)
            elif child.spec.role is Role.CLOCK:
                self._lose_clock(child, "the clock process ended without being told", 1)
            self._end_if_no_camera_is_left()

    def _give_up(self, child: ChildHandle, code: int) -> None:
        """A mistake at the start, or a publisher that cannot live, ends the node; later a camera is lost alone.

        A recorder is never worth the node, nor is the serial line.
        """
        limit = "" if code in FINAL_EXITS else f" after {child.budget.limit} restarts"
        reason = f"{child.name} failed{limit}: {child.last_failure}"
        if child.spec.role is Role.CLOCK:
            self._lose_clock(child, reason, code)
            return
        if child.spec.role in SPARED:
            self._duty.lost[child.name] = reason
            cost = "its camera is not recorded any more" if child.spec.role is Role.RECORDER else "no lines any more"
            self._tell_event("error", f"{child.spec.role.value}_lost", f"{reason}; {cost}")
            return
        if child.spec.camera is None or not self._was_running:
            self._end(reason, code)
            return
        self._tell_event("error", "camera_lost", reason)
        self._given_up[child.spec.camera] = code
        for other in self._children:
            if other.spec.camera == child.spec.camera:
                other.tell({"type": "stop"})
        self._end_if_no_camera_is_left(reason)

    def _lose_clock(self, child: ChildHandle, reason: str, code: int) -> None:
        """Stamps hold over and end unlocked: the node goes on, unless it must not publish such or is set up wrongly."""
        if self.config.clock.on_unlocked == "required" or (code in FINAL_EXITS and not child.was_ready):
            self._end(reason, code)
            return
        self._clock_lost = reason
        self._tell_event("error", "clock_lost", f"{reason}; stamps hold over and end unlocked")

    def _end_if_no_camera_is_left(self, reason: str = "every camera reached its end") -> None:
        finished = {child.spec.camera for child in self._role(Role.CAPTURE) if child.finished}
        if finished | set(self._given_up) >= set(self._rings):
            self._end(reason, max(self._given_up.values(), default=0))

    # --- what is seen and said ------------------------------------------------------------------------------------

    def _watch(self, now_ns: int) -> None:
        ledgers = self._ledgers()
        live = self._live_cameras()
        for camera, ledger in ledgers.items():
            for flow, frames in ((self._landed, ledger.committed), (self._taken, _taken(ledger))):
                if camera in live and frames:
                    flow.saw(camera, frames, now_ns)
                elif camera not in live:
                    flow.forget(camera)
        flowing = all(flow.alive(len(live), now_ns) for flow in (self._landed, self._taken))
        if flowing and live and not self._was_running:
            self._was_running = True
            notify("READY=1", "STATUS=frames flow")
        interval_s = watchdog_interval_s()
        if flowing and interval_s and now_ns - self._watchdog_ns > interval_s * 1e9:
            self._watchdog_ns = now_ns
            notify("WATCHDOG=1")
        due = now_ns - self._looked_ns >= _LOOK_EVERY_NS
        if not due and self.config.failover is None:
            return
        clock = self._clock.look(self._timebases())
        if due or self._duty.must_tell(clock):
            self._looked_ns = now_ns
            for camera, ledger in ledgers.items():
                self._rates.look(camera, ledger.committed, now_ns)
            self._look(ledgers, clock, *self._state(now_ns, clock.trouble))

    def _ledgers(self) -> dict[int, RingLedger]:
        """The books of every ring, by camera number."""
        return {self.config.camera[index].number: ring.ledger() for index, ring in self._rings.items()}

    def _live_cameras(self) -> set[int]:
        """Numbers of the cameras that should deliver."""
        done = {child.spec.camera for child in self._role(Role.CAPTURE) if child.finished} | set(self._given_up)
        return {camera.number for index, camera in enumerate(self.config.camera) if index not in done}

    def _state(self, now_ns: int, clock_trouble: str) -> tuple[str, str]:
        if self._drain is not None:
            return "stopping", self._drain.reason
        if not self._was_running:
            return "starting", clock_trouble
        troubles = [f"no frames from camera {camera}" for camera in self._landed.stalled(now_ns)]
        troubles += [f"inference of camera {camera} takes no frames" for camera in self._taken.stalled(now_ns)]
        troubles += [f"camera {self.config.camera[index].number} is given up" for index in self._given_up]
        troubles += [self._clock_lost] if self._clock_lost else []
        troubles += self._duty.troubles(self._children, self._given_up)
        noted = [clock_trouble] if clock_trouble else []
        if self.config.clock.on_unlocked == "required":
            troubles, noted = [*troubles, *noted], []
        recent = [
            f"{child.name}: {child.last_failure}"
            for child in self._children
            if child.last_failure and now_ns - child.failed_ns < _RECENT_NS
        ]
        return "degraded" if troubles else "running", "; ".join([*troubles, *noted, *recent])

    def _timebases(self) -> set[Timebase]:
        """The clocks that the cameras stamp with, as far as they have said."""
        return {Timebase(child.facts["timebase"]) for child in self._role(Role.CAPTURE) if "timebase" in child.facts}

    def _look(self, ledgers: dict[int, RingLedger], clock: ClockView, state: str, reason: str) -> None:
        """Make a new view and tell it to everybody."""
        publishers = self._role(Role.PUBLISHER)
        self._view = view = NodeView(
            name=self.config.node.name,
            pid=os.getpid(),
            epoch=self.config.node.epoch,
            boot_id=publishers[0].spec.boot_id if publishers else "",
            state=state,
            reason=reason,
            clock=clock.stamp,
            clock_says=clock.says,
            children=self._children,
            ledgers=ledgers,
            rates=dict(self._rates.fps),
        )
        documents = {"type": "documents", "health": view.document(), "clock": view.clock_document()}
        for publisher in publishers:
            publisher.tell({**documents, "fitness": self._duty.fitness(clock)})
        write_status(self.config, view)

    def _pass_on(self, child: ChildHandle) -> None:
        """The events of a child are the node's."""
        events, child.events = child.events, []
        for event in events:
            self._tell_event(event["severity"], event["code"], event["text"])

    def _tell_event(self, severity: str, code: str, text: str) -> None:
        """Log an event and publish it."""
        _LOG.log(_LEVELS[severity], "%s", text)
        event = {"ptp_ns": self._clock.now().ptp_ns, "severity": severity, "code": code, "text": text}
        for publisher in self._role(Role.PUBLISHER):
            publisher.tell({"type": "event", "event": event})

    # --- the end --------------------------------------------------------------------------------------------------

    def _end(self, reason: str, exit_code: int) -> None:
        if self._drain is None:
            self._drain = Drain(self._children, reason, exit_code, monotonic_ns(), self.config.process.drain_s)

    def _close_all(self) -> None:
        """End what still runs, by force, say so, and give everything back."""
        for child in self._children:
            if child.running:
                child.kill()
                child.reap(monotonic_ns())
        ledgers = self._ledgers()
        clock = self._clock.look(self._timebases())
        self._look(ledgers, clock, "stopped", self._drain.reason if self._drain else "a fault of the agent itself")
        for ring in self._rings.values():
            ring.close()
        signal.set_wakeup_fd(-1)
        for end in self._sockets:
            end.close()


def _taken(ledger: RingLedger) -> int:
    """Frames that the inference has behind it."""
    return ledger.readers[0].handed + ledger.readers[0].skipped
