"""Network namespaces from inside this process: sockets there, links up and down, ports of a bridge, no fork.

A fault begins when a system call returns, not when a shell has been started; that is why ``ip`` makes the network and
ioctls change it.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from touchline.errors import ResourceError
from touchline.run import need, run

PREFIX: Final = "tlfo-"

T = TypeVar("T")

_RUN: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_SIOCGIFHWADDR: Final = 0x8927
_SIOCGIFINDEX: Final = 0x8933
_SIOCBRADDIF, _SIOCBRDELIF = 0x89A2, 0x89A3
_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_STXCSUM: Final = 0x17
_ETHTOOL_SGSO: Final = 0x24
_IFF_UP: Final = 0x1
_ESTABLISHED: Final = "01"  # in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class TcpConnection:
    """To which port, and how often what waits for an answer has been sent again."""

    port: int
    retransmits: int


class Namespace:
    """One network namespace that this process made."""

    def __init__(self, name: str) -> None:
        self.name = name
        ip("netns", "add", name)
        try:
            self._control = self.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.ip("link", "set", "lo", "up")
        except BaseException:  # also Ctrl-C: a namespace without an owner would stay
            ip("netns", "del", name)
            raise

    def ip(self, *words: str) -> None:
        """``ip -n NAME ...``"""
        ip("-n", self.name, *words)

    def inside(self) -> list[str]:
        """What to put before a command to run it here; it becomes that command, same pid."""
        return [need("ip", "iproute2"), "netns", "exec", self.name]

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that lives here."""
        return self.call(lambda: socket.socket(family, kind, protocol))

    def call(self, what: Callable[[], T]) -> T:
        """Run ``what`` in a thread that has entered this namespace."""
        return entered(self.name, what)

    def sysctl(self, key: str, value: str) -> None:
        """Set ``net.*`` here."""
        path = Path("/proc/sys") / key.replace(".", "/")
        self.call(lambda: path.write_text(value))

    def set_link(self, interface: str, *, up: bool) -> None:
        """Plug in or unplug: what hangs at the other end of a veth loses its carrier with it."""
        flags = struct.unpack_from("<h", self._ask(_SIOCGIFFLAGS, interface), 16)[0]
        flags = flags | _IFF_UP if up else flags & ~_IFF_UP
        fcntl.ioctl(self._control, _SIOCSIFFLAGS, struct.pack("<16sh14x", interface.encode(), flags))

    def set_port(self, bridge: str, interface: str, *, on: bool) -> None:
        """Make an interface a port of a bridge, or take it out."""
        index = struct.unpack_from("<i", self._ask(_SIOCGIFINDEX, interface), 16)[0]
        request = struct.pack("<16si20x", bridge.encode(), index)
        fcntl.ioctl(self._control, _SIOCBRADDIF if on else _SIOCBRDELIF, request)

    def mac(self, interface: str) -> str:
        """Its hardware address."""
        return self._ask(_SIOCGIFHWADDR, interface)[18:24].hex(":")

    def no_offload(self, interface: str) -> None:
        """Checksums are written by the sender: a packet socket in the way hands on exactly what it was given."""
        for command in (_ETHTOOL_STXCSUM, _ETHTOOL_SGSO):
            value = array.array("I", [command, 0])
            address, _ = value.buffer_info()
            fcntl.ioctl(self._control, _SIOCETHTOOL, struct.pack("<16sQ16x", interface.encode(), address))

    def connections(self) -> list[TcpConnection]:
        """Established TCP connections of its programs."""
        table = self.call(lambda: Path("/proc/thread-self/net/tcp").read_text())
        rows = (line.split() for line in table.splitlines()[1:])
        return [TcpConnection(int(row[2][-4:], 16), int(row[6], 16)) for row in rows if row[3] == _ESTABLISHED]

    def close(self) -> None:
        """Remove it and every link in it."""
        self._control.close()
        ip("netns", "del", self.name)

    def _ask(self, request: int, interface: str) -> bytes:
        return fcntl.ioctl(self._control, request, struct.pack("<16s24x", interface.encode()))


def ip(*words: str) -> None:
    """``ip ...``; raises TouchlineError with its words."""
    run([need("ip", "iproute2"), *words], timeout_s=20.0)


def sweep() -> list[str]:
    """Remove the namespaces of rigs that were killed; their names."""
    gone = []
    for path in sorted(_RUN.glob(f"{PREFIX}*")):
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            ip("netns", "del", path.name)
            gone.append(path.name)
    return gone


def why_not() -> str:
    """Why no namespaces can be made here; empty if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        probe = Namespace(f"{PREFIX}{os.getpid()}-probe")
        try:
            probe.ip("link", "add", "br0", "type", "bridge")
            probe.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
            probe.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
        finally:
            probe.close()
    except (ResourceError, OSError) as error:
        return str(error)
    return ""


def entered(name: str, what: Callable[[], T]) -> T:
    """Run ``what`` in a thread that has entered a namespace; a socket made there stays there."""
    path = _RUN / name
    done: list[T] = []
    failed: list[BaseException] = []
    libc = ctypes.CDLL(None, use_errno=True)

    def work() -> None:
        try:
            with path.open() as handle:
                if libc.setns(handle.fileno(), _CLONE_NEWNET):
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), str(path))
            done.append(what())
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            failed.append(error)

    thread = threading.Thread(target=work)  # setns changes the calling thread alone, for good: it ends with the call
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
