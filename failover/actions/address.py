"""The virtual address of the pair: taken, renewed and dropped through netlink, with the kernel itself as the fence.

The address is added with a life of whole seconds (``LIFETIME_S``) that every renewal begins anew: a service that hangs
or was killed loses it by the kernel's own hand. It is never the source of the node's own connections where the kernel
offers that (preferred life 0), since those would break with the next hand-over.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from failover.actions.netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    Link,
    Message,
    NetlinkError,
    Rtnl,
    attribute,
    attributes,
)
from touchline.errors import HardwareError, LinkError, ResourceError, TouchlineError

LIFETIME_S: Final = 2  # the kernel counts whole seconds; README.md has the measured ends
OUR_PROTOCOL: Final = 0x74  # IFA_PROTO of our addresses (Linux 5.18 and newer keep it): "t"
MAX_ADDRESSES: Final = 4

IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_IFADDR: Final = struct.Struct("=BBBBI")
_CACHEINFO: Final = struct.Struct("=IIII")
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_CACHEINFO: Final = 6
_IFA_FLAGS: Final = 8
_IFA_PROTO: Final = 11
_IFA_F_SECONDARY: Final = 0x01
_IFA_F_NODAD: Final = 0x02
_IFA_F_DADFAILED: Final = 0x08
_IFA_F_TENTATIVE: Final = 0x40
_IFA_F_PERMANENT: Final = 0x80
_FOREVER: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Found:
    """An address as the kernel has it. ``valid_s`` None: for ever; ``protocol``: IFA_PROTO, 0 where it has none."""

    index: int
    address: IPInterface
    flags: int
    valid_s: int | None
    protocol: int

    @property
    def is_ours(self) -> bool:
        """Added by a service of this kind: it runs out, soon, and bears no other's mark."""
        return self.valid_s is not None and self.valid_s <= LIFETIME_S and self.protocol in (0, OUR_PROTOCOL)


@dataclass(frozen=True, slots=True)
class Held:
    """Result of :meth:`VirtualAddress.hold`. ``new``: those that were not there before and must be announced."""

    link: Link
    new: tuple[IPInterface, ...]
    renewed: tuple[IPInterface, ...]

    def text(self) -> str:
        """For the report: what was done."""
        parts = [f"{one} taken" for one in self.new] + [f"{one} was there" for one in self.renewed]
        link = self.link.name if self.link.carrier else f"{self.link.name}, which has no link"
        return f"{', '.join(parts)} on {link}"


def parse_addresses(text: str) -> tuple[IPInterface, ...]:
    """Return the addresses of ``"192.0.2.10/24"`` or several with commas. Raises ValueError with the shape expected."""
    found = tuple(ipaddress.ip_interface(part.strip()) for part in text.split(",") if part.strip())
    if not 1 <= len(found) <= MAX_ADDRESSES:
        raise ValueError(f'{text!r}: write 1 to {MAX_ADDRESSES} addresses as "192.0.2.10/24", commas between them')
    for one in found:
        if one.ip.is_multicast or one.ip.is_loopback or one.ip.is_unspecified or one.ip.is_link_local:
            raise ValueError(f"{one.ip} cannot be a virtual address: it is multicast, loopback, link-local or zero")
    return found


def new_address(address: IPInterface, index: int, lifetime_s: int) -> bytes:
    """Body of RTM_NEWADDR: usable at once (no DAD), gone after ``lifetime_s``, not a source of our connections."""
    flags = _IFA_F_NODAD if address.version == 6 else 0
    return (
        _head(address, index, flags)
        + attribute(_IFA_CACHEINFO, _CACHEINFO.pack(0, lifetime_s, 0, 0))
        + attribute(_IFA_FLAGS, struct.pack("=I", flags))
        + attribute(_IFA_PROTO, bytes([OUR_PROTOCOL]))
    )


def old_address(address: IPInterface, index: int) -> bytes:
    """Body of RTM_DELADDR."""
    return _head(address, index, 0)


def found_of(message: Message) -> Found | None:
    """Read an RTM_NEWADDR of a dump; None for one without an IP address. Raises NetlinkError when it is damaged."""
    if message.kind != RTM_NEWADDR or len(message.body) < _IFADDR.size:
        raise NetlinkError(errno.EBADMSG, f"message {message.kind} where an address was asked for")
    family, prefix, flags, _, index = _IFADDR.unpack_from(message.body)
    said = attributes(message.body[_IFADDR.size :])
    raw = said.get(_IFA_LOCAL) or said.get(_IFA_ADDRESS) or b""
    if (family, len(raw)) not in ((socket.AF_INET, 4), (socket.AF_INET6, 16)) or prefix > 8 * len(raw):
        return None
    if len(said.get(_IFA_FLAGS, b"")) == 4:
        flags = struct.unpack("=I", said[_IFA_FLAGS])[0]
    valid_s = None
    if not flags & _IFA_F_PERMANENT and len(said.get(_IFA_CACHEINFO, b"")) == _CACHEINFO.size:
        left = _CACHEINFO.unpack(said[_IFA_CACHEINFO])[1]
        valid_s = None if left == _FOREVER else left
    address = ipaddress.ip_interface((raw, prefix))
    return Found(index, address, flags, valid_s, said.get(_IFA_PROTO, b"\0")[0])


def _head(address: IPInterface, index: int, flags: int) -> bytes:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    raw = address.ip.packed
    head = _IFADDR.pack(family, address.network.prefixlen, flags, 0, index)
    return head + attribute(_IFA_LOCAL, raw) + attribute(_IFA_ADDRESS, raw)


class VirtualAddress:
    """The addresses of a pair on one interface. One thread at a time; every call ends within ``timeout_s``.

    Raises :class:`HardwareError` where the interface is missing, :class:`ResourceError` without CAP_NET_ADMIN,
    :class:`LinkError` where somebody else gave the address to this machine or the kernel refuses.
    """

    def __init__(
        self, addresses: Sequence[IPInterface], interface: str, *, lifetime_s: int = LIFETIME_S, timeout_s: float = 1.0
    ) -> None:
        if not 1 <= lifetime_s <= LIFETIME_S:
            raise ValueError(f"lifetime_s {lifetime_s}: 1 to {LIFETIME_S}")
        self.addresses = tuple(addresses)
        self.interface = interface
        self._lifetime_s = lifetime_s
        self._timeout_s = timeout_s

    def hold(self) -> Held:
        """Take or renew; afterwards each address is there and usable, which is looked at, not assumed."""
        with self._open() as rtnl:
            link = self._link(rtnl)
            before = self._ours(rtnl, link)
            for address in self.addresses:
                self._change(rtnl, RTM_NEWADDR, new_address(address, link.index, self._lifetime_s), address)
            there = {one.address: one for one in _table(rtnl) if one.index == link.index}
        for address in self.addresses:
            found = there.get(address)
            if found is None or found.flags & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED):
                state = "is not there" if found is None else "is not usable: the kernel still looks for another owner"
                raise LinkError(f"{address} was added to {self.interface} and {state}", hint="see ip address, dmesg")
        new = tuple(one for one in self.addresses if one not in before)
        return Held(link, new, tuple(one for one in self.addresses if one in before))

    def drop(self) -> tuple[IPInterface, ...]:
        """Give up; returns what was there. An interface that is gone took its addresses with it."""
        with self._open() as rtnl:
            link = next((one for one in rtnl.links() if one.name == self.interface), None)
            if link is None:
                return ()
            there = [one.address for one in _table(rtnl) if one.index == link.index and one.is_ours]
            dropped = tuple(one for one in self.addresses if one in there)
            for address in dropped:
                try:
                    self._change(rtnl, RTM_DELADDR, old_address(address, link.index), address)
                except LinkError as error:
                    if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EADDRNOTAVAIL:
                        raise
            return dropped

    def check(self) -> list[str]:
        """Look whether it could be taken, changing nothing; returns warnings, raises what :meth:`hold` would.

        Whether the kernel lets us is asked by removing an address that is not there.
        """
        warnings = []
        with self._open() as rtnl:
            link = self._link(rtnl)
            ours = self._ours(rtnl, link)
            beside = [one.address for one in _table(rtnl) if one.index == link.index and one.address not in ours]
            nobody = ipaddress.ip_interface("192.0.2.255/32")
            with contextlib.suppress(LinkError):  # as it should be: there is no such address
                self._change(rtnl, RTM_DELADDR, old_address(nobody, link.index), nobody)
        if not link.up:
            warnings.append(f"{self.interface} is switched off: nobody could reach the address")
        for address in self.addresses:
            alone = not any(one.ip in address.network for one in beside)
            if address.version == 4 and address.network.prefixlen < 32 and alone and not _promotes(self.interface):
                warnings.append(
                    f"{address} would be the first of its network on {self.interface}, and the kernel drops the later "
                    f"ones with it: set net.ipv4.conf.{self.interface}.promote_secondaries=1 or write /32"
                )
        return warnings

    def _open(self) -> Rtnl:
        try:
            return Rtnl(self._timeout_s)
        except OSError as error:
            raise ResourceError(
                f"no netlink socket: {error.strerror}", hint="allow AF_NETLINK in RestrictAddressFamilies of the unit"
            ) from error

    def _link(self, rtnl: Rtnl) -> Link:
        links = rtnl.links()
        found = next((link for link in links if link.name == self.interface), None)
        if found is None:
            names = ", ".join(sorted(link.name for link in links if link.name != "lo")) or "none but lo"
            raise HardwareError(
                f"there is no interface {self.interface} for the virtual address",
                hint=f"set [failover] address_interface to one of: {names}",
            )
        return found

    def _ours(self, rtnl: Rtnl, link: Link) -> list[IPInterface]:
        """Those that we hold already. Raises LinkError for one that somebody else gave to this machine."""
        ours = []
        for one in _table(rtnl):
            mine = next((address for address in self.addresses if address.ip == one.address.ip), None)
            if mine is None:
                continue
            if one.index == link.index and one.address == mine and one.is_ours:
                ours.append(mine)
                continue
            name = next((other.name for other in rtnl.links() if other.index == one.index), f"interface {one.index}")
            life = "for ever" if one.valid_s is None else f"for {one.valid_s} s more"
            raise LinkError(
                f"{one.address} is on {name} {life}, and we did not put it there",
                hint=f"take it out of this machine's network configuration and run: ip address del {one.address} "
                f"dev {name}",
            )
        return ours

    def _change(self, rtnl: Rtnl, kind: int, body: bytes, address: IPInterface) -> None:
        flags = NLM_F_CREATE | NLM_F_REPLACE if kind == RTM_NEWADDR else 0
        try:
            rtnl.change(kind, body, flags)
        except NetlinkError as error:
            raise _explained(error, address, self.interface) from error


def _table(rtnl: Rtnl) -> list[Found]:
    found = (found_of(one) for one in rtnl.dump(RTM_GETADDR, _IFADDR.pack(0, 0, 0, 0, 0)))
    return [one for one in found if one is not None]


def _explained(error: NetlinkError, address: IPInterface, interface: str) -> TouchlineError:
    if error.errno == errno.EPERM:
        return ResourceError(
            f"{address} on {interface}: this process may not change addresses",
            hint="give the service CAP_NET_ADMIN (AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in its unit)",
        )
    if error.errno == errno.ENODEV:
        return HardwareError(f"{interface} disappeared while {address} was changed", hint="look at its driver's log")
    if address.version == 6 and error.errno in (errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL):
        return LinkError(
            f"{address} on {interface}: {error.strerror}",
            hint=f"switch IPv6 on: sysctl net.ipv6.conf.{interface}.disable_ipv6=0",
        )
    return LinkError(f"{address} on {interface}: {error.strerror}", hint="see ip address and dmesg")


def _promotes(interface: str) -> bool:
    """Whether the kernel keeps the other addresses of a network when its first one goes."""
    for name in ("all", interface):
        try:
            if Path(f"/proc/sys/net/ipv4/conf/{name}/promote_secondaries").read_text().strip() == "1":
                return True
        except OSError:
            continue
    return False
