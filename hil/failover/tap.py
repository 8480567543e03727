"""A tap on the site's wires: which lease the witness grants, and what role each node's beats say, with their moments.

    python -m hil.failover.tap LOG rack=NAMESPACE:eth0 node-a=NAMESPACE:eth0 node-a=NAMESPACE:eth1 ...

It looks at what leaves an interface, before any cable can lose it, and at what the rack is asked. The datagrams of
failover are authentic, not secret, so nothing of the programs under test has to be believed: not their logs, nor their
own idea of the time. Grants and releases are all written down, beats when they say something new.
"""

from __future__ import annotations

import gc
import json
import select
import signal
import socket
import struct
import sys
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from failover.core.types import Beat
from failover.wire.beats import Ask, Grant, Kind, Message, WireError, decode, split
from hil.failover.ears import Ear, Heard
from hil.failover.judge import Lease, Takeover
from hil.failover.namespace import Namespace, entered
from hil.failover.programs import Program, wait_for
from hil.failover.relay import real_time

PRIORITY: Final = 54
MAX_ASKED: Final = 1000  # questions whose answers are awaited
_SEALED: Final = (Kind.BEAT, Kind.ASK, Kind.ANSWER)
_START_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Packet:
    """A UDP datagram of failover and between whom it went."""

    source: str
    target: str
    message: Message


def read_packet(frame: bytes) -> Packet | None:
    """The message in an Ethernet frame; None where there is none of ours."""
    if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
        return None
    start = 14 + (frame[14] & 0x0F) * 4
    length = struct.unpack_from("!H", frame, start + 4)[0] if len(frame) >= start + 8 else 0
    if length < 8 or start + length > len(frame):
        return None
    try:
        taken = split(frame[start + 8 : start + length])
        if taken.kind not in _SEALED:
            return None
        message = decode(taken.kind, taken.body)
    except WireError:
        return None
    return Packet(socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34]), message)


@dataclass(slots=True)
class TapLog:
    """Turns packets into lines. Pure. ``names``: of the nodes' addresses.

    A lease counts for its node from when it asked, so that is written down with the grant.
    """

    names: Mapping[str, str]
    lines: list[str] = field(default_factory=list)
    _said: dict[str, tuple[str, int, bool]] = field(default_factory=dict)
    _asked: OrderedDict[tuple[str, int], int] = field(default_factory=OrderedDict)
    _gave: dict[str, int] = field(default_factory=dict)

    def left_node(self, at_ns: int, node: str, message: Message) -> None:
        """A node sent this; the second path's copy says nothing new."""
        if isinstance(message, Ask):
            self._asked[node, message.request] = at_ns
            while len(self._asked) > MAX_ASKED:
                self._asked.popitem(last=False)
        if isinstance(message, Beat):
            if message.given > self._gave.get(node, 0):  # to the twin, who shows it to the rack
                self._gave[node] = message.given
                self._line("release", at_ns, node=node, epoch=message.given)
            word = message.role.value, message.epoch, message.health.fit
            if self._said.get(node) != word:
                self._said[node] = word
                self._line("role", at_ns, node=node, role=word[0], epoch=word[1], fit=word[2])

    def left_rack(self, at_ns: int, target: str, message: Message) -> None:
        """The witness answered."""
        node = self.names.get(target)
        if isinstance(message, Grant) and node is not None:
            asked_ns = self._asked.get((node, message.request), at_ns)
            self._line("grant", at_ns, node=node, epoch=message.epoch, until_ns=asked_ns + message.lease_ns)

    def came_to_rack(self, at_ns: int, message: Message) -> None:
        """The witness was asked."""
        if isinstance(message, Ask) and message.what == "release":
            self._line("release", at_ns, node=message.node, epoch=message.epoch)

    def take(self) -> str:
        """The new lines."""
        text = "".join(line + "\n" for line in self.lines)
        self.lines.clear()
        return text

    def _line(self, kind: str, at_ns: int, **values: Any) -> None:
        self.lines.append(json.dumps({"kind": kind, "at_ns": at_ns, **values}))


@dataclass(frozen=True, slots=True)
class Said:
    """A node's beats said something new from here on."""

    node: str
    at_ns: int
    role: str
    epoch: int
    fit: bool


@dataclass(frozen=True, slots=True)
class Tapped:
    """A part of a log."""

    leases: tuple[Lease, ...]
    roles: tuple[Said, ...]

    def takeovers(self) -> list[Takeover]:
        """The first grant of each epoch: somebody got the lease who had not had it."""
        first: dict[int, Lease] = {}
        for lease in self.leases:
            first.setdefault(lease.epoch, lease)
        return [Takeover(one.node, one.epoch, one.at_ns, lease_ns=one.at_ns) for one in first.values()]


def read_tap(lines: Iterable[str]) -> Tapped:
    """A log, or its end; a lease that was given back ends then. A last line that is not whole yet is passed over.

    A grant that left the rack after its own end counts for nothing: its node will not take it for one.
    """
    leases: list[Lease] = []
    roles: list[Said] = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        node, at_ns = value["node"], value["at_ns"]
        if value["kind"] == "grant":
            if value["until_ns"] > at_ns:  # else it waited for a cable, and is no lease by the time it leaves
                leases.append(Lease(node, value["epoch"], at_ns, value["until_ns"]))
        elif value["kind"] == "role":
            roles.append(Said(node, at_ns, value["role"], value["epoch"], value["fit"]))
        else:
            leases = [
                Lease(one.node, one.epoch, one.at_ns, min(one.until_ns, at_ns))
                if (one.node, one.epoch) == (node, value["epoch"])
                else one
                for one in leases
            ]
    return Tapped(tuple(leases), tuple(roles))


class Tap:
    """The tap process seen from the rig. ``places``: name and namespace; ``rack`` is the rack's, others are nodes'."""

    def __init__(self, folder: Path, rack: Namespace, nodes: Mapping[str, Namespace], names: Mapping[str, str]) -> None:
        self.log_file = folder / "tap.jsonl"
        ends = [f"rack={rack.name}:eth0"]
        ends += [f"{node}={space.name}:{end}" for node, space in nodes.items() for end in ("eth0", "eth1")]
        words = [str(self.log_file), json.dumps(dict(names)), *ends]
        self._program = Program("tap", [sys.executable, "-m", "hil.failover.tap", *words], folder / "tap.log")

    def start(self) -> None:
        """Return once it listens."""
        self._program.start()
        wait_for(lambda: self.log_file.exists() or self._program.pid is None, _START_S, "the tap", self._program.said)

    def mark(self) -> int:
        """How long the log is now."""
        return self.log_file.stat().st_size

    def read(self, since: int = 0) -> Tapped:
        """What was written since a mark."""
        with self.log_file.open("rb") as file:
            file.seek(since)
            return read_tap(file.read().decode().splitlines())

    def stop(self) -> None:
        """End it; the log is complete then."""
        self._program.stop()


class _Ears:
    """An ear on each end."""

    def __init__(self, ends: Sequence[str], log: TapLog) -> None:
        self.log = log
        self._names: dict[Ear, str] = {}
        for end in ends:
            name, _, place = end.partition("=")
            namespace, _, interface = place.partition(":")
            self._names[entered(namespace, partial(Ear, interface))] = name

    def hear(self, wait_s: float) -> None:
        """Take everything that comes, in the order in which it was on the wires."""
        ready = select.select(list(self._names), [], [], wait_s)[0]
        heard = [(one, self._names[ear]) for ear in ready for one in ear.hear()]
        for one, name in sorted(heard, key=lambda pair: pair[0].at_ns):
            packet = read_packet(one.frame)
            if packet is not None:
                self._take(name, packet, one)

    def _take(self, name: str, packet: Packet, heard: Heard) -> None:
        if name != "rack":
            if heard.outgoing:
                self.log.left_node(heard.at_ns, name, packet.message)
        elif heard.outgoing:
            self.log.left_rack(heard.at_ns, packet.target, packet.message)
        else:
            self.log.came_to_rack(heard.at_ns, packet.message)


def main(words: Sequence[str]) -> None:
    """Listen until SIGTERM."""
    ears = _Ears(words[2:], TapLog(json.loads(words[1])))
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    real_time(PRIORITY)
    gc.freeze()
    with Path(words[0]).open("a") as out:
        while not ended:
            ears.hear(0.1)
            if ears.log.lines:
                out.write(ears.log.take())
                out.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
