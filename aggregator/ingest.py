"""From the queue to the disk: decide, write a group in one transaction, only then acknowledge (MSG-2).

A group closes when its window is over or it has enough messages. When the disk refuses, the same group is written again
until it succeeds; nothing is acknowledged meanwhile, so the broker keeps what follows.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aggregator.rack import Rack
from aggregator.store import Group, Store, Written
from touchline.config import RackConfig
from touchline.errors import ResourceError
from touchline.timeline import Clock, monotonic_ns

_IDLE_S: Final = 0.02
_RETRY_S: Final = 0.5
_RETAIN_EVERY_NS: Final = 5_000_000_000
_DAY_NS: Final = 86_400_000_000_000


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message: when it arrived (monotonic and PTP), and how to acknowledge it."""

    topic: str
    payload: bytes
    arrived_ns: int
    arrived_ptp_ns: int
    acknowledge: Callable[[], None]


class Ingest:
    """The one thread that decides and writes. ``failed`` holds what ended it, None while all is well."""

    def __init__(self, config: RackConfig, rack: Rack, store: Store, clock: Clock) -> None:
        self.queue: queue.Queue[Message] = queue.Queue(config.receive.queue_messages)
        self.failed: BaseException | None = None
        self._config = config.store
        self._rack = rack
        self._store = store
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self._retained_ns = 0
        self.turn_ns = 0  # when the loop last went round: the watchdog's evidence

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Write and acknowledge what is queued, then end; False when that took too long."""
        self._stop.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not (self._stop.is_set() and self.queue.empty()):
                self._turn()
            self._turn()
        except BaseException as error:  # noqa: BLE001  (a thread has no caller: the main thread reads it and ends)
            self.failed = error

    def _turn(self) -> None:
        """Collect one group and commit it; returns soon when there is nothing."""
        group = Group()
        taken: list[Message] = []
        window_ns = round(self._config.commit_window_ms * 1e6)
        deadline_ns: int | None = None
        while len(taken) < self._config.commit_messages:
            now_ns = monotonic_ns()
            if deadline_ns is not None and now_ns >= deadline_ns:
                break
            wait_s = _IDLE_S if deadline_ns is None else (deadline_ns - now_ns) / 1e9
            message = self._next(wait_s)
            if message is None:
                break
            taken.append(message)
            self._rack.message(message.topic, message.payload, message.arrived_ns, message.arrived_ptp_ns, group)
            deadline_ns = deadline_ns or monotonic_ns() + window_ns
        self._rack.tick(monotonic_ns(), self._clock.now().ptp_ns, group)
        if taken or group.arrivals or group.events or group.unparked:
            self._commit(group)
        for message in taken:
            message.acknowledge()
        self._retain()
        self.turn_ns = monotonic_ns()

    def _next(self, wait_s: float) -> Message | None:
        try:
            return self.queue.get(timeout=max(0.0, wait_s))
        except queue.Empty:
            return None

    def _commit(self, group: Group) -> None:
        self._rack.prepare(group)
        started_ns = monotonic_ns()
        written = self._insist(group)
        self._rack.written(written, (monotonic_ns() - started_ns) / 1e6)

    def _insist(self, group: Group) -> Written:
        """Write until it succeeds: what is here was received and must not be lost."""
        while True:
            try:
                return self._store.write(group)
            except ResourceError as error:
                if self._stop.is_set():
                    raise  # not acknowledged: the broker has it still
                if not self._rack.store_fault:
                    self._rack.say("error", "store", str(error), self._clock.now().ptp_ns)
                self._rack.store_fault = str(error)
                self.turn_ns = monotonic_ns()
                self._stop.wait(_RETRY_S)

    def _retain(self) -> None:
        now_ns = monotonic_ns()
        keeps_all = not self._config.retention_days and not self._config.retention_bytes
        if keeps_all or now_ns - self._retained_ns < _RETAIN_EVERY_NS:
            return
        oldest = self._clock.now().ptp_ns - round(self._config.retention_days * _DAY_NS)
        try:
            deleted = self._store.retain(oldest if self._config.retention_days else 0, self._config.retention_bytes)
        except ResourceError as error:
            self._rack.store_fault = str(error)
            deleted = 0
        if not deleted:  # else there may be more: come again in the next turn
            self._retained_ns = now_ns
