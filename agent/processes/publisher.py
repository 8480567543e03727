"""The publisher process: the one owner of the spool and of the link to the broker."""

from __future__ import annotations

import socket
from typing import Any, Final

import numpy as np

from agent.processes.child import Child
from agent.publish.batcher import WindowSettings
from agent.publish.core import FlowPolicy
from agent.publish.publisher import Publisher, PublishSettings
from agent.publish.spool import Spool, SpoolSettings
from touchline.config import NodeConfig
from touchline.mqtt import SINK_TOPIC, settings_of
from touchline.record import MAX_BATCH_RECORDS, RECORD, RECORD_BYTES
from touchline.timeline import monotonic_ns

STEP_S: Final = 0.1
_LINK_BYTES: Final = MAX_BATCH_RECORDS * RECORD_BYTES
_FRAMES_A_STEP: Final = 64
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
    return Spool(publish.spool_dir, settings, monotonic_ns())


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
        publisher.drain(deadline_ns)
        publisher.say_stopped(monotonic_ns() + _GOODBYE_NS)
    finally:
        work.book()
        child.report()
        publisher.close()


class _Work:
    """Link to publisher, control messages to documents, and the books."""

    def __init__(self, child: Child, publisher: Publisher, link: socket.socket) -> None:
        self._child, self._publisher, self._link = child, publisher, link
        self._buffer = bytearray(_LINK_BYTES)
        self._depth_max = 0

    def step(self) -> int | None:
        """One turn; the deadline of the drain once the parent has said stop."""
        self._publisher.step(STEP_S)
        self.take_frames()
        self.book()
        self._child.tick()
        inbox, self._child.inbox = self._child.inbox, []
        for message in inbox:
            if message["type"] == "documents":
                self._publisher.set_health(message["health"])
                self._publisher.set_clock(message["clock"])
            elif message["type"] == "event":
                self._publisher.add_event(message["event"])
            elif message["type"] == "stop":
                return int(message["deadline_ns"])
        return monotonic_ns() + int(self._child.config.process.drain_s * 1e9) if self._child.stopping else None

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
            self._publisher.offer(np.frombuffer(bytes(self._buffer[:size]), RECORD), begin_ns)
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
        self._child.extra = {"spool": {**spool, "depth_max": self._depth_max}, "link": snapshot["link"]}
        if self._publisher.latency_ms.summary() is not None:
            self._child.stages["puback"] = self._publisher.latency_ms
