"""Fuzz the datagrams of failover: whatever the bytes, a message or a WireError, and one encoding only. ``--help``.

Most inputs are a body behind a true head: plain mutation rarely gets magic, version and length right together, and what
is authentic and out of its mind is past those anyway.
"""

from __future__ import annotations

import json
from typing import Final

import atheris

from failover.core.step import initial, step
from failover.core.types import NS_PER_MS, Beat, BeatHeard, Settings
from tests.fuzz.run import VECTORS, fuzz

with atheris.instrument_imports(include=["failover.wire", "failover.witness"]):
    from failover.wire.beats import (
        HEAD,
        TAG_BYTES,
        UNSEALED,
        Ask,
        Kind,
        WireError,
        decode,
        encode,
        pack,
        pack_hello,
        pack_lost,
        split,
        unpack_hello,
    )
    from failover.wire.seal import Channel, Keys
    from failover.witness.core import Holder, LeaseTable

KINDS: Final = tuple(Kind)
GOLDEN: Final = VECTORS / "failover_wire_v1.json"
_NOW_NS: Final = 10_000 * NS_PER_MS
_CHANNEL: Final = Channel(Keys(7, bytes(32), bytes(32)), bytes(16), bytes(8))


class _Epochs:
    """Epochs that need no disk."""

    def take(self, above: int) -> int | None:
        return above + 1


def _gave(holder: Holder, ask: Ask) -> bool:
    """Whether the word is the holder's, under a channel's key."""
    return _CHANNEL.gave(ask.pair, ask.given, ask.given_tag)


def behind_a_head(data: bytes) -> bytes:
    """The same bytes as the body of a datagram, its kind, path and length made right."""
    kind = KINDS[data[0] % len(KINDS)] if data else Kind.BEAT
    body = data[1:1000]
    return pack(kind, 0, 7, 0 if kind in UNSEALED else 9, body) + (b"" if kind in UNSEALED else bytes(TAG_BYTES))


def check(data: bytes) -> None:
    """One datagram: refused, or the only encoding of what it says; and what it says stops neither core nor witness."""
    try:
        frame = split(data)
        if frame.kind is Kind.HELLO:
            again = pack_hello(unpack_hello(frame.body), frame.path)
        elif frame.kind is Kind.LOST:
            again = pack_lost(frame.channel, frame.path)
        else:
            message = decode(frame.kind, frame.body)
            assert encode(message) == (frame.kind, frame.body)
            again = data
            if isinstance(message, Beat):
                step(initial(Settings("a", "b"), _NOW_NS), BeatHeard(message), _NOW_NS + NS_PER_MS)
            elif isinstance(message, Ask):
                table = LeaseTable(_Epochs(), 0, 100 * NS_PER_MS, _gave)
                encode(table.ask(Ask("claim", message.pair, "b", 0, message.lease_ns, 1), bytes(16), _NOW_NS))
                encode(table.ask(message, bytes(16), _NOW_NS))
    except WireError:
        return
    assert again == data


def one_input(data: bytes) -> None:
    """Entry point that libFuzzer calls."""
    check(data[1:] if data[:1] and data[0] & 7 == 0 else behind_a_head(data[1:]))


def seeds() -> dict[str, bytes]:
    """The golden datagrams, as they are and as bodies."""
    golden = json.loads(GOLDEN.read_text())
    found: dict[str, bytes] = {}
    for name, text in {**golden["sealed"], "hello": golden["hello"], "lost": golden["lost"]}.items():
        data = bytes.fromhex(text)
        found[name] = b"\0" + data
        kind = KINDS.index(Kind(data[4]))
        found[f"{name}-body"] = bytes([1, kind]) + data[HEAD.size : HEAD.size + int.from_bytes(data[6:8], "little")]
    return found


def main() -> None:
    """Run for a bounded time over the golden vectors' mutations."""
    fuzz("tests.fuzz.failover", __doc__ or "", one_input, seeds())


if __name__ == "__main__":
    main()
