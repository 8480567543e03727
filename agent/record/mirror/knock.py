"""Is the twin's receiver there, is it the twin's, and does it know us? Asked without disturbing its mirror."""

from __future__ import annotations

import select
import socket
from typing import Final

from agent.record.mirror.channel import Channel
from agent.record.mirror.tls import Identity
from touchline.config.failover import split_address
from touchline.errors import LinkError
from touchline.timeline import monotonic_ns

_CONNECT_S: Final = 2.0
_REFUSAL_NS: Final = 300_000_000  # with TLS 1.3 the other end looks at our certificate after the handshake
_HINT: Final = "is its agent running with [record] mirror_listen there, and may this node through the firewall?"


def knock(address: str, identity: Identity) -> float:
    """Shake hands at ``host:port`` and leave without HELLO; the handshake took so many ms. Raises LinkError."""
    begin_ns = monotonic_ns()
    try:
        link = socket.create_connection(split_address(address), _CONNECT_S)
    except OSError as error:
        raise LinkError(f"the twin's mirror at {address} cannot be reached: {error}", hint=_HINT) from error
    channel = Channel(link, identity, server_side=False)
    try:
        while not channel.ready:
            _wait(channel, 100_000_000)
        took_ns = monotonic_ns() - begin_ns
        until_ns = monotonic_ns() + _REFUSAL_NS
        while (left_ns := until_ns - monotonic_ns()) > 0:
            _wait(channel, left_ns)
    except LinkError as error:
        raise LinkError(f"the twin's mirror at {address}: {error.message}", hint=error.hint or _HINT) from error
    finally:
        channel.close()
    return took_ns / 1e6


def _wait(channel: Channel, most_ns: int) -> None:
    writing = [channel.fileno()] if channel.wants_write else []
    select.select([channel.fileno()], writing, [], most_ns / 1e9)
    channel.pump()
