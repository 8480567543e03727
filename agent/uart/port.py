"""The serial port: found by its device-tree node, never by number, opened raw and for us alone.

Numbers of ttyTHS* differ between boards and kernels; the node's name, as ``serial@3100000`` of the 40-pin header, does
not (field: AGX Orin). Nothing here waits: the descriptor is non-blocking from the first call on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from agent.uart.holder import PROC, check_free
from touchline.errors import HardwareError, ResourceError

SYS: Final = Path("/sys")
DEV: Final = Path("/dev")
_DEVICES: Final = "devices"  # of /sys: above it nothing belongs to the port
_CFLAG, _ISPEED, _OSPEED = 2, 4, 5
_TAKEN: Final = {errno.EBUSY, errno.EACCES, errno.EPERM}
_UNPLUGGED: Final = {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOENT}


def find_port(port: str, sys: Path = SYS, dev: Path = DEV) -> Path:
    """Return the device file of ``port``: a path as it is, or the tty whose device-tree node has this name.

    Raises HardwareError naming the nodes that do have a tty.
    """
    if port.startswith("/"):
        return Path(port)
    nodes: dict[str, str] = {}
    folder = sys / "class" / "tty"
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        node = _node_of(entry)
        if node == port:
            return dev / entry.name
        if node:
            nodes[node] = entry.name
    there = ", ".join(f"{node} ({name})" for node, name in nodes.items()) or "none"
    raise HardwareError(
        f"no serial port has the device-tree node {port}; there is {there}",
        hint="enable the port in the device tree (jetson-io), or name it in [uart] port",
    )


def _node_of(entry: Path) -> str:
    """The nearest device-tree node at or above a tty: newer kernels put devices of their own between the two."""
    place = Path(os.path.realpath(entry))
    while place.name != _DEVICES and place != place.parent:
        node = place / "of_node"
        if node.exists():
            return Path(os.path.realpath(node)).name
        place = place.parent
    return ""


class SerialPort:
    """An open port. ``write`` raises BlockingIOError when it takes nothing now, OSError when it is gone."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._former: list[Any] | None = None

    def fileno(self) -> int:
        """For poll."""
        return self._fd

    def write(self, data: bytes) -> int:
        """Write what fits now; return how many bytes did."""
        return os.write(self._fd, data)

    def read(self, most: int = 65536) -> bytes:
        """What has arrived; empty at the end of the line (its other end is closed)."""
        return os.read(self._fd, most)

    def unsent(self) -> int | None:
        """Bytes that the kernel has not given to the wire yet; None where the port is gone."""
        try:
            (count,) = struct.unpack("i", fcntl.ioctl(self._fd, termios.TIOCOUTQ, b"\0" * 4))
        except OSError:
            return None
        return int(count)

    def set_raw(self, baud: int) -> None:
        """8N1 at this rate, nothing translated, no flow control, modem lines ignored. Raises HardwareError."""
        rate = getattr(termios, f"B{baud}")
        fcntl.ioctl(self._fd, termios.TIOCEXCL)
        try:
            mode = termios.tcgetattr(self._fd)
            self._former = [*mode]
            mode[:4] = [0, 0, termios.CS8 | termios.CREAD | termios.CLOCAL, 0]
            mode[_ISPEED] = mode[_OSPEED] = rate
            termios.tcsetattr(self._fd, termios.TCSANOW, mode)
            now = termios.tcgetattr(self._fd)
        except termios.error as error:
            raise HardwareError(f"{self.path} cannot be set up: {error.args[-1]}") from error
        if now[_OSPEED] != rate or now[_CFLAG] & (termios.CSIZE | termios.PARENB | termios.CRTSCTS) != termios.CS8:
            raise HardwareError(
                f"{self.path} does not take {baud} baud 8N1", hint="set [uart] baud to what its hardware can"
            )

    def close(self, *, restore: bool = False) -> None:
        """Give it back at once: what the wire has not taken is thrown away, else close(2) would wait for it."""
        with suppress(OSError, termios.error):  # it may be gone already
            if self.unsent():
                termios.tcflush(self._fd, termios.TCOFLUSH)
            if restore and self._former is not None:
                termios.tcsetattr(self._fd, termios.TCSANOW, self._former)
        with suppress(OSError):  # whatever became of the rest: a port that stays exclusive opens for nobody
            fcntl.ioctl(self._fd, termios.TIOCNXCL)
        os.close(self._fd)


def open_port(path: Path, baud: int, proc: Path = PROC) -> SerialPort:
    """Open a port for us alone. Raises HardwareError where it is not there, ResourceError where it is taken."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _TAKEN:  # a login takes the port's rights too, so it is looked for before these are blamed
            with suppress(OSError):
                check_free(path, path.stat().st_rdev, proc)
        raise _refused(path, error) from error
    port = SerialPort(path, fd)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISCHR(facts.st_mode) or not os.isatty(fd):
            raise HardwareError(f"{path} is no serial port", hint="name one in [uart] port")
        check_free(path, facts.st_rdev, proc)
        _lock(path, fd)
    except BaseException:  # also KeyboardInterrupt: it is not ours, and is left as it was
        os.close(fd)
        raise
    try:
        port.set_raw(baud)
    except BaseException:  # also KeyboardInterrupt: exclusive by now, it must not stay so
        port.close(restore=True)
        raise
    return port


def _lock(path: Path, fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        hint = "end it: a port has one speaker; see fuser or lsof as root"
        raise ResourceError(f"{path} is locked by another program", hint=hint) from error


def _refused(path: Path, error: OSError) -> HardwareError | ResourceError:
    if error.errno in _UNPLUGGED:
        return HardwareError(f"{path} is not there: {error.strerror}", hint="plug it in, or mend [uart] port")
    if error.errno == errno.EBUSY:
        return ResourceError(f"{path} is held by another program", hint="end it: see fuser or lsof as root")
    if error.errno in (errno.EACCES, errno.EPERM):
        rights = f"after a login on it: udevadm trigger -c add {path}"
        hint = f"the user's group dialout, the unit's DeviceAllow (systemd/README.md); {rights}"
        return ResourceError(f"{path} may not be opened by this user", hint=hint)
    return HardwareError(f"{path} cannot be opened: {error.strerror}")
