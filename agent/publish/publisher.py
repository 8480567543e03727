"""From records to acknowledged batches: window, spool, in-flight window, MQTT, all on the caller's one thread.

The caller's loop is ``for fd in publisher.step(timeout_s): ...offer(...)``. Nothing here waits for the network or, with
interval sync, for the disk. A batch leaves the spool's books on PUBACK only; after every reconnect all that is not
settled is sent again, at a bounded pace. With failover nothing but documents leaves while the gate is shut
(:mod:`agent.publish.duty`); :meth:`Publisher.set_gate` and :meth:`Publisher.look` belong to that.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.publish.batcher import Batcher, WindowSettings
from agent.publish.connection import Connection, check_identity
from agent.publish.core import FlowCore, FlowPolicy, LinkCore, LinkPolicy, Phase
from agent.publish.documents import DocumentPolicy, Documents
from agent.publish.duty import Duty, Look
from agent.publish.ledger import Depth
from agent.publish.pulse import Pulse
from agent.publish.segment import Entry
from agent.publish.spool import Spool
from agent.publish.watch import Watch
from failover.core.types import Gate, Role
from touchline.errors import TouchlineError
from touchline.mqtt import MqttSettings
from touchline.mqtt_errors import BrokerFault, LinkLost
from touchline.record import topic_clock, topic_det, topic_event, topic_health
from touchline.stats import Window
from touchline.timeline import monotonic_ns

_NS: Final = 1_000_000_000
_NO_SUBSCRIBER: Final = 0x10  # MQTT 5 PUBACK: accepted, but nobody listens
_REFUSED: Final = 0x80  # MQTT 5: this and above are failures
_MAX_WAIT_S: Final = 0.25  # keep-alive and time-outs are looked at this often
_PAIRED_RETRY_S: Final = 1.0  # with failover: attempts are never further apart, see Pulse.trouble
_SAY_AGAIN_NS: Final = 60 * _NS  # the same fault is not logged more often
_COUNTS: Final = ("sent", "sent_batches", "resent_batches", "unheard", "redialled")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """Everything about publishing that is not the broker's address or the spool.

    ``sink_topic``: when set, records wait until a retained message there says that a receiver is subscribed, so that a
    broker which lost its sessions cannot acknowledge into the void.
    """

    window: WindowSettings = field(default_factory=WindowSettings)
    flow: FlowPolicy = field(default_factory=FlowPolicy)
    link: LinkPolicy = field(default_factory=LinkPolicy)
    documents: DocumentPolicy = field(default_factory=DocumentPolicy)
    sink_topic: str | None = None


class Publisher:
    """Publishes one node's records. ``node`` must be the common name of our certificate: the broker's ACL goes by it.

    An MQTT 3.1.1 broker acknowledges and throws away what its ACL forbids, so that mismatch is refused here. Raises
    :class:`ConfigError` for it and for unusable certificate files; later faults of the link are in :attr:`fault`.
    ``gated``: nothing leaves before :meth:`set_gate` opens; the gate brings its epoch.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        spool: Spool,
        *,
        node: str,
        boot_id: bytes,
        epoch: int = 0,
        gated: bool = False,
        settings: PublishSettings | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        check_identity(mqtt, node)
        now_ns = monotonic_ns()
        self.settings = settings or PublishSettings()
        self.spool = spool
        self.node = node
        self.duty = Duty(spool, node, boot_id, epoch=epoch, gated=gated)
        self.fault: TouchlineError | None = None
        self.latency_ms = Window()  # from the socket to PUBACK
        self._mqtt = mqtt
        self._topic = topic_det(node)
        self._batcher = Batcher(self.settings.window)
        self._documents = Documents(self.settings.documents)
        link = self.settings.link
        policy = replace(link, max_retry_s=min(link.max_retry_s, _PAIRED_RETRY_S)) if gated else link
        self._link = LinkCore(policy, now_ns, jitter)
        self._pulse = Pulse(now_ns)
        self._heard = False  # a PUBACK came since the pulse was looked at
        self._flow = FlowCore(self.settings.flow, now_ns)
        self._connection = Connection(mqtt, self.settings.sink_topic, topic_health(node))
        self._counts = dict.fromkeys(_COUNTS, 0)
        self._said: dict[str, int] = {}  # what the log has been told, and when
        self._watch = Watch(self._connection.wake_fd)

    # -- what the owner calls ----------------------------------------------------------------------------------------

    def watch(self, fd: int) -> None:
        """Let :meth:`step` also wait for ``fd`` to be readable."""
        self._watch.add(fd)

    def unwatch(self, fd: int) -> None:
        """Wait for ``fd`` no more; before it is closed."""
        self._watch.remove(fd)

    def offer(self, records: NDArray[np.void], now_ns: int | None = None) -> None:
        """Take one frame's records (dtype ``RECORD``); with a window of 0 they leave within this call."""
        now_ns = monotonic_ns() if now_ns is None else now_ns
        for batch in self._batcher.add(records, now_ns):
            self.duty.enqueue(batch, now_ns)
        self._send(now_ns)

    def look(self, look: Look, records: NDArray[np.void], now_ns: int) -> None:
        """Take one frame that came through the pipeline, with its records or none."""
        self.duty.looked(look, now_ns, empty=not len(records) and not self._batcher.holds(look.camera))
        if len(records):
            self.offer(records, now_ns)

    def set_gate(self, gate: Gate, now_ns: int) -> None:
        """Take the failover service's word; what may leave because of it leaves within this call."""
        self.duty.hear(gate, now_ns)
        self._send(now_ns)

    def step(self, timeout_s: float) -> list[int]:
        """Do what is due, wait at most ``timeout_s`` for something to happen, return the watched fds that are ready."""
        now_ns = monotonic_ns()
        self._on_events(now_ns)
        self._work(now_ns)
        ready = self._watch.wait(self._wait_s(now_ns, timeout_s))
        now_ns = monotonic_ns()
        self._on_dialled(now_ns)
        self._connection.pump(now_ns, readable=ready.readable, writable=ready.writable)
        self._on_events(now_ns)
        self._work(now_ns)
        return ready.owners

    def set_health(self, document: Mapping[str, Any]) -> None:
        """Replace the node's retained health document."""
        self._documents.set_state(topic_health(self.node), document, monotonic_ns())

    def set_clock(self, document: Mapping[str, Any]) -> None:
        """Replace the node's retained clock document."""
        self._documents.set_state(topic_clock(self.node), document, monotonic_ns())

    def add_event(self, document: Mapping[str, Any]) -> None:
        """Publish an event; it is kept over reconnects until acknowledged."""
        self._documents.add_event(topic_event(self.node), document)

    def trouble(self, now_ns: int) -> str:
        """Why the broker cannot be counted on, in words; empty when it can. See :meth:`Pulse.trouble`."""
        return self._pulse.trouble(now_ns, active=self.duty.role is Role.ACTIVE)

    @property
    def open(self) -> bool:
        """Whether records can leave now."""
        return self._link.phase is Phase.OPEN

    def snapshot(self) -> dict[str, Any]:
        """Counters for metrics and health, in records where not said: queued = acknowledged + spool + dropped."""
        depth, recovered, latency = self.spool.depth, self.spool.recovered, self.latency_ms.summary()
        return {
            **self._counts,
            "queued": self.duty.queued,
            "queued_batches": self.duty.queued_batches,
            "acknowledged": self.spool.acknowledged.records,
            "acknowledged_batches": self.spool.acknowledged.batches,
            "dropped": dict(self.spool.dropped),
            "events_dropped": self._documents.events_dropped,
            "reconnects": self._link.reconnects,
            "spool": {
                "batches": depth.batches,
                "records": depth.records,
                "bytes": depth.bytes,
                "held_bytes": self.spool.held_bytes,
                "recovered_records": recovered.records,
                "trouble": self.spool.trouble,
            },
            "link": {
                "phase": self._link.phase.value,
                "broker": self._mqtt.address,
                "fault": getattr(self.fault, "kind", type(self.fault).__name__) if self.fault else "",
                "message": str(self.fault) if self.fault else "",
                "in_flight": len(self._flow),
            },
            "puback_ms": latency.as_dict() if latency is not None else None,
            "failover": self.duty.snapshot(monotonic_ns()),
        }

    def drain(self, deadline_ns: int, each: Callable[[], object] = lambda: None) -> Depth:
        """Close the window and send what may leave until the deadline, or until the link is down; return what is left.

        ``each`` is called at every turn.
        """
        now_ns = monotonic_ns()
        for batch in self._batcher.flush():
            self.duty.enqueue(batch, now_ns)
        while self._leaving and monotonic_ns() < deadline_ns and self._link.phase is not Phase.WAITING:
            self.step(min(0.02, (deadline_ns - monotonic_ns()) / _NS))
            each()
        return self.spool.depth

    @property
    def _leaving(self) -> bool:
        """Whether something waits that may leave, or is under way."""
        may_leave = self.spool.unread and self.duty.may_leave(monotonic_ns())
        return bool(self.spool.depth.batches) and (may_leave or len(self._flow) > 0)

    def say_stopped(self, deadline_ns: int) -> None:
        """Replace the retained health by ``stopped`` and wait for its PUBACK until the deadline, if connected."""
        self._documents.replace_last(topic_health(self.node), {"state": "stopped"}, monotonic_ns())
        while self._documents.pending and monotonic_ns() < deadline_ns and self._link.phase is not Phase.WAITING:
            self.step(min(0.05, max(0.0, (deadline_ns - monotonic_ns()) / _NS)))

    def close(self, deadline_ns: int | None = None) -> Depth:
        """Drain until the deadline, say goodbye, sync the spool; what is left stays on disk for the next start."""
        left = self.drain(deadline_ns) if deadline_ns is not None else self.spool.depth
        for batch in self._batcher.flush():
            self.duty.enqueue(batch, monotonic_ns())
        self._connection.close()
        self._watch.close()
        self.spool.tick(monotonic_ns())
        self.spool.close()
        return left

    # -- inside ------------------------------------------------------------------------------------------------------

    def _work(self, now_ns: int) -> None:
        for batch in self._batcher.due(now_ns):
            self.duty.enqueue(batch, now_ns)
        self.duty.attend(now_ns)
        self.spool.tick(now_ns)
        self._look(now_ns)
        if self._link.should_dial(now_ns):
            self._connection.dial()
        elif self._pulse.should_redial(now_ns):
            self._connection.dial(quick=True)
        elif self._link.greeting_overdue(now_ns):
            self._fail(LinkLost(f"broker {self._mqtt.address} did not answer CONNECT", hint="see its log"), now_ns)
        elif self._flow.overdue(now_ns, self.settings.link.ack_timeout_s):
            waited = f"{self.settings.link.ack_timeout_s:g} s"
            self._fail(LinkLost(f"broker {self._mqtt.address} sent no PUBACK for {waited}", hint="see its log"), now_ns)
        self._send(now_ns)
        self._send_documents(now_ns)
        self._watch.follow(self._connection.fileno(), writing=self._connection.wants_write)

    def _look(self, now_ns: int) -> None:
        linked = self._link.phase in (Phase.OPEN, Phase.LISTENING)
        waiting, tcp = len(self._flow) + self._documents.flying, self._connection.tcp()
        self._pulse.look(now_ns, linked=linked, waiting=waiting, heard=self._heard, tcp=tcp)
        self._heard = False

    def _send(self, now_ns: int) -> None:
        while self.open and self.spool.unread and self._flow.may_send(now_ns):
            gate_ns = monotonic_ns() if self.duty.keeper.gated else now_ns  # a turn that is late must not send
            if not self.duty.may_leave(gate_ns):
                return
            entry = self.spool.take()
            if entry is None or not self._send_one(entry, gate_ns):
                return

    def _send_one(self, entry: Entry, now_ns: int) -> bool:
        """Send one batch; False when the connection ended."""
        got = self.spool.read(entry)
        if got is None:
            return True
        header, data = got
        if header.node != self.node:
            self.spool.discard(entry, "other_node")
            return True
        if not self._connection.fits(self._topic, data):
            self.spool.discard(entry, "too_large")
            return True
        mid = self._connection.publish(self._topic, self.duty.to_send(header, data, now_ns))
        if mid is None:
            return False
        if self.duty.opening:
            self.duty.left(entry, monotonic_ns())
        self._flow.sent(mid, entry, now_ns)
        self._counts["sent"] += entry.records
        self._counts["sent_batches"] += 1
        return True

    def _send_documents(self, now_ns: int) -> None:
        while self._link.phase in (Phase.OPEN, Phase.LISTENING):
            message = self._documents.next(now_ns)
            if message is None:
                return
            mid = self._connection.publish(message.topic, message.payload, retain=True)
            if mid is None:
                self._documents.put_back(message)
                return
            self._documents.sent(mid, message)

    def _on_dialled(self, now_ns: int) -> None:
        if not self._connection.dialling:
            return
        linked = self._link.phase in (Phase.OPEN, Phase.LISTENING)
        outcome = self._connection.dialled()
        if isinstance(outcome, TouchlineError):
            if linked:  # what there is may come back to life; the next attempt follows
                self._pulse.redialled(now_ns)
            elif self._link.phase is Phase.DIALLING:
                self._fail(outcome, now_ns)
        elif outcome:
            if linked:
                _log.warning("broker %s did not acknowledge: connected anew", self._mqtt.address)
                self._counts["redialled"] += 1
            self._flow.reset()
            self._link.dialled(now_ns)

    def _on_events(self, now_ns: int) -> None:
        connection = self._connection
        if connection.greeting is not None and self._link.phase is Phase.GREETING:
            self._on_greeting(now_ns)
        for payload in connection.sink_messages:
            self._link.sink_heard() if payload else self._link.sink_gone()
        connection.sink_messages.clear()
        acks, connection.acks = connection.acks, []
        for mid, reason in acks:
            self._on_ack(mid, reason.value, str(reason), now_ns)
        if acks:
            self._heard = True
            self.duty.acknowledged(now_ns)
        if connection.lost is not None:
            self._fail(connection.lost, now_ns)

    def _on_greeting(self, now_ns: int) -> None:
        greeting = self._connection.greeting
        assert greeting is not None
        if greeting.refusal is not None:
            self._fail(greeting.refusal, now_ns)
            return
        waits = self.settings.sink_topic is not None
        self._link.greeted(now_ns, wait_for_sink=waits)
        if waits:
            self._connection.listen()
        self._flow.reset(greeting.receive_maximum)
        self._documents.reset(now_ns)
        if self._link.reconnects:
            self._counts["resent_batches"] += self.duty.connected(now_ns)
        self.fault = None
        depth = self.spool.depth
        _log.info("connected to %s; %d batches wait in the spool", self._mqtt.address, depth.batches)

    def _on_ack(self, mid: int, code: int, text: str, now_ns: int) -> None:
        sent = self._flow.acknowledged(mid)
        if sent is None:
            self._documents.acknowledged(mid)
            return
        unheard = code == _NO_SUBSCRIBER
        self._counts["unheard"] += sent.entry.records if unheard else 0
        if code >= _REFUSED or (unheard and self.settings.sink_topic is not None):
            refusal = f"broker {self._mqtt.address} refuses {self._topic}: {text}"
            self._fail(LinkLost(refusal, hint="correct its ACL, or start the aggregator"), now_ns)
            return
        self.latency_ms.add((now_ns - sent.at_ns) / 1e6)
        self.spool.acknowledge(sent.entry)
        self._link.progressed()

    def _fail(self, fault: TouchlineError, now_ns: int) -> None:
        """End the connection for a reason; say it once, not at every attempt."""
        text = str(fault)
        if now_ns - self._said.get(text, -_SAY_AGAIN_NS) >= _SAY_AGAIN_NS:
            level = logging.WARNING if isinstance(fault, BrokerFault) else logging.ERROR
            _log.log(level, "%s; records wait in the spool", fault)
            self._said = {t: at for t, at in self._said.items() if now_ns - at < _SAY_AGAIN_NS} | {text: now_ns}
        self.fault = fault
        self._link.failed(now_ns)
        self._watch.follow(None)
        self._connection.drop()
        self._flow.reset()

    def _wait_s(self, now_ns: int, timeout_s: float) -> float:
        times = [self._batcher.due_ns, self._link.wake_ns, self.spool.wake_ns]
        if self._link.phase in (Phase.OPEN, Phase.LISTENING):
            times.append(self._documents.due_ns())
        if self.open and self.spool.unread and (pace_ns := self._flow.pace_ns(now_ns)):
            times.append(now_ns + pace_ns)
        waits = [max(0.0, (at - now_ns) / _NS) for at in times if at is not None]
        return min([timeout_s, _MAX_WAIT_S, *waits])
