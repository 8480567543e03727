"""The sockets below the local links: a connection that closes at the first thing wrong with it, and a listener.

Unix SOCK_SEQPACKET in ``node.run_dir``, mode 0660. Nothing here waits, and nothing reads a clock.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from pathlib import Path
from typing import Final

from failover.link_words import MAX_MESSAGE_BYTES
from touchline.errors import ResourceError

_MESSAGES_A_TURN: Final = 64
_WAITING: Final = 16  # connections that nobody has accepted yet


class End:
    """One connection; closed by the first thing that is wrong with it."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.gone = False

    def send(self, data: bytes) -> bool:
        """Send one message; False when the peer is gone or does not read (it gets the next one)."""
        try:
            self.socket.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError:
            self.gone = True
            return False
        return True

    def receive(self) -> list[bytes]:
        """The waiting messages, a bounded number; sets :attr:`gone` at the end of the connection."""
        found: list[bytes] = []
        while len(found) < _MESSAGES_A_TURN:
            try:
                data = self.socket.recv(MAX_MESSAGE_BYTES + 1)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.gone = True
                break
            found.append(data)
        return found

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


class Listener:
    """Where a service is found.

    Raises:
        ResourceError: the socket cannot be made, or another service listens there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = _listen(path)
        self._inode = path.stat().st_ino

    def fileno(self) -> int:
        """Readable when somebody comes."""
        return self._socket.fileno()

    def accept(self) -> End | None:
        """Who came; None when nobody waits, or who waited has left."""
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return None
        return End(connection)

    def close(self) -> None:
        """Take the socket away, if it is still ours."""
        self._socket.close()
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _answers(path):
            raise ResourceError(f"{path} is in use", hint="stop the other failover service of this node")
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        fresh.chmod(0o660)
        listener.listen(_WAITING)
        fresh.replace(path)  # whoever finds the name can connect
    except OSError as error:
        listener.close()
        raise ResourceError(
            f"{path} cannot be made: {error.strerror or error}",
            hint="node.run_dir must be a folder that this user can write, with a name of at most 80 characters",
        ) from error
    except ResourceError:
        listener.close()
        raise
    return listener


def _answers(path: Path) -> bool:
    """Whether somebody listens there; asked by a socket of another kind, which the kernel refuses for it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno == errno.EPROTOTYPE
    return True
