"""One virtual network: a namespace with a bridge, the rack's address on it, a tap for each node."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from hil.virtual.machine.process import ProcessId, alive, identify
from hil.virtual.ports import RACK_ADDRESS
from touchline.errors import ResourceError, TouchlineError
from touchline.run import need, run

PREFIX: Final = "tlv-"
BRIDGE: Final = "rack0"
RACK_MAC: Final = "52:54:00:77:00:01"
"""Always the same: a node restored from a snapshot has it in its neighbour table and would miss another for 30 s."""

_PREFIX_BITS: Final = 24

_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
_TUNSETIFF: Final = 0x400454CA  # linux/if_tun.h
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_NAMESPACES: Final = Path("/run/netns")
_LOCK: Final = Path("/run/touchline-network.lock")
_LONGEST_INTERFACE: Final = 15


@dataclass(frozen=True, slots=True)
class NetworkState:
    """What is known of a namespace: is the owner written on it dead, do nodes hang on it, does something run in it."""

    name: str
    owner_dead: bool
    taps: int
    processes: int

    @property
    def stale(self) -> bool:
        """Nobody needs it any more: its owner is dead and nothing is plugged in or running there."""
        return self.owner_dead and self.taps == 0 and self.processes == 0


class Network:
    """The namespace ``tlv-<name>``. Use as a context manager, or :meth:`open` and :meth:`close`.

    Needs root and /dev/net/tun. What only runs on the rack side is started inside; QEMU itself stays outside and gets
    an open tap, which disappears with it.
    """

    def __init__(self, name: str) -> None:
        self.namespace = f"{PREFIX}{name}"

    def open(self) -> Network:
        """Make it. Raises ResourceError without the right to, or when the name is taken by a living owner."""
        check_host()
        ip = need("ip", "iproute2")
        with _one_at_a_time():
            _sweep()
            self._make(ip)
        return self

    def _make(self, ip: str) -> None:
        if self.namespace in namespaces():
            state = inspect(self.namespace)
            raise ResourceError(
                f"the network {self.namespace} is in use ({state.taps} nodes, {state.processes} processes)",
                hint="destroy that node, or choose another name",
            )
        run([ip, "netns", "add", self.namespace])
        owner = identify(os.getpid())
        try:
            here = [ip, "-n", self.namespace]
            run([*here, "link", "set", "lo", "up"])
            run([*here, "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"])
            run([*here, "link", "set", BRIDGE, "address", RACK_MAC])
            run([*here, "link", "set", BRIDGE, "alias", f"owner {owner.pid} {owner.start_ticks}"])
            run([*here, "addr", "add", f"{RACK_ADDRESS}/{_PREFIX_BITS}", "dev", BRIDGE])
            run([*here, "link", "set", BRIDGE, "up"])
        except TouchlineError:
            _delete(self.namespace)
            raise

    def open_tap(self, seat: str) -> int:
        """Make the tap of a seat on the bridge and return it open; close it here once QEMU has inherited it."""
        name = f"tap-{seat}"
        if len(name) > _LONGEST_INTERFACE:
            raise ValueError(f"{name} is no name for an interface: more than {_LONGEST_INTERFACE} characters")
        fd = _in_namespace(self.namespace, name)
        try:
            run([need("ip", "iproute2"), "-n", self.namespace, "link", "set", name, "master", BRIDGE, "up"])
        except TouchlineError:
            os.close(fd)
            raise
        return fd

    def close(self) -> None:
        """Remove it with everything in it; processes that still run inside keep a network of their own."""
        _delete(self.namespace)

    def __enter__(self) -> Network:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def check_host() -> None:
    """Raise ResourceError where virtual networks cannot be made."""
    if os.geteuid() != 0:
        raise ResourceError("virtual networks need root", hint="run it with sudo")
    if not Path("/dev/net/tun").exists():
        raise ResourceError("/dev/net/tun is missing", hint="modprobe tun, or give the container that device")


def inspect(namespace: str) -> NetworkState:
    """Look at a namespace without changing it."""
    ip = need("ip", "iproute2")
    links = run([ip, "-n", namespace, "-details", "link", "show"]).stdout.decode(errors="replace")
    processes = run([ip, "netns", "pids", namespace]).stdout.split()
    return NetworkState(namespace, _owner_dead(links), links.count(" tun type tap "), len(processes))


def sweep() -> list[str]:
    """Remove the namespaces of ours that nobody needs; returns their names. Opening a network does it too."""
    with _one_at_a_time():
        return _sweep()


def _sweep() -> list[str]:
    stale = [name for name in namespaces() if name.startswith(PREFIX) and inspect(name).stale]
    for name in stale:
        _delete(name)
    return stale


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """A namespace that is being made has no owner on it yet: nobody may sweep meanwhile."""
    fd = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _owner_dead(links: str) -> bool:
    """Only if one is written there: what others made under our prefix is not ours to remove."""
    words = next((line.split() for line in links.splitlines() if line.strip().startswith("alias owner ")), None)
    return words is not None and len(words) == 4 and not alive(ProcessId(int(words[2]), int(words[3])))


def namespaces() -> Sequence[str]:
    """Names of this host's network namespaces."""
    return [entry.name for entry in _NAMESPACES.iterdir()] if _NAMESPACES.is_dir() else []


def _delete(namespace: str) -> None:
    if namespace in namespaces():
        run([need("ip", "iproute2"), "netns", "delete", namespace])


def _in_namespace(namespace: str, tap: str) -> int:
    """Open a new tap inside ``namespace``: a thread of its own enters it, since that is a property of threads."""
    result: list[int | OSError] = []

    def enter() -> None:
        try:
            result.append(_open_tap(namespace, tap))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=enter, name="tap")
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise ResourceError(
            f"cannot make {tap} in {namespace}: {result[0].strerror}",
            hint="destroy the node that holds it" if result[0].errno == 16 else "",
        ) from result[0]
    return result[0]


def _open_tap(namespace: str, tap: str) -> int:
    handle = os.open(_NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(handle)
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", tap.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    except OSError:
        os.close(fd)
        raise
    return fd
