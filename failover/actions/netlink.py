"""rtnetlink, as little as failover needs of it: links, addresses and routes, with the kernel's own words on errors.

Pure functions pack and read messages; :class:`Rtnl` is the socket. Layouts: linux/netlink.h, rtnetlink.h, if_addr.h,
if_link.h. Our own and not pyroute2 (Apache-2.0 would do): eight messages, no dependency on the node, and every call
bounded in time.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
RTM_NEWLINK: Final = 16
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_GETROUTE: Final = 26

NLM_F_REQUEST: Final = 0x001
NLM_F_ACK: Final = 0x004
NLM_F_DUMP_INTR: Final = 0x010
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
_NLM_F_CAPPED: Final = 0x100
_NLM_F_ACK_TLVS: Final = 0x200
_NLMSGERR_ATTR_MSG: Final = 1

_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR: Final = struct.Struct("=i")
_TYPE_MASK: Final = 0x3FFF  # the two upper bits of an attribute's type say how it is packed
_RECEIVE: Final = 1 << 16
_DUMP_TRIES: Final = 5
_IFINFO: Final = struct.Struct("=BxHiII")
_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_CARRIER: Final = 33
IFF_UP: Final = 0x1


class NetlinkError(OSError):
    """The kernel refused, or answered what is no netlink; ``errno`` is its code, ``strerror`` its own words."""


@dataclass(frozen=True, slots=True)
class Message:
    """One netlink message less its header."""

    kind: int
    flags: int
    number: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """An interface: ``mac`` is empty where it has none; ``up``: switched on; ``carrier``: it has a peer."""

    index: int
    name: str
    mac: bytes
    up: bool
    carrier: bool


def pack(kind: int, flags: int, number: int, body: bytes) -> bytes:
    """Return a message with its header."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, number, 0) + body


def attribute(kind: int, data: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    size = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(size, kind) + data + bytes(-size % 4)


def unpack(data: bytes) -> Iterator[Message]:
    """The messages of one datagram. Raises NetlinkError (EBADMSG) when a length is impossible."""
    at = 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise NetlinkError(errno.EBADMSG, f"{len(data) - at} bytes are left, no whole netlink header")
        size, kind, flags, number, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size or size > len(data) - at:
            raise NetlinkError(errno.EBADMSG, f"a netlink message of {size} bytes where {len(data) - at} are left")
        yield Message(kind, flags, number, data[at + _HEADER.size : at + size])
        at += size + -size % 4


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes by their type; of one that comes twice the last. Raises NetlinkError as :func:`unpack`."""
    found, at = {}, 0
    while at < len(data):
        if len(data) - at < _ATTRIBUTE.size:
            raise NetlinkError(errno.EBADMSG, f"{len(data) - at} bytes are left, no whole attribute")
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size or size > len(data) - at:
            raise NetlinkError(errno.EBADMSG, f"an attribute of {size} bytes where {len(data) - at} are left")
        found[kind & _TYPE_MASK] = data[at + _ATTRIBUTE.size : at + size]
        at += size + -size % 4
    return found


def failure(message: Message) -> NetlinkError | None:
    """What an NLMSG_ERROR says: None for an acknowledgement, else the error with the kernel's own words."""
    if len(message.body) < _ERROR.size + _HEADER.size:
        return NetlinkError(errno.EBADMSG, "the kernel's answer is cut short")
    code = -_ERROR.unpack_from(message.body)[0]
    if code == 0:
        return None
    text = os.strerror(code)
    if message.flags & _NLM_F_ACK_TLVS:
        asked = _HEADER.unpack_from(message.body, _ERROR.size)[0]
        skip = _HEADER.size if message.flags & _NLM_F_CAPPED else asked + -asked % 4
        said = attributes(message.body[_ERROR.size + skip :]).get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0")
        if said:
            text += f" ({said.decode(errors='replace')})"
    return NetlinkError(code, text)


def link_of(message: Message) -> Link:
    """Read an RTM_NEWLINK. Raises NetlinkError when it is none."""
    if message.kind != RTM_NEWLINK or len(message.body) < _IFINFO.size:
        raise NetlinkError(errno.EBADMSG, f"message {message.kind} where a link was asked for")
    _, _, index, flags, _ = _IFINFO.unpack_from(message.body)
    found = attributes(message.body[_IFINFO.size :])
    name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
    up = bool(flags & IFF_UP)
    return Link(index, name, found.get(_IFLA_ADDRESS, b""), up, up and found.get(_IFLA_CARRIER, b"\1") != b"\0")


class Rtnl:
    """A socket to the kernel's routing part, in the network namespace of the thread that made it.

    Every call ends within ``timeout_s``, with NetlinkError (ETIMEDOUT) if need be: somebody else may hold the kernel's
    lock for seconds. One thread at a time.
    """

    def __init__(self, timeout_s: float = 1.0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._number = 0
        try:
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            self._socket.settimeout(timeout_s)
            self._socket.bind((0, 0))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Rtnl:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def change(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Ask for a change and wait for the kernel's word. Raises NetlinkError when it refuses."""
        for _ in self._ask(kind, body, flags | NLM_F_ACK):
            pass

    def dump(self, kind: int, body: bytes) -> list[Message]:
        """Return all messages of a table; asked again when the table changed meanwhile."""
        for _ in range(_DUMP_TRIES):
            found = list(self._ask(kind, body, NLM_F_DUMP))
            if not any(message.flags & NLM_F_DUMP_INTR for message in found):
                return found
        raise NetlinkError(errno.EAGAIN, "the kernel's table changed during each of five looks at it")

    def links(self) -> list[Link]:
        """All interfaces."""
        return [link_of(one) for one in self.dump(RTM_GETLINK, _IFINFO.pack(0, 0, 0, 0, 0))]

    def link(self, name: str) -> Link:
        """One interface by its name. Raises NetlinkError (ENODEV) when there is none."""
        found = next((link for link in self.links() if link.name == name), None)
        if found is None:
            raise NetlinkError(errno.ENODEV, f"there is no interface {name}")
        return found

    def switch(self, index: int, up: bool) -> None:
        """Switch an interface on or off."""
        self.change(RTM_NEWLINK, _IFINFO.pack(0, 0, index, IFF_UP if up else 0, IFF_UP))

    def _ask(self, kind: int, body: bytes, flags: int) -> Iterator[Message]:
        self._number = self._number % 0xFFFFFFFF + 1
        self._socket.send(pack(kind, NLM_F_REQUEST | flags, self._number, body))
        while True:
            try:
                data = self._socket.recv(_RECEIVE)
            except TimeoutError as error:
                raise NetlinkError(errno.ETIMEDOUT, "the kernel did not answer; its network lock is held") from error
            for message in unpack(data):
                if message.number != self._number:
                    continue  # the late answer to a question that was given up
                if message.kind == NLMSG_ERROR:
                    refused = failure(message)
                    if refused is not None:
                        raise refused
                    return
                if message.kind == NLMSG_DONE:
                    self._end_of_dump(message)
                    return
                yield message

    @staticmethod
    def _end_of_dump(message: Message) -> None:
        code = -_ERROR.unpack_from(message.body)[0] if len(message.body) >= _ERROR.size else 0
        if code > 0:
            raise NetlinkError(code, os.strerror(code))
