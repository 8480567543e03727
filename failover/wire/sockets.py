"""UDP sockets of failover: non-blocking, marked as urgent, and there before their interface is."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Final

from failover.wire.beats import MAX_DATAGRAM_BYTES
from touchline.config.failover import split_address
from touchline.errors import LinkError, ResourceError

MAX_AT_ONCE: Final = 32  # datagrams taken in one turn
_EXPEDITED: Final = 0xB8  # DSCP EF (RFC 3246) in the TOS byte: a switch that knows it lets beats pass the video
_PRIORITY: Final = 6  # the highest that needs no privilege
_IP_FREEBIND: Final = 15  # linux/in.h
_IPV6_FREEBIND: Final = 78  # linux/in6.h

Address = tuple[Any, ...]


def resolve(text: str, key: str) -> tuple[socket.AddressFamily, Address]:
    """Family and address of ``host:port``; looked up once, at the start. Raises LinkError."""
    return look_up(*split_address(text), key)


def look_up(host: str, port: int, key: str) -> tuple[socket.AddressFamily, Address]:
    """Family and address of a host and a port. Raises LinkError: a name server may come later, so a restart helps."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise LinkError(
            f"{key}: {host} cannot be found: {error.strerror}", hint="write the address as a number; names need DNS"
        ) from error
    return found[0][0], found[0][4]


def open_socket(family: socket.AddressFamily, ours: Address | None, key: str) -> socket.socket:
    """A socket bound to ``ours``, which need not be up yet (None: a free port of any address).

    Raises ResourceError when the port is taken.
    """
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    v6 = family == socket.AF_INET6
    for level, option, value in (
        (socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1) if v6 else (socket.IPPROTO_IP, _IP_FREEBIND, 1),
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _EXPEDITED) if v6 else (socket.IPPROTO_IP, socket.IP_TOS, _EXPEDITED),
        (socket.SOL_SOCKET, socket.SO_PRIORITY, _PRIORITY),
    ):
        with suppress(OSError):  # a kernel without it still carries the beats
            made.setsockopt(level, option, value)
    try:
        if ours is not None:
            made.bind(ours)
    except OSError as error:
        made.close()
        raise ResourceError(
            f"{key}: {ours} cannot be used: {error.strerror}", hint="is another one running? name a free port of ours"
        ) from error
    return made


def drain(source: socket.socket) -> list[tuple[bytes, Address]]:
    """What has arrived, at most 32 datagrams. One that is too long comes cut to a byte over the limit."""
    found: list[tuple[bytes, Address]] = []
    while len(found) < MAX_AT_ONCE:
        try:
            found.append(source.recvfrom(MAX_DATAGRAM_BYTES + 1))
        except BlockingIOError:
            break
        except OSError:  # an interface that went down reports here what it could not send; nothing arrived
            break
    return found


def send(through: socket.socket, datagram: bytes, to: Address) -> bool:
    """Send without waiting; False when the kernel would not (no route, link down, queue full)."""
    try:
        through.sendto(datagram, to)
    except OSError:
        return False
    return True
