"""The publisher's talk with the failover service of this node: gates and events in, the pipeline's state out.

Said when something changed, at most every 5 ms, and at least every 20 ms. What the publisher cannot see itself (the
clock) comes with the parent's documents; a parent that is silent for three seconds vouches for nothing. Whether the
node is hot is the fan service's word, see :mod:`agent.publish.heat`; a node without ``[thermal]`` never is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent import control
from agent.clock.open import open_clock
from agent.processes.child import Child
from agent.publish.publisher import Publisher
from agent.publish.thermometer import Thermometer
from failover.core.types import MAX_CAMERAS, Gate, Health, Pipeline
from failover.link import NodeEvent, PublisherWord, ServicePort, opened_message, pipeline_message, socket_path
from touchline.timeline import monotonic_ns

MOST_OFTEN_NS: Final = 5_000_000
AT_LEAST_NS: Final = 20_000_000
VOUCHED_NS: Final = 3_000_000_000


class Pair:
    """One publisher's side of the link; :meth:`pump` it at every turn, at least every 20 ms."""

    def __init__(self, child: Child, publisher: Publisher, thermometer: Thermometer | None = None) -> None:
        section = child.config.failover
        assert section is not None
        self._child, self._publisher, self._thermometer = child, publisher, thermometer
        self._clock = open_clock(child.config)
        self._blind_ns = int(section.blind_ms * 1e6)
        self._port = ServicePort(socket_path(child.config.node.run_dir), closing=publisher.unwatch)
        self._fitness: Mapping[str, Any] = {}
        self._vouched_ns = -VOUCHED_NS
        self._said: PublisherWord | None = None
        self._said_ns = 0
        self._role: tuple[str, int] | None = None  # as the parent was told

    @property
    def connected(self) -> bool:
        """Whether the service is there."""
        return self._port.connected

    def fitness(self, fitness: Mapping[str, Any], now_ns: int) -> None:
        """What the parent knows: ``clock_ok``, ``trouble``."""
        self._fitness, self._vouched_ns = fitness, now_ns

    def pump(self) -> None:
        """Hear the service and tell it what there is to tell."""
        now_ns = monotonic_ns()
        if self._port.connect(now_ns):
            descriptor = self._port.fileno()
            assert descriptor is not None
            self._publisher.watch(descriptor)
            self._said = None
        for word in self._port.receive():
            self._take(word)
        self._tell(monotonic_ns())
        self._tell_parent()

    def close(self) -> None:
        """Hang up: for the service this node is not fit from now on."""
        self._port.close()

    def _take(self, word: Gate | NodeEvent) -> None:
        if isinstance(word, NodeEvent):
            self._publisher.add_event({"ptp_ns": self._clock.now().ptp_ns, **word.document()})
        else:
            self._publisher.set_gate(word, monotonic_ns())

    def _tell_parent(self) -> None:
        """What this node is, when that changed."""
        duty = self._publisher.duty
        role = (duty.role.value, duty.keeper.epoch)
        if role != self._role and control.send(
            self._child.control, {"type": "role", "role": role[0], "epoch": role[1]}
        ):
            self._role = role

    def _tell(self, now_ns: int) -> None:
        duty = self._publisher.duty
        if duty.opened is not None and self._port.send(opened_message(duty.opened)):
            duty.opened = None
        if now_ns - self._said_ns < MOST_OFTEN_NS:
            return
        word = self._word(now_ns)
        if (word != self._said or now_ns - self._said_ns >= AT_LEAST_NS) and self._port.send(pipeline_message(word)):
            self._said, self._said_ns = word, now_ns

    def _word(self, now_ns: int) -> PublisherWord:
        frontier = self._publisher.duty.frontier
        vouched = now_ns - self._vouched_ns < VOUCHED_NS
        cameras = min(frontier.flowing(now_ns, self._blind_ns), MAX_CAMERAS)
        clock_ok = vouched and bool(self._fitness.get("clock_ok"))
        hot = self._thermometer is not None and self._thermometer.hot(now_ns)
        troubles = [str(self._fitness.get("trouble", "")) if vouched else "the agent's parent is silent"]
        troubles += [] if cameras else [f"no frame of any camera for {self._blind_ns / 1e6:g} ms"]
        troubles += [self._thermometer.trouble(now_ns)] if self._thermometer is not None else []
        broker = self._publisher.trouble(now_ns)
        health = Health(cameras, clock_ok, hot, publishing=not self._child.stopping, broker_ok=not broker)
        return PublisherWord(
            Pipeline(health, frontier.cursors()[:MAX_CAMERAS]), "; ".join(t for t in (*troubles, broker) if t)
        )
