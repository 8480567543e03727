"""A channel: the key that two sessions share, the tag on each datagram, and which number comes next.

The key is HKDF-SHA256 (RFC 5869) over the secret of the two certificates' keys, salted with both random session ids:
what was recorded in an earlier session of either side verifies nowhere. Each direction has its own key, so nothing can
be sent back to its sender. A tag is the first 16 bytes of HMAC-SHA256 over head and body. Pure: no socket, no clock.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from failover.wire.beats import NONCE_BYTES, TAG_BYTES, VERSION, Frame, Kind, pack

_PROTOCOL: Final = b"touchline failover"
_KEY_BYTES: Final = 32
_GIVEN: Final = struct.Struct("<6s16sQ")  # begins as no datagram does, so that neither can pass for the other


@dataclass(frozen=True, slots=True)
class End:
    """One end of a channel: the name in its certificate, and its session id."""

    name: str
    session: bytes


@dataclass(frozen=True, slots=True)
class Keys:
    """What both ends compute alike: the channel's public id, and a key for each direction."""

    channel: int
    sending: bytes
    receiving: bytes


def derive(secret: bytes, ours: End, theirs: End) -> Keys:
    """The keys between two ends, as seen from ours. The lower name's sending key comes first."""
    low, high = sorted((ours, theirs), key=lambda end: end.name)
    names = b"".join(bytes([len(end.name)]) + end.name.encode("ascii") for end in (low, high))
    info = _PROTOCOL + bytes([VERSION]) + names
    hkdf = HKDF(hashes.SHA256(), 2 * _KEY_BYTES + 8, low.session + high.session, info)
    made = hkdf.derive(secret)
    from_low, from_high = made[:_KEY_BYTES], made[_KEY_BYTES : 2 * _KEY_BYTES]
    channel = int.from_bytes(made[2 * _KEY_BYTES :], "little") or 1  # 0 stands for "none" in a head
    sending, receiving = (from_low, from_high) if ours is low else (from_high, from_low)
    return Keys(channel, sending, receiving)


@dataclass(slots=True)
class Channel:
    """One session of ours with one session of a peer.

    ``highest``: the highest number delivered. ``nonce`` is ours, ``theirs`` the peer's (empty: not heard yet); a peer
    that echoes ours under the channel's key lives now, and is no recording.
    """

    keys: Keys
    session: bytes
    nonce: bytes
    theirs: bytes = bytes(NONCE_BYTES)
    highest: int = 0
    sent: int = 0
    made_ns: int = 0

    def next_number(self) -> int:
        """The number of what is sent next; copies over several paths share it."""
        self.sent += 1
        return self.sent

    def seal(self, kind: Kind, path: int, number: int, body: bytes) -> bytes:
        """The whole datagram, with its tag."""
        signed = pack(kind, path, self.keys.channel, number, body)
        return signed + hmac.digest(self.keys.sending, signed, "sha256")[:TAG_BYTES]

    def verify(self, frame: Frame) -> bool:
        """Whether the peer made this datagram in this session."""
        made = hmac.digest(self.keys.receiving, frame.signed, "sha256")[:TAG_BYTES]
        return hmac.compare_digest(made, frame.tag)

    def give(self, pair: str, epoch: int) -> bytes:
        """Our word to the peer, by whomever it comes there, that we gave back the lease of this epoch."""
        return _given_tag(self.keys.sending, pair, epoch)

    def gave(self, pair: str, epoch: int, tag: bytes) -> bool:
        """Whether the peer gave that word in this session."""
        return hmac.compare_digest(_given_tag(self.keys.receiving, pair, epoch), tag)


def _given_tag(key: bytes, pair: str, epoch: int) -> bytes:
    return hmac.digest(key, _GIVEN.pack(b"given ", pair.encode("ascii"), epoch), "sha256")[:TAG_BYTES]
