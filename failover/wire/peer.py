"""One other party: from its hello to a channel, and what is heard on it. Pure: ``now_ns`` is an argument.

Three ways, after which both ends use the same channel: a *hello* says session and certificate and proves nothing; it
only makes a candidate. Each end then sends a *confirm* under the candidate's key with a fresh nonce, and a candidate
becomes the present channel when the peer has echoed ours: it holds the certificate's key, in this session, now. So
neither a forged hello nor anything recorded can disturb a channel that works.

Messages are delivered from the present channel only, in rising order of their numbers. The second path's copy of a
message is counted and not delivered again.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from failover.core.types import NS_PER_MS
from failover.wire.beats import (
    NONCE_BYTES,
    SESSION_BYTES,
    Confirm,
    Frame,
    Hello,
    Kind,
    Message,
    WireError,
    decode,
    encode,
    pack_hello,
)
from failover.wire.identity import Credentials
from failover.wire.seal import Channel, End, derive
from touchline.errors import ConfigError

HELLO_NS: Final = 50 * NS_PER_MS  # between two hellos to a peer that does not know us
SILENT_NS: Final = 500 * NS_PER_MS  # a peer silent so long is greeted again, in case it lost us
MAX_CANDIDATES: Final = 4
MAX_RETIRED: Final = 64

_NO_NONCE: Final = bytes(NONCE_BYTES)
_NO_SESSION: Final = bytes(SESSION_BYTES)


@dataclass(slots=True)
class PathStatistics:
    """What one path delivered. ``lost``: numbers that never came on it; ``copies``: known by another path already.

    ``old``: a number not above the highest of this path, which is a repetition, an overtaken datagram, or a replay.
    """

    heard: int = 0
    lost: int = 0
    copies: int = 0
    old: int = 0
    last_heard_ns: int | None = None
    highest: int = 0

    def take(self, number: int, now_ns: int) -> bool:
        """Count a datagram; False when its number is nothing new on this path."""
        if number <= self.highest:
            self.old += 1
            return False
        if self.highest:
            self.lost += number - self.highest - 1
        self.heard += 1
        self.highest, self.last_heard_ns = number, now_ns
        return True


@dataclass(frozen=True, slots=True)
class Opened:
    """What a datagram brought: a message heard for the first time, a new session of the peer, what to send back."""

    message: Message | None = None
    restarted: bool = False
    replies: tuple[bytes, ...] = ()


_NOTHING: Final = Opened()


@dataclass(slots=True)
class _Numbers:
    """How far the numbers of a session had come; a session that comes back goes on from there."""

    highest: int
    sent: int


class Peer:
    """The other end of ours. ``index`` maps the ids of all channels that may speak for it to their peer.

    Args:
        credentials: ours.
        name: the peer's, as its certificate says.
        paths: how many ways lead to it.
        index: shared by all peers of an endpoint; kept up to date here.
        random: bytes for sessions and nonces; for tests.
    """

    def __init__(
        self,
        credentials: Credentials,
        name: str,
        paths: int,
        index: dict[int, Peer],
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if name == credentials.name:
            raise ConfigError(
                f'this party and its peer are both named "{name}" in their certificates',
                hint="give each its own certificate; the twin's name is failover.twin",
            )
        self.name = name
        self.paths = [PathStatistics() for _ in range(paths)]
        self.counters: Counter[str] = Counter()
        self.restarts = 0
        self.last_heard_ns: int | None = None
        self._credentials, self._index, self._random = credentials, index, random
        self._ours = End(credentials.name, random(SESSION_BYTES))
        self._present: Channel | None = None
        self._candidates: OrderedDict[bytes, Channel] = OrderedDict()
        self._retired: OrderedDict[bytes, _Numbers] = OrderedDict()
        self._unknown_there = False
        self._hello_ns: int | None = None

    @property
    def session(self) -> bytes:
        """The peer's present session; empty until its channel is confirmed."""
        return self._present.session if self._present else b""

    @property
    def connected(self) -> bool:
        """Whether there is a channel. Says nothing about whether the peer still lives."""
        return self._present is not None

    # --- what goes out ------------------------------------------------------------------------------------------

    def hello_due(self, now_ns: int) -> bool:
        """Whether to send a hello on every path now; having said so, not again for a while."""
        since_ns = None if self._hello_ns is None else now_ns - self._hello_ns
        if self._present is None or self._unknown_there:
            due = since_ns is None or since_ns >= HELLO_NS
        else:
            heard_ns = self.last_heard_ns if self.last_heard_ns is not None else self._present.made_ns
            due = now_ns - heard_ns >= SILENT_NS and (since_ns is None or since_ns >= SILENT_NS)
        if due:
            self._hello_ns, self._unknown_there = now_ns, False
        return due

    def hello(self, path: int) -> bytes:
        """Our hello, as a datagram."""
        return self._hello(path, self.session or _NO_SESSION)

    def seal(self, message: Message) -> list[bytes]:
        """One datagram for each path, all with the same number; empty while there is no channel."""
        if self._present is None:
            return []
        channel, (kind, body) = self._present, encode(message)
        number = channel.next_number()
        return [channel.seal(kind, path, number, body) for path in range(len(self.paths))]

    def give(self, pair: str, epoch: int) -> bytes | None:
        """Our word to the peer that we gave back the lease of this epoch; None while there is no channel."""
        return self._present.give(pair, epoch) if self._present else None

    def gave(self, session: bytes, pair: str, given: int, tag: bytes) -> bool:
        """Whether the peer, in this session of its, gave that word; whoever brought it."""
        present = self._present
        return present is not None and present.session == session and present.gave(pair, given, tag)

    def _hello(self, path: int, heard: bytes) -> bytes:
        return pack_hello(Hello(self._ours.session, heard, self._ours.name, self._credentials.der), path)

    # --- what comes in ------------------------------------------------------------------------------------------

    def heard_hello(self, hello: Hello, secret: bytes, path: int, now_ns: int) -> list[bytes]:
        """Take a hello whose certificate is good (``secret`` is what it made with ours); return what to send back."""
        self.counters["hello"] += 1
        channel = self._present
        if channel is None or channel.session != hello.session:
            channel = self._candidates.get(hello.session) or self._candidate(hello.session, secret, now_ns)
        replies = [] if hello.heard == self._ours.session else [self._hello(path, hello.session)]
        return [*replies, self._confirm(channel, path)]

    def heard_lost(self, channel: int) -> None:
        """The peer, or somebody, says that a channel is unknown there: if it is ours, greet again soon."""
        if self._present is not None and channel == self._present.keys.channel:
            self.counters["lost"] += 1
            self._unknown_there = True

    def open(self, frame: Frame, now_ns: int) -> Opened:
        """Take a sealed datagram of one of our channels."""
        channel = self._channel(frame.channel)
        if channel is None or frame.path >= len(self.paths):
            self.counters["no_channel" if channel is None else "no_path"] += 1
            return _NOTHING
        if not channel.verify(frame):
            self.counters["bad_tag"] += 1
            return _NOTHING
        if frame.kind is Kind.CONFIRM:
            return self._heard_confirm(channel, frame, now_ns)
        if channel is not self._present:
            self.counters["unconfirmed"] += 1
            return Opened(replies=(self._confirm(channel, frame.path),))
        return self._deliver(channel, frame, now_ns)

    def _deliver(self, channel: Channel, frame: Frame, now_ns: int) -> Opened:
        path = self.paths[frame.path]
        if not path.take(frame.number, now_ns):
            return _NOTHING
        self.last_heard_ns = now_ns
        if frame.number <= channel.highest:
            path.copies += 1
            return _NOTHING
        channel.highest = frame.number
        try:
            return Opened(decode(frame.kind, frame.body))
        except WireError as error:  # authentic, so its maker is of another mind than we: a bug worth counting
            self.counters[f"body_{error.kind.value}"] += 1
            return _NOTHING

    # --- channels -----------------------------------------------------------------------------------------------

    def _channel(self, number: int) -> Channel | None:
        if self._present is not None and self._present.keys.channel == number:
            return self._present
        return next((one for one in self._candidates.values() if one.keys.channel == number), None)

    def _candidate(self, session: bytes, secret: bytes, now_ns: int) -> Channel:
        keys = derive(secret, self._ours, End(self.name, session))
        made = Channel(keys, session, self._random(NONCE_BYTES), made_ns=now_ns)
        self._candidates[session] = made
        self._index[keys.channel] = self
        while len(self._candidates) > MAX_CANDIDATES:
            _, given_up = self._candidates.popitem(last=False)
            self._index.pop(given_up.keys.channel, None)
            self.counters["candidate_given_up"] += 1
        return made

    def _confirm(self, channel: Channel, path: int) -> bytes:
        kind, body = encode(Confirm(channel.nonce, channel.theirs, channel is self._present))
        return channel.seal(kind, path, 0, body)

    def _heard_confirm(self, channel: Channel, frame: Frame, now_ns: int) -> Opened:
        try:
            confirm = decode(frame.kind, frame.body)
        except WireError as error:
            self.counters[f"body_{error.kind.value}"] += 1
            return _NOTHING
        assert isinstance(confirm, Confirm)
        channel.theirs = confirm.mine
        proven = channel is self._present or confirm.yours == channel.nonce
        restarted = proven and channel is not self._present and self._replace(channel)
        if proven and confirm.settled:
            return Opened(restarted=restarted)
        return Opened(restarted=restarted, replies=(self._confirm(channel, frame.path),))

    def _replace(self, channel: Channel) -> bool:
        """Make a proven candidate the present channel; whether the peer had another one before."""
        before = self._present
        if before is not None:
            self._retired[before.session] = _Numbers(before.highest, before.sent)
            self._index.pop(before.keys.channel, None)
            while len(self._retired) > MAX_RETIRED:
                self._retired.popitem(last=False)
            self.restarts += 1
        del self._candidates[channel.session]
        back = self._retired.pop(channel.session, None)
        if back is not None:
            channel.highest, channel.sent = back.highest, back.sent
        for path in self.paths:
            path.highest = channel.highest
        self._present, self._unknown_there = channel, False
        return before is not None
