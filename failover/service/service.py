"""The loop of the failover service: what arrives goes to the core, what the core says is done, and late ticks gate.

One thread; it never waits for a disk, a person or netlink. What may block is done by :mod:`failover.actions`' threads
and by the history's. When a turn begins later than planned, the core sees the time before it sees what has arrived
meanwhile, so that a lease that ran out shuts the gate before anything else is done.
"""

from __future__ import annotations

import logging
import select
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from failover.actions.perform import Actions
from failover.actions.report import TakeoverReport
from failover.core.step import State, describe, initial, next_wake_ns, step
from failover.core.types import (
    Action,
    AskWitness,
    Beat,
    Changed,
    Command,
    Event,
    Exclusive,
    Gate,
    Granted,
    Note,
    Role,
    SendBeat,
    Settings,
    Tick,
)
from failover.link import ABSENT, NodeEvent, Opened, PublisherWord
from failover.link_recorder import RecorderPort
from failover.service import handover
from failover.service.control import Ask, ControlServer
from failover.service.epoch import EpochFile
from failover.service.recorders import Recorders
from failover.service.silence import Silence
from failover.wire.told import SwitchTold, told_of
from touchline.notify import notify, watchdog_interval_s
from touchline.timeline import monotonic_ns

LATE_NS: Final = 10_000_000  # a turn that begins so much after its time looks at the clock before the mail
WAIT_MOST_NS: Final = 50_000_000
HANDOVER_WAIT_NS: Final = 1_500_000_000
DROP_NS: Final = 20_000_000  # a release waits so long for the address to go; usually it takes 0.2 ms
TELL_EVERY_NS: Final = 500_000_000
RECENT_EVENTS: Final = 32
MAX_NOTE: Final = 600  # letters of an event: all that are kept fit into a status
_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_LOG: Final = logging.getLogger("failover")


class Wire(Protocol):
    """Twin and witness; :class:`failover.wire.client.NodeWire`."""

    def filenos(self) -> list[int]: ...
    def receive(self, fd: int, now_ns: int) -> Iterable[Event | SwitchTold]: ...
    def tell(self, told: SwitchTold) -> None: ...
    def send_beat(self, beat: Beat, now_ns: int) -> None: ...
    def ask(self, what: Any, epoch: int, now_ns: int) -> int | None: ...
    def status(self, now_ns: int) -> Mapping[str, Any]: ...
    def close(self) -> None: ...


class Port(Protocol):
    """The publisher; :class:`failover.link.PublisherPort`."""

    def filenos(self) -> list[int]: ...
    def receive(self) -> Iterable[PublisherWord | Opened]: ...
    def send(self, gate: Gate) -> bool: ...
    def say(self, event: NodeEvent) -> bool: ...
    def close(self) -> None: ...


class History(Protocol):
    """Takes what happened; never waits."""

    def add(self, kind: str, document: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside. ``recorders``: None without ``[record]``. ``unsaid``: lines that the log did not take."""

    wire: Wire
    publisher: Port
    control: ControlServer
    history: History
    epochs: EpochFile
    recorders: RecorderPort | None = None
    unsaid: Callable[[], int] = lambda: 0


class FailoverService:
    """See the module. :meth:`run` serves until SIGTERM; :meth:`turn` is one turn, for tests that hold the clock.

    ``cameras``: those that are recorded. ``make_actions``: their ``finished``, ``noted`` and ``recorder`` are ours.
    """

    def __init__(
        self,
        settings: Settings,
        ports: Ports,
        cameras: Sequence[int],
        make_actions: Callable[[FailoverService], Actions],
        scheduling: str,
    ) -> None:
        self.settings = settings
        self._ports = ports
        self._scheduling = scheduling
        self.recorders = Recorders(cameras)
        self._actions = make_actions(self)
        self._planned_ns = monotonic_ns()
        self._state: State = initial(settings, self._planned_ns, ports.epochs.found)
        self._trouble = "the publisher is not connected"
        self._gate: Gate | None = None
        self._handover: tuple[int, int] | None = None  # who asked, until when
        self._last_report: TakeoverReport | None = None
        self._twin_switch: dict[str, Any] | None = None
        self._telling: tuple[SwitchTold, int] | None = None  # our last takeover, and when the twin is told next
        self._events: list[dict[str, Any]] = []
        self._late = 0
        self._late_max_ns = 0
        self._watchdog_ns = 0
        self._short_lease = False
        self._publisher = Silence(settings, self._planned_ns)
        self._waits_for_drop = True
        self._dropped_ns: int | None = None  # when the exclusive things were given up last
        if ports.epochs.damage:
            self._note(Note("warning", "epoch_file", ports.epochs.damage))

    # --- for the owner ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then hand over if there is someone to take over."""
        stopping: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _frame: stopping.append(number))
        notify("READY=1", "STATUS=standby")
        while not stopping:
            self.turn()
        notify("STOPPING=1")
        self._stop()

    def turn(self) -> None:
        """Wait for what comes or is due, then do it."""
        now_ns = monotonic_ns()
        wait_ns = max(0, min(self._planned_ns - now_ns, WAIT_MOST_NS))
        self._planned_ns = now_ns + wait_ns
        try:
            ready = select.select(self._filenos(), [], [], wait_ns / 1e9)[0]
        except InterruptedError:
            ready = []
        now_ns = monotonic_ns()
        late_ns = now_ns - self._planned_ns
        if late_ns > LATE_NS:
            self._late += 1
            self._late_max_ns = max(self._late_max_ns, late_ns)
            self._feed(Tick())
        self._take(ready, now_ns)
        self._miss_publisher(now_ns)
        self._feed(Tick())
        self._ports.epochs.keep(self._state.me.known)
        now_ns = monotonic_ns()
        self._look_at_recorders(now_ns)
        self._actions.serve(now_ns)
        self._answer_handover(now_ns)
        self._feed_watchdog(now_ns)
        self._tell_twin(now_ns)
        served_ns = self._actions.next_ns(now_ns)
        wake_ns = next_wake_ns(self._state)
        self._planned_ns = wake_ns if served_ns is None else min(wake_ns, served_ns)

    def close(self) -> None:
        """Give everything back."""
        self._actions.close()
        ports = self._ports
        for port in (ports.wire, ports.publisher, ports.control, ports.history, ports.epochs, ports.recorders):
            if port is not None:
                port.close()

    # --- what the actions tell --------------------------------------------------------------------------------------

    def finished(self, report: TakeoverReport) -> None:
        """A switch is over, in one way or the other."""
        self._last_report = report
        document = report.document()
        if report.kind == "takeover":
            self._telling = told_of(document), monotonic_ns()
        self._ports.history.add(report.kind, document)
        _LOG.info("%s", report.line())

    def noted(self, note: Note) -> None:
        """Something worth an event."""
        self._note(note)

    def publish(self, document: Mapping[str, Any]) -> None:
        """A report on its way to the rack."""
        good = bool(document.get("ok"))
        kind, epoch = document.get("kind", "switch"), document.get("epoch", 0)
        self._ports.publisher.say(
            NodeEvent("warning" if good else "error", f"failover-{kind}", f"{kind} with epoch {epoch}", document)
        )

    def status(self, now_ns: int) -> dict[str, Any]:
        """Everything that ``touchline failover status`` shows."""
        return {
            "node": self.settings.node,
            **describe(self._state, now_ns),
            "trouble": "; ".join(one for one in (self._trouble, self.recorders.trouble) if one),
            "recorders": self.recorders.document(now_ns),
            "epoch_file": self._ports.epochs.trouble,
            "unsaid": self._ports.unsaid(),
            "gate": None if self._gate is None else {"open": self._gate.open, "epoch": self._gate.epoch},
            "dropped_ms_ago": None if self._dropped_ns is None else (now_ns - self._dropped_ns) / 1e6,
            "holds_address": self._actions.holds_address,
            "wire": self._ports.wire.status(now_ns),
            "scheduling": self._scheduling,
            "late": {"turns": self._late, "max_ms": self._late_max_ns / 1e6},
            "twin_switch": self._twin_switch,
            "last_switch": None if self._last_report is None else self._last_report.document(),
            "events": self._events[-RECENT_EVENTS:],
        }

    # --- a turn -----------------------------------------------------------------------------------------------------

    def _filenos(self) -> list[int]:
        ports = self._ports
        return [
            *ports.wire.filenos(),
            *ports.publisher.filenos(),
            *ports.control.filenos(),
            *self._actions.filenos(),
            *(ports.recorders.filenos() if ports.recorders is not None else []),
        ]

    def _take(self, ready: list[int], now_ns: int) -> None:
        ports = self._ports
        wire, publisher = set(ports.wire.filenos()), set(ports.publisher.filenos())
        control = set(ports.control.filenos())
        for fd in ready:
            if fd in wire:
                for event in ports.wire.receive(fd, now_ns):
                    if isinstance(event, SwitchTold):
                        self._twin_switch = event.document(self.settings.twin)
                    else:
                        self._compare_lease(event)
                        self._feed(event)
            elif fd in control:
                asked = ports.control.take(fd)
                if asked is not None:
                    self._answer(asked, now_ns)
        if publisher & set(ready):
            for word in ports.publisher.receive():
                self._hear(word)

    def _compare_lease(self, event: Event) -> None:
        """A witness that grants less than is asked for makes a pair nervous: said once."""
        if isinstance(event, Granted) and event.lease_ns < self.settings.lease_ns and not self._short_lease:
            self._short_lease = True
            given_ms, asked_ms = event.lease_ns / 1e6, self.settings.lease_ns / 1e6
            text = f"the witness grants {given_ms:g} ms where failover.lease_ms asks for {asked_ms:g}"
            self._note(Note("warning", "short_lease", f"{text}: raise witness.lease_limit_ms on the rack"))

    def _miss_publisher(self, now_ns: int) -> None:
        """What a publisher that hangs said last is no word on what it does now."""
        if self._publisher.broken_off(now_ns):
            self._trouble = "the publisher is connected and silent"
            self._note(Note("error", "publisher_silent", self._trouble))
            self._feed(ABSENT.pipeline)

    def _hear(self, word: PublisherWord | Opened) -> None:
        self._publisher.heard(there=word is not ABSENT)
        if isinstance(word, Opened):
            first = "the first frame showed nobody"
            if word.first is not None:
                first = f"camera {word.first.camera} from {word.first.ptp_ns}"
            self._actions.opened(word.epoch, word.at_ns, first)
            return
        self._trouble = word.trouble
        self._feed(word.pipeline)

    def _look_at_recorders(self, now_ns: int) -> None:
        port = self._ports.recorders
        if port is not None:
            role = self._state.me.role
            note = self.recorders.look(port.receive(), port.cameras, self._publisher.expected, role, now_ns)
            if note is not None:
                self._note(note)

    def _feed(self, event: Event) -> None:
        """One event to the core; what it says is done in its order: what shuts comes first."""
        now_ns = monotonic_ns()
        self._state, actions = step(self._state, event, now_ns)
        for action in actions:
            self._do(action, now_ns)

    def _do(self, action: Action, now_ns: int) -> None:
        ports = self._ports
        if isinstance(action, Gate):
            self._gate = action
            ports.publisher.send(action)
        elif isinstance(action, Exclusive):
            self._actions.exclusive(action)
            self._dropped_ns = None if action.hold else self._dropped_ns or now_ns
        elif isinstance(action, SendBeat):
            ports.wire.send_beat(action.beat, now_ns)
        elif isinstance(action, AskWitness):
            if action.what != "release" or self._address_gone():
                ports.wire.ask(action.what, action.epoch, now_ns)
        elif isinstance(action, Changed):
            self._change(action, now_ns)
        else:
            self._note(action)

    def _address_gone(self) -> bool:
        """Whether the lease may be given back; waited for once. Else it runs out, or is given back at the next word."""
        gone = self._actions.await_dropped(DROP_NS if self._waits_for_drop else 0)
        if not gone and self._waits_for_drop:
            _LOG.warning("the address is not gone after %d ms: the lease is kept until it is", DROP_NS // 1_000_000)
        self._waits_for_drop = gone
        return gone

    def _change(self, action: Changed, now_ns: int) -> None:
        _LOG.warning("%s, epoch %d: %s", action.role.value, action.epoch, action.reason)
        notify(f"STATUS={action.role.value}, epoch {action.epoch}: {action.reason}")
        self._actions.changed(action, now_ns)
        self._actions.serve(now_ns)

    def _note(self, note: Note) -> None:
        _LOG.log(_LEVELS[note.severity], "%s", note.text)
        document = {"severity": note.severity, "code": note.code, "text": note.text[:MAX_NOTE]}
        self._events = [*self._events[-RECENT_EVENTS:], document]
        self._ports.history.add("note", document)
        self._ports.publisher.say(NodeEvent(note.severity, note.code, note.text))

    # --- commands ---------------------------------------------------------------------------------------------------

    def _answer(self, asked: Ask, now_ns: int) -> None:
        control = self._ports.control
        if asked.what == "status":
            control.answer(asked.caller, {"ok": True, "status": self.status(now_ns)})
        elif asked.what == "handover":
            self._begin_handover(asked, now_ns)
        else:
            self._feed(Command("drill-begin" if asked.what == "drill-begin" else "drill-end"))
            control.answer(asked.caller, {"ok": True, "text": asked.what})

    def _begin_handover(self, asked: Ask, now_ns: int) -> None:
        why = handover.why_not(self._state, now_ns) or ("a hand-over is under way" if self._handover else "")
        if why:
            self._ports.control.answer(asked.caller, {"ok": False, "text": why})
            return
        self._handover = asked.caller, now_ns + HANDOVER_WAIT_NS
        self._feed(Command("handover"))

    def _answer_handover(self, now_ns: int) -> None:
        if self._handover is None:
            return
        caller, until_ns = self._handover
        answer = handover.answer(self._state, now_ns, until_ns)
        if answer is not None:
            self._handover = None
            self._ports.control.answer(caller, answer)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Tell the core; it hands over or lets go. Wait for that a short while, beating on."""
        self._feed(Command("stop"))
        until_ns = monotonic_ns() + HANDOVER_WAIT_NS
        while monotonic_ns() < until_ns and describe(self._state, monotonic_ns())["role"] == Role.ACTIVE.value:
            self.turn()
        self._feed(Tick())

    def _tell_twin(self, now_ns: int) -> None:
        """Our last takeover, twice a second: a twin that comes back, and a drill there, learns what happened."""
        if self._telling is not None and now_ns >= self._telling[1]:
            told, _ = self._telling
            self._ports.wire.tell(told)
            self._telling = told, now_ns + TELL_EVERY_NS

    def _feed_watchdog(self, now_ns: int) -> None:
        interval_s = watchdog_interval_s()
        if interval_s and now_ns - self._watchdog_ns > interval_s * 1e9:
            self._watchdog_ns = now_ns
            notify("WATCHDOG=1")
