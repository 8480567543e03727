"""From a datagram to what it means: the same for a node and the witness. Pure: bytes in, bytes and messages out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from failover.wire.beats import Frame, Hello, Kind, Message, WireError, pack_lost, split, unpack_hello
from failover.wire.door import Door
from failover.wire.identity import Credentials, Refusal, Refused
from failover.wire.peer import Peer

MAX_PEERS: Final = 256


@dataclass(frozen=True, slots=True)
class Taken:
    """What a datagram brought. ``replies`` go back to where it came from, on the path it came on."""

    peer: Peer | None = None
    message: Message | None = None
    restarted: bool = False
    replies: tuple[bytes, ...] = ()


_NOTHING: Final = Taken()


class Endpoint:
    """Our peers, and whatever else arrives.

    Args:
        credentials: ours.
        expects: whether a party of this name may become a peer when it says hello.
        vouched: hosts whose hellos are never held up by those of strangers.
    """

    def __init__(self, credentials: Credentials, expects: Callable[[str], bool], vouched: tuple[str, ...] = ()) -> None:
        self.peers: dict[str, Peer] = {}
        self.counters: Counter[str] = Counter()
        self._credentials, self._expects = credentials, expects
        self._door = Door(vouched)
        self._index: dict[int, Peer] = {}

    def add(self, name: str, paths: int) -> Peer:
        """Make a peer. Raises ConfigError when it is named as we are."""
        peer = self.peers[name] = Peer(self._credentials, name, paths, self._index)
        return peer

    def take(self, datagram: bytes, host: str, now_ns: int, utc_s: float, only: Peer | None = None) -> Taken:
        """Take a datagram; whatever it is, this returns. ``only``: nobody else may speak here."""
        try:
            frame = split(datagram)
            if frame.kind is Kind.HELLO:
                return self._hello(frame, host, now_ns, utc_s, only)
        except WireError as error:
            self.counters[error.kind.value] += 1
            return _NOTHING
        peer = self._index.get(frame.channel)
        if frame.kind is Kind.LOST:
            if peer is not None and self._knock(host, now_ns):
                peer.heard_lost(frame.channel)
            return _NOTHING
        if peer is None:
            self.counters["unknown_channel"] += 1
            return Taken(replies=(pack_lost(frame.channel, frame.path),)) if self._knock(host, now_ns) else _NOTHING
        if only is not None and peer is not only:
            self.counters["elsewhere"] += 1
            return _NOTHING
        opened = peer.open(frame, now_ns)
        if opened.message is not None:
            self._door.vouch(host)
        return Taken(peer, opened.message, opened.restarted, opened.replies)

    def _hello(self, frame: Frame, host: str, now_ns: int, utc_s: float, only: Peer | None) -> Taken:
        try:
            if not self._knock(host, now_ns):
                return _NOTHING
            hello = unpack_hello(frame.body)
            secret = self._check(hello, now_ns, utc_s, only)
            peer = self._peer(hello.name, frame.path)
        except Refused as refused:
            self.counters[refused.kind.value] += 1
            return _NOTHING
        return Taken(peer, replies=tuple(peer.heard_hello(hello, secret, frame.path, now_ns)))

    def _check(self, hello: Hello, now_ns: int, utc_s: float, only: Peer | None) -> bytes:
        """The secret shared with whoever says hello; what is cheap is looked at first. Raises Refused."""
        if not self._expects(hello.name) or (only is not None and hello.name != only.name):
            raise Refused(Refusal.STRANGER)
        if not self._credentials.knows(hello.certificate) and not self._door.new_certificate(now_ns):
            raise Refused(Refusal.BUSY)
        return self._credentials.secret(hello.certificate, hello.name, utc_s)

    def _peer(self, name: str, path: int) -> Peer:
        peer = self.peers.get(name)
        if peer is None:
            if len(self.peers) >= MAX_PEERS:
                raise Refused(Refusal.FULL)
            peer = self.add(name, 1)
        if path >= len(peer.paths):
            raise Refused(Refusal.PATH)
        return peer

    def _knock(self, host: str, now_ns: int) -> bool:
        if self._door.knock(host, now_ns):
            return True
        self.counters["limited"] += 1
        return False
