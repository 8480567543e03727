"""The publisher process: the one owner of the spool and of the link to the broker."""

from __future__ import annotations

import socket
from typing import Any, Final

from agent.clock.open import open_clock
from agent.processes.child import Child
from agent.processes.frames import MAX_MESSAGE_BYTES, read_frame
from agent.processes.pair import Pair
from agent.publish.batcher import WindowSettings
from agent.publish.core import FlowPolicy
from agent.publish.publisher import Publisher, PublishSettings
from agent.publish.spool import Spool, SpoolSettings
from agent.publish.thermometer import Thermometer
from thermal.protect.quiet import QuietFlag
from thermal.status import status_path
from touchline.config import NodeConfig
from touchline.mqtt import SINK_TOPIC, settings_of
from touchline.timeline import monotonic_ns

STEP_S: Final = 0.1
PAIR_STEP_S: Final = 0.01  # with failover: half of the longest silence towards its service
_FRAMES_A_STEP: Final = 64
_BOOK_EVERY_NS: Final = 100_000_000  # a percentile sorts its window: not at every frame
_GOODBYE_NS: Final = 200_000_000


def open_spool(config: NodeConfig) -> Spool:
    """The node's spool; raises ResourceError when the folder cannot be used or another process owns it."""
    publish = config.publish
    settings = SpoolSettings(
        max_bytes=publish.spool_max_bytes,
        sync=publish.sync,
        sync_interval_ms=publish.sync_interval_ms,
        when_full=publish.when_full,
        replay_s=publish.replay_s,
    )
    quiet = QuietFlag(config.node.run_dir, publish.spool_dir)
    return Spool(publish.spool_dir, settings, monotonic_ns(), quiet=quiet.why)


def open_publisher(config: NodeConfig, spool: Spool, boot_id: bytes) -> Publisher:
    """The node's publisher over its spool; not connected yet."""
    publish = config.publish
    settings = PublishSettings(
        window=WindowSettings(window_ms=publish.window_ms, max_records=publish.max_batch_records),
        flow=FlowPolicy(publish.in_flight, drain_bytes_per_s=publish.drain_bytes_per_s),
        sink_topic=SINK_TOPIC if publish.wait_for_sink else None,
    )
    return Publisher(
        settings_of(config.mqtt, config.node.name),
        spool,
        node=config.node.name,
        boot_id=boot_id,
        epoch=config.node.epoch,
        gated=config.failover is not None,
        settings=settings,
    )


def run_publisher(child: Child) -> None:
    """Take frames' records from the link until told to stop, then drain until the parent's deadline."""
    config = child.config
    assert child.spec.link_fd is not None
    link = socket.socket(fileno=child.spec.link_fd)
    spool = open_spool(config)
    publisher = open_publisher(config, spool, bytes.fromhex(child.spec.boot_id))
    publisher.watch(link.fileno())
    publisher.watch(child.control.fileno())
    child.ready()
    work = _Work(child, publisher, link)
    try:
        while (deadline_ns := work.step()) is None:
            pass
        while work.take_frames():
            pass
        publisher.drain(deadline_ns, work.pump)
        publisher.say_stopped(monotonic_ns() + _GOODBYE_NS)
    finally:
        work.close()
        work.book()
        child.report()
        publisher.close()


class _Work:
    """Link to publisher, control messages to documents, and the books."""

    def __init__(self, child: Child, publisher: Publisher, link: socket.socket) -> None:
        self._child, self._publisher, self._link = child, publisher, link
        self._buffer = bytearray(MAX_MESSAGE_BYTES)
        self._depth_max = 0
        self._booked_ns = -_BOOK_EVERY_NS
        config = child.config
        self._clock = open_clock(config)
        self._thermometer = None if config.thermal is None else Thermometer(status_path(config.node.run_dir))
        self._pair = None if config.failover is None else Pair(child, publisher, self._thermometer)
        self._step_s = STEP_S if self._pair is None else PAIR_STEP_S

    def step(self) -> int | None:
        """One turn; the deadline of the drain once the parent has said stop."""
        self._publisher.step(self._step_s)
        self.pump()
        self.take_frames()
        self.pump()
        now_ns = monotonic_ns()
        if now_ns - self._booked_ns >= _BOOK_EVERY_NS:
            self._booked_ns = now_ns
            self.book()
        self._feel()
        self._child.tick()
        inbox, self._child.inbox = self._child.inbox, []
        for message in inbox:
            if message["type"] == "documents":
                self._publisher.set_health({**message["health"], **self._heat()})
                self._publisher.set_clock(message["clock"])
                if self._pair is not None:
                    self._pair.fitness(message["fitness"], monotonic_ns())
            elif message["type"] == "event":
                self._publisher.add_event(message["event"])
            elif message["type"] == "stop":
                return int(message["deadline_ns"])
        return monotonic_ns() + int(self._child.config.process.drain_s * 1e9) if self._child.stopping else None

    def pump(self) -> None:
        """Hear the failover service, where there is one, and tell it what changed."""
        if self._pair is not None:
            self._pair.pump()

    def close(self) -> None:
        """Leave the failover service and the fan service's status."""
        if self._pair is not None:
            self._pair.close()
        if self._thermometer is not None:
            self._thermometer.close()

    def _feel(self) -> None:
        """Publish what is new of the node's temperature and power."""
        for event in self._thermometer.pump() if self._thermometer is not None else ():
            self._publisher.add_event({"ptp_ns": self._clock.now().ptp_ns, **event})

    def _heat(self) -> dict[str, Any]:
        """The part of health that is the fan service's; nothing on a node without ``[thermal]``."""
        return {} if self._thermometer is None else {"thermal": self._thermometer.document(monotonic_ns())}

    def take_frames(self) -> bool:
        """Offer what has arrived, one frame a message, a bounded number a turn; True when there may be more."""
        for _ in range(_FRAMES_A_STEP):
            try:
                size = self._link.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            if size == 0:
                return False
            begin_ns = monotonic_ns()
            look, records = read_frame(bytes(self._buffer[:size]))
            self._publisher.look(look, records, begin_ns)
            if len(records):
                self._child.took("spool", (monotonic_ns() - begin_ns) / 1e6)
        return True

    def book(self) -> None:
        """Put the publisher's counters where the child's report takes them."""
        snapshot: dict[str, Any] = self._publisher.snapshot()
        counters = self._child.counters
        for name in ("queued", "sent", "acknowledged", "queued_batches", "resent_batches", "reconnects", "unheard"):
            counters[name] = snapshot[name]
        for reason, amount in snapshot["dropped"].items():
            counters[f"dropped_{reason}"] = amount
        counters["dropped_events"] = snapshot["events_dropped"]
        spool = snapshot["spool"]
        self._depth_max = max(self._depth_max, spool["records"])
        self._child.extra = {"spool": {**spool, "depth_max": self._depth_max}, "link": snapshot["link"], **self._heat()}
        if self._pair is not None and snapshot["failover"] is not None:
            self._child.extra["failover"] = {**snapshot["failover"], "service": self._pair.connected}
        if self._publisher.latency_ms.summary() is not None:
            self._child.stages["puback"] = self._publisher.latency_ms
