"""Two nodes of a pair, their words from a lease that somebody holds, a broker's acknowledgements, and the real desk."""

from __future__ import annotations

import shutil
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agent.publish.duty import Duty, Look
from agent.publish.segment import Entry
from agent.publish.spool import Spool, SpoolSettings
from aggregator.core.accept import Acceptor
from aggregator.core.dedupe import Deduper
from aggregator.core.desk import Desk
from aggregator.core.validate import Limits
from failover.core.types import CameraCursor, Gate, Role
from touchline.record import Flag, new_records, read_header, topic_det, unpack_batch

MS = 1_000_000
PERIOD_NS = 20 * MS
T0_NS = 1_800_000_000 * 10**9
LEASE_NS = 100 * MS
SPOOL = SpoolSettings(max_bytes=64 << 20, replay_s=5.0, sync="off")
Frame = tuple[int, int]  # camera, number


class RackDesk:
    """The aggregator's own desk, and what it took of each frame."""

    def __init__(self, period_ns: int = PERIOD_NS) -> None:
        self.desk = Desk(Deduper(), Acceptor(rate_hz=1e9 / period_ns), Limits())
        self.taken: dict[Frame, list[tuple[str, int]]] = defaultdict(list)  # (node, person)
        self.here: set[Frame] = set()  # taken, or waiting for the owner's copy

    def message(self, node: str, data: bytes, now_ns: int) -> None:
        outcome = self.desk.message(topic_det(node), data, now_ns)
        assert outcome.refusal is None, outcome.refusal
        for row in unpack_batch(data)[1]:
            self.here.add((int(row["camera"]), int(row["frame"])))
        self._take(outcome.taken)

    def tick(self, now_ns: int) -> None:
        self._take(self.desk.tick(now_ns).taken)

    def _take(self, parts: Iterable[object]) -> None:
        for part in parts:
            node = part.source[0]  # type: ignore[attr-defined]
            for row in part.records:  # type: ignore[attr-defined]
                self.taken[int(row["camera"]), int(row["frame"])].append((node, int(row["x_m"])))


@dataclass
class Node:
    """One node: its publisher's core over a real spool; ``epoch``: of its lease."""

    name: str
    folder: Path
    offset_ns: int
    duty: Duty = field(init=False)
    alive: bool = True
    life: int = 0
    epoch: int = 0
    until_ns: int = 0
    heard: dict[int, int] = field(default_factory=dict)  # the twin's cursors while it was active
    flight: deque[tuple[Entry, bytes]] = field(default_factory=deque)
    held: set[tuple[bytes, int]] = field(default_factory=set)  # batches that are the twin's to deliver

    def __post_init__(self) -> None:
        self.start(0)

    def start(self, now_ns: int) -> None:
        """A life on what the last one left, as kill -9 leaves it."""
        fresh = self.folder.with_name(f"{self.name}-{self.life}")
        if self.life:
            shutil.copytree(self.folder, fresh)
            self.duty.spool.close()
        self.folder = fresh
        self.life += 1
        boot = bytes([self.life]) * 12 + bytes(4)
        self.duty = Duty(Spool(fresh, SPOOL, now_ns), self.name, boot, epoch=1, gated=True)
        self.flight.clear()
        self.held.clear()

    def exposure(self, number: int) -> int:
        return T0_NS + number * PERIOD_NS + self.offset_ns

    def frame(self, camera: int, number: int, people: int, now_ns: int) -> bool:
        """A frame through the pipeline; True when it is this node's to deliver."""
        look = Look(camera, number, self.exposure(number))
        self.duty.looked(look, now_ns, empty=people == 0)
        if people:
            rows = new_records(people)
            rows["camera"], rows["frame"], rows["ptp_ns"] = camera, number, look.ptp_ns
            rows["x_m"] = np.arange(people)
            self.duty.enqueue(rows, now_ns)
        return self.duty.role is Role.ACTIVE

    def word(self, now_ns: int, *, holds: bool, twin_holds: bool, alone: bool = False) -> None:
        """The service's word."""
        if holds:
            self.until_ns = now_ns + LEASE_NS
        is_open = holds or alone
        self.duty.hear(
            Gate(
                open=is_open,
                epoch=self.epoch,
                until_ns=now_ns + LEASE_NS if is_open else now_ns,
                role=Role.ACTIVE if is_open else Role.STANDBY,
                settled=holds or (twin_holds and not is_open),
                covered=tuple(CameraCursor(c, p) for c, p in sorted(self.heard.items())),
            ),
            now_ns,
        )

    def send(self, most: int, now_ns: int) -> None:
        """Put batches under way as far as the gate lets them."""
        duty = self.duty
        duty.attend(now_ns)
        while len(self.flight) < most and duty.may_leave(now_ns):
            entry = duty.spool.take()
            if entry is None:
                return
            got = duty.spool.read(entry)
            assert got is not None
            data = duty.to_send(*got, now_ns)
            if duty.opening:
                duty.left(entry, now_ns)
            if duty.keeper.is_open(now_ns):
                assert read_header(data).epoch == duty.keeper.epoch, "everything that the gate lets out has its epoch"
            self.flight.append((entry, data))

    def acknowledge(self, rack: RackDesk, count: int, now_ns: int) -> None:
        """The broker takes, passes on and acknowledges the oldest under way."""
        for _ in range(min(count, len(self.flight))):
            entry, data = self.flight.popleft()
            rack.message(self.name, data, now_ns)
            self.duty.spool.acknowledge(entry)
            self.duty.acknowledged(now_ns)

    def reconnect(self, rack: RackDesk, arrived: int, now_ns: int) -> None:
        """The connection breaks: of what is under way some has arrived, no acknowledgement has."""
        for _ in range(min(arrived, len(self.flight))):
            rack.message(self.name, self.flight.popleft()[1], now_ns)
        self.flight.clear()
        self.duty.connected(now_ns)

    def cursors(self) -> dict[int, int]:
        return {cursor.camera: cursor.ptp_ns for cursor in self.duty.frontier.cursors()}

    def close(self) -> None:
        self.duty.spool.close()


def from_standby(data: bytes) -> bool:
    """Whether a batch says that it was recorded by a standby."""
    return bool((unpack_batch(data)[1]["flags"] & Flag.FROM_STANDBY).all())
