"""Two endpoints and the wires between them, without sockets: what is under way lies in a list for the test to judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from failover.core.types import Beat, Health, Role
from failover.wire.beats import Message
from failover.wire.endpoint import Endpoint, Taken
from failover.wire.identity import Credentials
from touchline.timeline import utc_s

MS = 1_000_000


def beat(number: int, epoch: int = 1) -> Beat:
    return Beat(number, Role.ACTIVE, epoch, Health(1, True, False, True, True))


@dataclass
class Node:
    """One end. ``out``: what it sent, as (path, datagram); ``heard``: what was delivered to it."""

    credentials: Callable[[], Credentials]
    twin: str
    paths: int = 2
    out: list[tuple[int, bytes]] = field(default_factory=list)
    heard: list[Message] = field(default_factory=list)
    restarted: int = 0
    sent: int = 0

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new process: nothing is remembered."""
        self.endpoint = Endpoint(self.credentials(), lambda name: name == self.twin)
        self.peer = self.endpoint.add(self.twin, self.paths)
        self.heard, self.restarted = [], 0

    def send(self, now_ns: int) -> None:
        """A beat, and a hello where due, as NodeWire does; beats are numbered through all lives."""
        self.sent += 1
        if self.peer.hello_due(now_ns):
            self.out += [(path, self.peer.hello(path)) for path in range(self.paths)]
        self.out += list(enumerate(self.peer.seal(beat(self.sent))))

    def take(self, path: int, datagram: bytes, now_ns: int, host: str = "10.0.0.2") -> Taken:
        taken = self.endpoint.take(datagram, host, now_ns, utc_s(), only=self.peer)
        self.out += [(path, reply) for reply in taken.replies]
        if taken.message is not None:
            self.heard.append(taken.message)
        self.restarted += taken.restarted
        return taken


class Pair:
    """Two nodes; :meth:`settle` lets everything arrive, at once and in order."""

    def __init__(self, one: Callable[[], Credentials], two: Callable[[], Credentials], paths: int = 2) -> None:
        self.a, self.b = Node(one, two().name, paths), Node(two, one().name, paths)
        self.now_ns = 1_000_000_000
        self.tape: list[tuple[Node, int, bytes]] = []  # everything that ever was under way, and to whom

    def collect(self) -> list[tuple[Node, int, bytes]]:
        """What has been sent since, with its receiver."""
        found = [(to, *one) for sender, to in ((self.a, self.b), (self.b, self.a)) for one in sender.out]
        self.a.out, self.b.out = [], []
        self.tape += found
        return found

    def settle(self, lossless: bool = True) -> int:
        """Deliver until nothing is under way; how many rounds that took."""
        rounds = 0
        while under_way := self.collect():
            rounds += 1
            assert rounds < 20, "two ends that never stop answering each other"
            for to, path, datagram in under_way:
                if lossless:
                    to.take(path, datagram, self.now_ns)
        return rounds

    def turn(self, count: int = 1) -> None:
        """Both send a beat and everything arrives; 20 ms each."""
        for _ in range(count):
            self.now_ns += 20 * MS
            self.a.send(self.now_ns)
            self.b.send(self.now_ns)
            self.settle()
