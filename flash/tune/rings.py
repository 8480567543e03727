"""A network card's packet rings by SIOCETHTOOL (linux/ethtool.h): how many packets wait for the CPU before one is lost.

The ring lies between the card and everything of ours: a burst that finds it full is gone before any socket buffer.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import re
import socket
import struct
from dataclasses import dataclass, replace
from typing import Final, Protocol

INTERFACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")  # IFNAMSIZ is 16 with the closing zero
_SIOCETHTOOL: Final = 0x8946
_GET, _SET = 0x10, 0x11  # ETHTOOL_GRINGPARAM, ETHTOOL_SRINGPARAM
_RINGPARAM: Final = struct.Struct("=9I")  # cmd; most of rx, mini, jumbo, tx; now of rx, mini, jumbo, tx
_REQUEST: Final = struct.Struct("@16sP16x")  # struct ifreq: name, and a pointer in a union of 24 bytes


@dataclass(frozen=True, slots=True)
class Ring:
    """Packets that wait: ``rx`` and ``rx_most`` of receiving, the others as the kernel gave them."""

    rx: int
    rx_most: int
    others: tuple[int, int, int] = (0, 0, 0)  # mini, jumbo, tx: handed back as they are
    others_most: tuple[int, int, int] = (0, 0, 0)


class RingPort(Protocol):
    """Where rings are read and set. Both raise OSError with the kernel's reason; EOPNOTSUPP: the driver has none."""

    def look(self, interface: str) -> Ring:
        """The rings of an interface."""
        ...

    def set_rx(self, interface: str, packets: int) -> None:
        """Set the receive ring and leave the others. The link may go down for a moment."""
        ...


def pack(command: int, ring: Ring) -> bytes:
    """struct ethtool_ringparam."""
    return _RINGPARAM.pack(command, ring.rx_most, *ring.others_most, ring.rx, *ring.others)


def unpack(raw: bytes) -> Ring:
    """What ETHTOOL_GRINGPARAM answered."""
    _, rx_most, mini_most, jumbo_most, tx_most, rx, mini, jumbo, tx = _RINGPARAM.unpack(raw)
    return Ring(rx, rx_most, (mini, jumbo, tx), (mini_most, jumbo_most, tx_most))


class KernelRings:
    """This machine's. Any socket will do for the question, so it is one that reaches no network."""

    def look(self, interface: str) -> Ring:
        """The rings of an interface; EOPNOTSUPP also for a driver that knows the question and has no ring."""
        ring = unpack(self._ask(interface, pack(_GET, Ring(0, 0))))
        if ring.rx_most == 0:
            raise OSError(errno.EOPNOTSUPP, "no receive ring", interface)
        return ring

    def set_rx(self, interface: str, packets: int) -> None:
        """Set the receive ring; needs CAP_NET_ADMIN."""
        self._ask(interface, pack(_SET, replace(self.look(interface), rx=packets)))

    @staticmethod
    def _ask(interface: str, raw: bytes) -> bytes:
        if not INTERFACE.fullmatch(interface):
            raise OSError(errno.ENODEV, "no name of an interface", interface)
        room = ctypes.create_string_buffer(raw, len(raw))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asker:
            fcntl.ioctl(asker, _SIOCETHTOOL, _REQUEST.pack(interface.encode(), ctypes.addressof(room)))
        return room.raw


# --- as files -----------------------------------------------------------------------------------------------------

_PATH: Final = re.compile(r"ethtool:(" + INTERFACE.pattern + r")/rx")


def rx_path(interface: str) -> str:
    """What stands for a path where the kernel has no file: ``ethtool:eth0/rx``."""
    return f"ethtool:{interface}/rx"


def interface_of(path: str) -> str | None:
    """The interface of such a path; None for a real one."""
    match = _PATH.fullmatch(path)
    return None if match is None else match[1]
