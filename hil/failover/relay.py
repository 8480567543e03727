"""The impairment relay: a process that carries Ethernet frames between two interfaces and does to them what is asked.

    python -m hil.failover.relay LEFT RIGHT CONTROL_SOCKET SEED

It runs where both interfaces are. Until the first ``{"forward": true}`` it throws everything away. Control: one JSON
object a message over a SOCK_SEQPACKET socket; the answer carries the counters and the moment of the change.

    {"forward": true, "out": {"loss_pct": 5}, "in": {"cut": true}}     out: left to right, in: right to left

Real-time priority where granted: how late the relay is must not be what is measured.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
import json
import os
import select
import socket
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hil.failover.impair import Impairment, Lane
from touchline.timeline import monotonic_ns

PRIORITY: Final = 60
MAX_FRAME: Final = 65_536
MAX_HELD: Final = 10_000  # frames in delay; more are lost, as in any queue

_ETH_P_ALL: Final = 3
_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_PACKET_MR_PROMISC: Final = 1
_PACKET_IGNORE_OUTGOING: Final = 23
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33  # asm-generic/socket.h
_BUFFER_BYTES: Final = 4 << 20
_BATCH: Final = 64


@dataclass(slots=True)
class Direction:
    """One way through the relay."""

    lane: Lane
    source: socket.socket
    sink: socket.socket
    held: list[tuple[int, int, bytes]] = field(default_factory=list)
    number: int = 0

    def take(self, forward: bool) -> None:
        """Read what waits, send what is due at once, keep the rest."""
        for _ in range(_BATCH):
            try:
                frame = self.source.recv(MAX_FRAME)
            except BlockingIOError:
                return
            except OSError:  # ENETDOWN, said once when the interface goes down
                return
            if not forward:
                continue
            now_ns = monotonic_ns()
            for due_ns in self.lane.offer(now_ns, frame):
                if due_ns <= now_ns and not self.held:
                    self._send(frame)
                elif len(self.held) < MAX_HELD:
                    self.number += 1
                    heapq.heappush(self.held, (due_ns, self.number, frame))
                else:
                    self.lane.counters.lost += 1

    def release(self, now_ns: int) -> None:
        """Send what has become due."""
        while self.held and self.held[0][0] <= now_ns:
            self._send(heapq.heappop(self.held)[2])

    def _send(self, frame: bytes) -> None:
        try:
            self.sink.send(frame)
        except OSError:  # the interface is down or its queue full: a cable would lose it too
            self.lane.counters.refused += 1
        else:
            self.lane.counters.sent += 1


class Relay:
    """Two directions and the control socket."""

    def __init__(self, left: str, right: str, control: Path, seed: int) -> None:
        ends = _packet_socket(left), _packet_socket(right)
        self._ways = {
            "out": Direction(Lane(seed), ends[0], ends[1]),
            "in": Direction(Lane(seed + 1), ends[1], ends[0]),
        }
        self._forward = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(control))
        self._listener.listen(4)
        self._clients: list[socket.socket] = []

    def run(self) -> None:
        """Until killed."""
        ways = list(self._ways.values())
        sources = {way.source: way for way in ways}
        while True:
            due_ns = min((way.held[0][0] for way in ways if way.held), default=None)
            wait_s = None if due_ns is None else max(0, due_ns - monotonic_ns()) / 1e9
            ready = select.select([*sources, self._listener, *self._clients], [], [], wait_s)[0]
            for one in ready:
                if one in sources:
                    sources[one].take(self._forward)
                elif one is self._listener:
                    self._clients.append(one.accept()[0])
                else:
                    self._answer(one)
            now_ns = monotonic_ns()
            for way in ways:
                way.release(now_ns)

    def _answer(self, client: socket.socket) -> None:
        message = client.recv(MAX_FRAME)
        if not message:
            self._clients.remove(client)
            client.close()
            return
        try:
            answer = self._apply(json.loads(message))
        except (ValueError, TypeError, AttributeError) as error:
            answer = {"error": str(error)}
        with contextlib.suppress(OSError):  # who asked has gone
            client.send(json.dumps(answer).encode())

    def _apply(self, message: dict[str, Any]) -> dict[str, Any]:
        wanted = {name: Impairment.from_dict(message[name]) for name in self._ways if name in message}
        self._forward = bool(message.get("forward", self._forward))
        for name, impairment in wanted.items():
            self._ways[name].lane.set(impairment)
        counters = {name: way.lane.counters.as_dict() for name, way in self._ways.items()}
        return {"at_ns": monotonic_ns(), "forward": self._forward, **counters}


def _packet_socket(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)  # deaf until bound: nothing of other interfaces
    made.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    made.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_BYTES)
    index = socket.if_nametoindex(interface)
    membership = struct.pack("iHH8s", index, _PACKET_MR_PROMISC, 0, b"")
    made.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
    made.bind((interface, _ETH_P_ALL))
    made.setblocking(False)
    return made


def real_time(priority: int) -> bool:
    """Ask for SCHED_FIFO; False where it is not granted."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError:
        return False
    return True


def main(left: str, right: str, control: Path, seed: int) -> None:
    """Serve until killed."""
    relay = Relay(left, right, control, seed)
    real_time(PRIORITY)
    gc.freeze()
    relay.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
