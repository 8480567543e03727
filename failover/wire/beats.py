"""The datagrams of failover: the one definition of every byte that nodes and witness exchange.

A datagram is a head, a body and, but for ``hello`` and ``lost``, a tag of 16 bytes over both. Little-endian, at most
1,200 bytes, one version; each value has exactly one encoding. Reading is total: whatever the bytes, the answer is a
value or a :class:`WireError` with a kind to count. Nothing here is authenticated: :mod:`failover.wire.seal` does that.

| kind | body |
|---|---|
| hello | session 16, heard 16 (the receiver's session, zero: unknown), name 16, length 2, certificate (DER) |
| lost | none; the head's channel is the one that the sender does not know |
| confirm | the sender's nonce 8, the receiver's 8 (zero: unknown), 1: this is the sender's present channel |
| beat | role 1, flags 1, cameras 2, epoch, number, seen, promise, vouched, given 8, tag 16, cursors 1, they |
| a cursor | camera 2, time 8 |
| ask | what 1, pair 16, node 16, epoch 8, given 8, tag 16, lease 8, request 8 |
| switch | see :mod:`failover.wire.told` |
| answer | verdict 1, reason 1, holder 16, epoch 8, duration 8 (lease or wait), request 8 |
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, Literal

from failover.core.types import MAX_CAMERAS, NO_TAG, Beat, CameraCursor, Health, Role
from failover.wire.told import SwitchTold, decode_told, encode_told
from touchline.errors import InputError

VERSION: Final = 1
MAX_DATAGRAM_BYTES: Final = 1200  # fits one frame of any link, tunnels included
TAG_BYTES: Final = 16
SESSION_BYTES: Final = 16
NONCE_BYTES: Final = 8
MAX_CERTIFICATE_BYTES: Final = 1024
MAX_PATHS: Final = 4
MAX_EPOCH: Final = 2**62  # what the witness heeds; the batch header would hold 2**63 - 1

MAGIC: Final = b"TLF"
HEAD: Final = struct.Struct("<3sBBBHQQ")  # magic, version, kind, path, body bytes, channel, number
_HELLO: Final = struct.Struct("<16s16s16sH")
_CONFIRM: Final = struct.Struct("<8s8sB")
_BEAT: Final = struct.Struct("<BBHQQQQQQ16sB")
_CURSOR: Final = struct.Struct("<Hq")
_ASK: Final = struct.Struct("<B16s16sQQ16sQQ")
_ANSWER: Final = struct.Struct("<BB16sQQQ")

_NAME: Final = re.compile(rb"[a-z0-9-]{1,16}")
_NO_SESSION: Final = bytes(SESSION_BYTES)


class Fault(str, Enum):
    """Why bytes were not taken; the counters go by these."""

    SHORT = "short"  # ends before the head does
    LONG = "long"  # over 1,200 bytes
    FOREIGN = "foreign"  # not our magic
    VERSION = "version"  # ours, of another version
    KIND = "kind"  # no kind of datagram
    LENGTH = "length"  # head and datagram disagree
    FIELD = "field"  # a value that its field cannot have


class WireError(InputError):
    """Bytes that are no datagram of ours; ``kind`` says why."""

    def __init__(self, kind: Fault, what: str) -> None:
        super().__init__(f"no datagram of failover: {what}")
        self.kind = kind


class Kind(IntEnum):
    """What a datagram is."""

    HELLO = 1
    LOST = 2
    CONFIRM = 3
    BEAT = 4
    ASK = 5
    ANSWER = 6
    SWITCH = 7


UNSEALED: Final = frozenset((Kind.HELLO, Kind.LOST))


@dataclass(frozen=True, slots=True)
class Frame:
    """A datagram taken apart. ``signed`` is what the tag is over; ``number`` 0 stands for "not numbered"."""

    kind: Kind
    path: int
    channel: int
    number: int
    body: bytes
    signed: bytes
    tag: bytes


@dataclass(frozen=True, slots=True)
class Hello:
    """Who I am, which session this is, and which of yours I know. Proves nothing by itself."""

    session: bytes
    heard: bytes
    name: str
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Confirm:
    """Proof of life under a channel: my nonce, yours as I heard it, and whether I use this channel already."""

    mine: bytes
    yours: bytes
    settled: bool


What = Literal["claim", "look", "release"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A node to the witness. ``epoch``: the highest it knows for the pair; ``lease_ns``: for how long it would like.

    ``given`` (0: none) and its tag: what the twin's beats say, see :class:`Beat`.
    """

    what: What
    pair: str
    node: str
    epoch: int
    lease_ns: int
    request: int
    given: int = 0
    given_tag: bytes = NO_TAG


@dataclass(frozen=True, slots=True)
class Grant:
    """The witness: the lease is yours for ``lease_ns`` from when you asked."""

    request: int
    epoch: int
    lease_ns: int


class Reason(IntEnum):
    """Why there is no lease in an answer."""

    FREE = 0  # nobody holds it, and you did not claim
    HELD = 1  # somebody does; to a ``look`` that may be you
    QUARANTINE = 2  # the witness is new and waits out what its predecessor may have granted
    NOT_LISTED = 3  # this pair is not yours
    FULL = 4  # the witness serves no more pairs
    NO_EPOCH = 5  # the disk has not confirmed new epochs yet


@dataclass(frozen=True, slots=True)
class Denial:
    """The witness: no lease. ``holder`` has it for at most ``wait_ns`` more unless renewed ("" and 0: free)."""

    request: int
    epoch: int
    holder: str
    wait_ns: int
    reason: Reason = Reason.HELD


Message = Confirm | Beat | Ask | Grant | Denial | SwitchTold

_ROLES: Final = (Role.STANDBY, Role.ACTIVE)
_WHATS: Final[tuple[What, ...]] = ("claim", "look", "release")
_GRANTED, _DENIED = 1, 0
_FLAGS: Final = 0x7F


def pack(kind: Kind, path: int, channel: int, number: int, body: bytes) -> bytes:
    """Head and body; what a sealed kind still lacks is its tag."""
    return HEAD.pack(MAGIC, VERSION, kind, path, len(body), channel, number) + body


def split(datagram: bytes) -> Frame:
    """Take a datagram apart. Raises :class:`WireError`."""
    size = len(datagram)
    if size > MAX_DATAGRAM_BYTES:
        raise WireError(Fault.LONG, f"{size} bytes or more; at most {MAX_DATAGRAM_BYTES}")
    if size < HEAD.size:
        raise WireError(Fault.SHORT, f"{size} bytes; the head alone has {HEAD.size}")
    magic, version, code, path, length, channel, number = HEAD.unpack_from(datagram)
    if magic != MAGIC:
        raise WireError(Fault.FOREIGN, "another protocol's")
    if version != VERSION:
        raise WireError(Fault.VERSION, f"version {version}; this is version {VERSION}")
    try:
        kind = Kind(code)
    except ValueError:
        raise WireError(Fault.KIND, f"kind {code}") from None
    end = HEAD.size + length
    sealed = kind not in UNSEALED
    if size != end + (TAG_BYTES if sealed else 0) or (kind is Kind.LOST and length):
        raise WireError(Fault.LENGTH, f"{size} bytes where the head says {end} and a tag")
    if path >= MAX_PATHS or (not sealed and number) or (kind is Kind.HELLO and channel):
        raise WireError(Fault.FIELD, "path, number or channel")
    return Frame(kind, path, channel, number, datagram[HEAD.size : end], datagram[:end], datagram[end:])


def pack_hello(hello: Hello, path: int) -> bytes:
    """The whole datagram of a hello."""
    head = _HELLO.pack(hello.session, hello.heard, hello.name.encode("ascii"), len(hello.certificate))
    return pack(Kind.HELLO, path, 0, 0, head + hello.certificate)


def pack_lost(channel: int, path: int) -> bytes:
    """The whole datagram of a lost: smaller than anything that causes one."""
    return pack(Kind.LOST, path, channel, 0, b"")


def unpack_hello(body: bytes) -> Hello:
    """Read a hello's body. Raises :class:`WireError`."""
    _need(len(body) >= _HELLO.size, Fault.LENGTH, "a hello too short")
    session, heard, name, size = _HELLO.unpack_from(body)
    _need(len(body) == _HELLO.size + size, Fault.LENGTH, "a certificate of another length")
    _need(0 < size <= MAX_CERTIFICATE_BYTES and session != _NO_SESSION, Fault.FIELD, "session or certificate's size")
    return Hello(session, heard, _name(name), body[_HELLO.size :])


def encode(message: Message) -> tuple[Kind, bytes]:
    """The kind and the body of a message."""
    if isinstance(message, Beat):
        return Kind.BEAT, _encode_beat(message)
    if isinstance(message, SwitchTold):
        return Kind.SWITCH, encode_told(message)
    if isinstance(message, Ask):
        what, pair, node = _WHATS.index(message.what), message.pair.encode("ascii"), message.node.encode("ascii")
        told = (message.epoch, message.given, message.given_tag)
        return Kind.ASK, _ASK.pack(what, pair, node, *told, message.lease_ns, message.request)
    if isinstance(message, Grant | Denial):
        return Kind.ANSWER, _encode_answer(message)
    return Kind.CONFIRM, _CONFIRM.pack(message.mine, message.yours, message.settled)


def decode(kind: Kind, body: bytes) -> Message:
    """Read the body of a sealed kind. Raises :class:`WireError`."""
    if kind is Kind.BEAT:
        return _decode_beat(body)
    if kind is Kind.ASK:
        return _decode_ask(body)
    if kind is Kind.ANSWER:
        return _decode_answer(body)
    if kind is Kind.SWITCH:
        told = decode_told(body)
        if told is None:
            raise WireError(Fault.FIELD, "a switch's names or lengths")
        return told
    _need(kind is Kind.CONFIRM, Fault.KIND, f"{kind.name} has no sealed body")
    _need(len(body) == _CONFIRM.size, Fault.LENGTH, "a confirm of another length")
    mine, yours, settled = _CONFIRM.unpack(body)
    _need(settled <= 1 and any(mine), Fault.FIELD, "a confirm's flag or nonce")
    return Confirm(mine, yours, bool(settled))


def _encode_answer(answer: Grant | Denial) -> bytes:
    if isinstance(answer, Grant):
        return _ANSWER.pack(_GRANTED, Reason.FREE, b"", answer.epoch, answer.lease_ns, answer.request)
    holder = answer.holder.encode("ascii")
    return _ANSWER.pack(_DENIED, answer.reason, holder, answer.epoch, answer.wait_ns, answer.request)


def _encode_beat(beat: Beat) -> bytes:
    health = beat.health
    if len(beat.cursors) > MAX_CAMERAS:
        raise ValueError(f"{len(beat.cursors)} cursors; a node has at most {MAX_CAMERAS} cameras")
    bits = (beat.handover, health.clock_ok, health.hot, health.rack_ok, health.publishing, beat.late, health.broker_ok)
    flags = sum(bit << place for place, bit in enumerate(bits))
    head = _BEAT.pack(
        _ROLES.index(beat.role),
        flags,
        health.cameras,
        beat.epoch,
        beat.number,
        beat.seen,
        beat.promise_ns,
        beat.vouched,
        beat.given,
        beat.given_tag,
        len(beat.cursors),
    )
    return head + b"".join(_CURSOR.pack(cursor.camera, cursor.ptp_ns) for cursor in beat.cursors)


def _decode_beat(body: bytes) -> Beat:
    _need(len(body) >= _BEAT.size, Fault.LENGTH, "a beat too short")
    role, flags, cameras, epoch, number, seen, promise_ns, vouched, given, tag, count = _BEAT.unpack_from(body)
    _need(len(body) == _BEAT.size + count * _CURSOR.size, Fault.LENGTH, "cursors of another number")
    _need(role < len(_ROLES) and not flags & ~_FLAGS and count <= MAX_CAMERAS, Fault.FIELD, "a beat's role or flags")
    _need(max(epoch, given) <= MAX_EPOCH, Fault.FIELD, "a beat's epochs")
    cursors = tuple(CameraCursor(camera, ptp_ns) for camera, ptp_ns in _CURSOR.iter_unpack(body[_BEAT.size :]))
    _need(len({cursor.camera for cursor in cursors}) == count, Fault.FIELD, "two cursors of one camera")
    handover, clock_ok, hot, rack_ok, publishing, late, broker_ok = (bool(flags >> place & 1) for place in range(7))
    health = Health(cameras, clock_ok, hot, rack_ok, publishing, broker_ok)
    return Beat(number, _ROLES[role], epoch, health, cursors, seen, promise_ns, handover, late, vouched, given, tag)


def _decode_ask(body: bytes) -> Ask:
    _need(len(body) == _ASK.size, Fault.LENGTH, "an ask of another length")
    what, pair, node, epoch, given, tag, lease_ns, request = _ASK.unpack(body)
    _need(what < len(_WHATS) and max(epoch, given) <= MAX_EPOCH, Fault.FIELD, "what is asked, or an epoch")
    return Ask(_WHATS[what], _name(pair), _name(node), epoch, lease_ns, request, given, tag)


def _decode_answer(body: bytes) -> Grant | Denial:
    _need(len(body) == _ANSWER.size, Fault.LENGTH, "an answer of another length")
    verdict, reason, holder, epoch, duration_ns, request = _ANSWER.unpack(body)
    _need(epoch <= MAX_EPOCH and reason <= max(Reason), Fault.FIELD, "an answer's epoch or reason")
    if verdict == _GRANTED:
        _need(reason == Reason.FREE and not any(holder), Fault.FIELD, "a grant with a reason or a holder")
        return Grant(request, epoch, duration_ns)
    _need(verdict == _DENIED, Fault.FIELD, "an answer's verdict")
    return Denial(request, epoch, _name(holder) if any(holder) else "", duration_ns, Reason(reason))


def _name(field: bytes) -> str:
    name = field.rstrip(b"\0")
    _need(_NAME.fullmatch(name) is not None, Fault.FIELD, "a name that is not 1 to 16 of a-z, 0-9 and '-'")
    return name.decode("ascii")


def _need(good: bool, kind: Fault, what: str) -> None:
    if not good:
        raise WireError(kind, what)
