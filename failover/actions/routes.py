"""What the kernel forgets when an interface is switched off, kept so that it can be put back: routes and addresses.

Switching off removes every route through the interface that is not of its own addresses, and all IPv6 addresses.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from failover.actions.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_GETADDR,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWROUTE,
    Message,
    NetlinkError,
    Rtnl,
    attribute,
    attributes,
)

_RTMSG: Final = struct.Struct("=BBBBBBBBI")
_IFADDR: Final = struct.Struct("=BBBBI")
_NEXT_HOP: Final = struct.Struct("=HBBi")
_RTA_OIF: Final = 4
_RTA_MULTIPATH: Final = 9
_RTA_CACHEINFO: Final = 12
_RTPROT_KERNEL: Final = 2
_RTPROT_RA: Final = 9
_RTM_F_CLONED: Final = 0x200
_RTNH_F_ONLINK: Final = 4
_IFA_CACHEINFO: Final = 6
_IFA_FLAGS: Final = 8
_IFA_F_NODAD: Final = 0x02
_IFA_F_PERMANENT: Final = 0x80
_IFA_F_STATE: Final = 0x68  # tentative, deprecated, DAD failed: of the moment
_SCOPE_LINK: Final = 253


@dataclass(frozen=True, slots=True)
class Kept:
    """A message that puts back what was there."""

    kind: int
    body: bytes


def kept_of(message: Message, indexes: Collection[int]) -> Kept | None:
    """What of a dumped message has to be put back once these interfaces are up again; None: the kernel does that.

    Routes of the kernel's own and of router advertisements come back by themselves, as do IPv4 and link-local
    addresses. Raises NetlinkError when the message is damaged.
    """
    if message.kind == RTM_NEWROUTE and len(message.body) >= _RTMSG.size:
        return _kept_route(message.body, indexes)
    if message.kind == RTM_NEWADDR and len(message.body) >= _IFADDR.size:
        return _kept_address(message.body, indexes)
    return None


def snapshot(rtnl: Rtnl, indexes: Collection[int]) -> list[Kept]:
    """Return what must be put back after these interfaces were down, in the order in which it can be."""
    dumped = rtnl.dump(RTM_GETADDR, _IFADDR.pack(socket.AF_INET6, 0, 0, 0, 0))
    for family in (socket.AF_INET, socket.AF_INET6):
        dumped += rtnl.dump(RTM_GETROUTE, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
    found = [kept for kept in (kept_of(one, indexes) for one in dumped) if kept is not None]
    return sorted(found, key=_order)


def put_back(rtnl: Rtnl, kept: Sequence[Kept]) -> list[tuple[Kept, NetlinkError]]:
    """Put back; returns what the kernel would not take. What is there already is no failure."""
    refused = []
    for one in kept:
        try:
            rtnl.change(one.kind, one.body, NLM_F_CREATE | NLM_F_EXCL)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                refused.append((one, error))
    return refused


def _order(kept: Kept) -> tuple[int, int]:
    """Addresses, then routes to neighbours, then those by way of them."""
    if kept.kind == RTM_NEWADDR:
        return 0, 0
    scope = _RTMSG.unpack_from(kept.body)[6]
    return 1, 0 if scope == _SCOPE_LINK else 1 if 5 not in attributes(kept.body[_RTMSG.size :]) else 2


def _kept_route(body: bytes, indexes: Collection[int]) -> Kept | None:
    fields = _RTMSG.unpack_from(body)
    protocol, flags = fields[5], fields[8]
    found = attributes(body[_RTMSG.size :])
    if protocol in (_RTPROT_KERNEL, _RTPROT_RA) or flags & _RTM_F_CLONED or not set(_ways(found)) & set(indexes):
        return None
    rest = b"".join(attribute(kind, data) for kind, data in found.items() if kind != _RTA_CACHEINFO)
    return Kept(RTM_NEWROUTE, _RTMSG.pack(*fields[:8], flags & _RTNH_F_ONLINK) + rest)


def _ways(found: dict[int, bytes]) -> Iterator[int]:
    """The interfaces of a route."""
    if len(found.get(_RTA_OIF, b"")) == 4:
        yield struct.unpack("=i", found[_RTA_OIF])[0]
    hops, at = found.get(_RTA_MULTIPATH, b""), 0
    while len(hops) - at >= _NEXT_HOP.size:
        size, _, _, index = _NEXT_HOP.unpack_from(hops, at)
        if size < _NEXT_HOP.size:
            raise NetlinkError(errno.EBADMSG, f"a next hop of {size} bytes")
        yield index
        at += size + -size % 4


def _kept_address(body: bytes, indexes: Collection[int]) -> Kept | None:
    family, prefix, short, scope, index = _IFADDR.unpack_from(body)
    found = attributes(body[_IFADDR.size :])
    flags = struct.unpack("=I", found[_IFA_FLAGS])[0] if len(found.get(_IFA_FLAGS, b"")) == 4 else short
    if family != socket.AF_INET6 or index not in indexes or scope == _SCOPE_LINK or not flags & _IFA_F_PERMANENT:
        return None
    flags = (flags & ~(_IFA_F_PERMANENT | _IFA_F_STATE)) | _IFA_F_NODAD
    rest = b"".join(attribute(kind, data) for kind, data in found.items() if kind not in (_IFA_CACHEINFO, _IFA_FLAGS))
    head = _IFADDR.pack(family, prefix, flags & 0xFF, scope, index)
    return Kept(RTM_NEWADDR, head + rest + attribute(_IFA_FLAGS, struct.pack("=I", flags)))
