"""The observer: asks a virtual address every 2 ms and writes down which node's hardware address answers.

    python -m hil.failover.probe ADDRESS INTERFACE EVERY_MS LOG [NODE=NAMESPACE ...]

The question is an ICMP echo through the kernel's own neighbour table, so that an address counts as moved when a third
machine's traffic reaches the new node, not when somebody has claimed it. Answers and announcements are read from a
packet socket, with their source. The same for Touchline and for keepalived.

Of the nodes' namespaces it hears from the kernel when the address comes to an interface and when it goes.
"""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hil.failover.answers import AnswerLog, Heard, read_answers
from hil.failover.ears import Ear
from hil.failover.namespace import Namespace, entered
from hil.failover.programs import Program, wait_for
from hil.failover.relay import real_time
from touchline.timeline import monotonic_ns

PRIORITY: Final = 55
EVERY_MS: Final = 2.0

_ARP, _IPV4 = b"\x08\x06", b"\x08\x00"
_ECHO, _ECHO_REPLY = 8, 0
_ICMP: Final = struct.Struct("!BBHHH")
_PAYLOAD: Final = struct.Struct("!Q")
_START_S: Final = 30.0
_IPV4_ADDRESSES: Final = 0x10  # RTMGRP_IPV4_IFADDR
_NEW, _GONE = 20, 21  # RTM_NEWADDR, RTM_DELADDR
_LOCAL: Final = 2  # IFA_LOCAL


@dataclass(frozen=True, slots=True)
class Answer:
    """An echo reply to one of our probes."""

    mac: str
    sent_ns: int


@dataclass(frozen=True, slots=True)
class Announcement:
    """A gratuitous ARP for the address: request or reply whose sender and target are the address itself."""

    mac: str
    kind: str


def echo(identifier: int, number: int, now_ns: int) -> bytes:
    """An ICMP echo request that carries when it was sent."""
    payload = _PAYLOAD.pack(now_ns)
    head = _ICMP.pack(_ECHO, 0, 0, identifier, number & 0xFFFF)
    return _ICMP.pack(_ECHO, 0, checksum(head + payload), identifier, number & 0xFFFF) + payload


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def read_frame(frame: bytes, address: bytes, identifier: int) -> Answer | Announcement | None:
    """What an Ethernet frame says about the address; None for everything else, also for what is cut short."""
    kind = frame[12:14]
    if kind == _ARP and len(frame) >= 42 and frame[14:20] == b"\0\1\x08\0\6\4":
        if frame[28:32] == address and frame[38:42] == address:
            return Announcement(frame[22:28].hex(":"), "arp-reply" if frame[21] == 2 else "arp-request")
        return None
    if kind != _IPV4 or len(frame) < 34 or frame[23] != socket.IPPROTO_ICMP or frame[26:30] != address:
        return None
    start = 14 + (frame[14] & 0x0F) * 4
    if len(frame) < start + _ICMP.size + _PAYLOAD.size:
        return None
    what, _, _, ours, _ = _ICMP.unpack_from(frame, start)
    if what != _ECHO_REPLY or ours != identifier:
        return None
    return Answer(frame[6:12].hex(":"), int(_PAYLOAD.unpack_from(frame, start + _ICMP.size)[0]))


def address_changes(data: bytes, address: bytes) -> Iterator[bool]:
    """What a netlink message says of the address: it came (also: was renewed) or it went."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if length < 16 or length > len(data):
            return
        body, data = data[16:length], data[(length + 3) & ~3 :]
        if kind not in (_NEW, _GONE):
            continue
        at = 8  # struct ifaddrmsg
        while at + 4 <= len(body):
            size, what = struct.unpack_from("=HH", body, at)
            if size < 4:
                break
            if what == _LOCAL and body[at + 4 : at + size] == address:
                yield kind == _NEW
            at += (size + 3) & ~3


class Observer:
    """The probe process seen from the rig; ``nodes``: namespaces whose kernels are listened to."""

    def __init__(self, space: Namespace, folder: Path, address: str, nodes: Mapping[str, Namespace]) -> None:
        self.log_file = folder / "probe.jsonl"
        self.address = address
        watched = [f"{name}={one.name}" for name, one in nodes.items()]
        words = [address, "eth0", str(EVERY_MS), str(self.log_file), *watched]
        argv = [sys.executable, "-m", "hil.failover.probe", *words]
        self._program = Program("probe", argv, folder / "probe.log", before=space.inside())

    def start(self) -> None:
        """Return once it asks."""
        self._program.start()
        wait_for(lambda: self.log_file.exists() or self._program.pid is None, _START_S, "the probe", self._program.said)

    def read(self) -> Heard:
        """All that it has seen so far."""
        return read_answers(self.log_file.read_text().splitlines())

    def who(self) -> str:
        """The hardware address that answers now; empty for nobody."""
        spans = self.read().spans
        return spans[-1].mac if spans and spans[-1].last_ns is None else ""

    def stop(self) -> None:
        """End it; the log is complete then."""
        self._program.stop()


class _Probe:
    """Sends in time, reads in between."""

    def __init__(self, address: str, interface: str, every_ns: int, nodes: Mapping[str, str]) -> None:
        self._address, self._every_ns = address, every_ns
        self._packed = ipaddress.IPv4Address(address).packed
        self._identifier = os.getpid() & 0xFFFF
        self._out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._out.setblocking(False)
        self._ear = Ear(interface)
        kernels = [(name, _kernel(namespace)) for name, namespace in nodes.items()]
        self._kernels = {kernel.fileno(): (name, kernel) for name, kernel in kernels}
        self.log = AnswerLog()
        self.ended = False

    def run(self, path: Path) -> None:
        """Until told to end."""
        number, next_ns = 0, monotonic_ns()
        with path.open("a", buffering=1) as out:
            while not self.ended:
                now_ns = monotonic_ns()
                if now_ns >= next_ns:
                    number += 1
                    with contextlib.suppress(OSError):  # no answer to ARP yet, a link that is down: an unanswered probe
                        self._out.sendto(echo(self._identifier, number, now_ns), (self._address, 0))
                    next_ns = max(next_ns + self._every_ns, now_ns)
                wait_s = max(0, next_ns - monotonic_ns()) / 1e9
                ready = select.select([*self._kernels, self._ear.fileno()], [], [], wait_s)[0]
                self._listen_to(ready)
                if self._ear.fileno() in ready:
                    self._hear()
                self.log.tick(monotonic_ns())
                if self.log.lines:
                    out.write(self.log.take())
            while ready := select.select([*self._kernels], [], [], 0)[0]:  # said before we were told to end
                self._listen_to(ready)
            self.log.close()
            out.write(self.log.take())

    def _listen_to(self, ready: Sequence[int]) -> None:
        for number, kernel in self._kernels.items():
            if number in ready:
                self._listen(*kernel)

    def _listen(self, name: str, kernel: socket.socket) -> None:
        for on in address_changes(kernel.recv(65_536), self._packed):
            self.log.carries(monotonic_ns(), name, on)

    def _hear(self) -> None:
        for heard in self._ear.hear():
            found = None if heard.outgoing else read_frame(heard.frame, self._packed, self._identifier)
            if isinstance(found, Answer):
                self.log.answer(heard.at_ns, found.sent_ns, found.mac)
            elif isinstance(found, Announcement):
                self.log.claim(heard.at_ns, found.mac, found.kind)


def _kernel(namespace: str) -> socket.socket:
    """A socket that hears of every change of an IPv4 address there."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        made.bind((0, _IPV4_ADDRESSES))
        return made

    return entered(namespace, make)


def main(words: Sequence[str]) -> None:
    """Probe until SIGTERM."""
    nodes = dict(word.split("=", 1) for word in words[4:])
    probe = _Probe(words[0], words[1], round(float(words[2]) * 1e6), nodes)

    def end(*_: Any) -> None:
        probe.ended = True

    signal.signal(signal.SIGTERM, end)
    real_time(PRIORITY)
    gc.freeze()
    probe.run(Path(words[3]))


if __name__ == "__main__":
    main(sys.argv[1:])
