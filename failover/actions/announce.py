"""Telling the network where the virtual address is now: gratuitous ARP and unsolicited neighbour advertisements.

Frames are built by pure functions, whole from the Ethernet header on, and leave through one packet socket. An
announcement is a schedule: the caller's loop asks what is due. The burst tells whoever listens; the tail goes on until
the kernel of a hung twin, which still answers for the address, has dropped it (``LIFETIME_S`` and its rounding).
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Sequence
from typing import Final

from failover.actions.address import IPInterface
from failover.core.types import NS_PER_MS
from touchline.errors import HardwareError, LinkError, ResourceError, TouchlineError

BURST_MS: Final = (0, 10, 30, 60, 100)  # five times: one lost frame, or four, matter to nobody
TAIL_MS: Final = (250, 500, 1_000, 1_500, 2_000, 2_500, 3_000, 3_500)  # a hung twin's address lives that long
REFRESH_MS: Final = 30_000  # and now and then, for a switch that lost its table; callers renew with refresh()

_BROADCAST: Final = b"\xff" * 6
_ALL_NODES_MAC: Final = bytes.fromhex("333300000001")  # RFC 2464, section 7
_ALL_NODES: Final = ipaddress.IPv6Address("ff02::1").packed
_ETHERTYPE_ARP: Final = b"\x08\x06"
_ETHERTYPE_IPV6: Final = b"\x86\xdd"
_ETHERNET_LEAST: Final = 60  # bytes without the check sequence
_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_IPV6: Final = struct.Struct("!IHBB16s16s")
_ICMPV6: Final = 58
_NEIGHBOUR_ADVERTISEMENT: Final = 136
_OVERRIDE: Final = 0x20000000
_ARP_REQUEST: Final = 1
_ARP_REPLY: Final = 2


def arp_frame(mac: bytes, address: ipaddress.IPv4Address, operation: int) -> bytes:
    """Return a gratuitous ARP: sender and target are ``address``.

    The request is RFC 5227's announcement (target hardware address zero); in the reply it is ours (RFC 5944, 4.6).
    """
    _check_mac(mac)
    target = mac if operation == _ARP_REPLY else bytes(6)
    body = _ARP.pack(1, 0x0800, 6, 4, operation, mac, address.packed, target, address.packed)
    return (_BROADCAST + mac + _ETHERTYPE_ARP + body).ljust(_ETHERNET_LEAST, b"\0")


def advertisement_frame(mac: bytes, address: ipaddress.IPv6Address) -> bytes:
    """Return an unsolicited neighbour advertisement to all nodes, override set (RFC 4861, 4.4 and 7.2.6).

    The router flag is 0: the virtual address is a host's.
    """
    _check_mac(mac)
    option = struct.pack("!BB6s", 2, 1, mac)
    head = struct.pack("!BBHI", _NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE)
    message = head + address.packed + option
    pseudo = address.packed + _ALL_NODES + struct.pack("!II", len(message), _ICMPV6)
    message = message[:2] + struct.pack("!H", internet_checksum(pseudo + message)) + message[4:]
    packet = _IPV6.pack(6 << 28, len(message), _ICMPV6, 255, address.packed, _ALL_NODES) + message
    return _ALL_NODES_MAC + mac + _ETHERTYPE_IPV6 + packet


def frames(mac: bytes, addresses: Sequence[IPInterface]) -> tuple[bytes, ...]:
    """What is sent each time: both forms of ARP for IPv4, since hosts differ in which they learn from."""
    found: list[bytes] = []
    for one in addresses:
        if isinstance(one.ip, ipaddress.IPv4Address):
            found += [arp_frame(mac, one.ip, _ARP_REQUEST), arp_frame(mac, one.ip, _ARP_REPLY)]
        else:
            found.append(advertisement_frame(mac, one.ip))
    return tuple(found)


def internet_checksum(data: bytes) -> int:
    """RFC 1071: the complement of the ones' complement sum of 16-bit words."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _check_mac(mac: bytes) -> None:
    if len(mac) != 6 or mac == bytes(6) or mac[0] & 1:
        raise ValueError(f"{mac.hex(':') or 'nothing'} is no Ethernet address of one interface")


class Announcement:
    """One announcement's times; pure. Late ones are made up for by one frame set, never by a burst of them."""

    def __init__(self, begun_ns: int, times_ms: Sequence[int] = (*BURST_MS, *TAIL_MS)) -> None:
        self._times_ns = [begun_ns + one * NS_PER_MS for one in sorted(times_ms)]
        self._at = 0

    @property
    def next_ns(self) -> int | None:
        """When it is to be sent next; None: it is over."""
        return self._times_ns[self._at] if self._at < len(self._times_ns) else None

    def due(self, now_ns: int) -> bool:
        """Whether to send now."""
        before = self._at
        while self._at < len(self._times_ns) and self._times_ns[self._at] <= now_ns:
            self._at += 1
        return self._at > before

    def refresh(self, now_ns: int) -> None:
        """Once more in ``REFRESH_MS``, when the schedule is over."""
        if self.next_ns is None:
            self._times_ns, self._at = [now_ns + REFRESH_MS * NS_PER_MS], 0


class PacketSocket:
    """Sends whole frames on one interface and never waits; receives nothing."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        except OSError as error:
            raise _explained(error, interface) from error
        try:
            self._socket.setblocking(False)
            self._socket.bind((interface, 0))
        except OSError as error:
            self._socket.close()
            raise _explained(error, interface) from error

    def send(self, wanted: Sequence[bytes]) -> int:
        """Send the frames; returns how many left. Raises when none did."""
        left, failed = 0, None
        for frame in wanted:
            try:
                self._socket.send(frame)
                left += 1
            except OSError as error:
                failed = error
        if failed is not None and not left:
            raise _explained(failed, self._interface) from failed
        return left

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _explained(error: OSError, interface: str) -> TouchlineError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return ResourceError(
            "this process may not send whole frames, so a moved address could not be announced",
            hint="give the service CAP_NET_RAW (AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in its unit)",
        )
    if error.errno == errno.EAFNOSUPPORT:
        return ResourceError(
            "packet sockets are not allowed here", hint="add AF_PACKET to RestrictAddressFamilies of the unit"
        )
    if error.errno in (errno.ENODEV, errno.ENXIO):
        return HardwareError(
            f"there is no interface {interface} to announce on", hint="set [failover] address_interface (ip link)"
        )
    if error.errno == errno.ENETDOWN:
        return LinkError(f"{interface} is switched off: nothing can be announced", hint=f"ip link set {interface} up")
    return LinkError(f"announcing on {interface}: {error.strerror}", hint="see ip link and dmesg")
