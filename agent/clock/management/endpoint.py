"""Our end of ptp4l's Unix domain socket: a socket of our own with a name, connected to ptp4l's.

Connected, the kernel gives us only what that one ptp4l sends, so our socket may be writable for everyone; and ptp4l,
whose sends block, is not stopped by the few datagrams (net.unix.max_dgram_qlen) that an unconnected socket takes.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from agent.clock.management.errors import Unreachable
from agent.clock.management.wire import MAX_MESSAGE
from touchline.errors import ConfigError, ResourceError
from touchline.timeline import monotonic_ns

DEFAULT_PATHS: Final = tuple(
    Path(path)
    for path in (
        "/var/run/ptp4l",  # linuxptp's own default
        "/run/ptp/ptp4l",  # where later packages put it
        "/var/run/ptp4lro",  # read-only, from 4.0 on
        "/run/ptp/ptp4lro",
    )
)
PREFIX: Final = "touchline-ptp-"
OPEN_MODE: Final = 0o666

_MAX_PATH: Final = 107  # sun_path less its zero (unix(7))
_GONE: Final = (errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN, errno.ENOENT, errno.EPIPE)
_MS_NS: Final = 1_000_000
_MAX_POLL_MS: Final = (1 << 31) - 1


def default_folder() -> Path:
    """A folder that ptp4l sees as well: systemd's RuntimeDirectory, else /run, the user's own there, or /tmp."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    for folder in (given, "/run", os.environ.get("XDG_RUNTIME_DIR", "")):
        if folder and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder)
    return Path(tempfile.gettempdir())


class Endpoint:
    """One datagram socket. :meth:`open` and :meth:`close`, or a context manager; not for several threads at once."""

    def __init__(self, servers: Sequence[Path], folder: Path, mode: int = OPEN_MODE) -> None:
        self._servers = tuple(servers)
        self._folder = folder
        self._mode = mode
        self._socket: socket.socket | None = None
        self._server: tuple[Path, tuple[int, int, int]] | None = None
        self.path = folder / f"{PREFIX}{os.getpid()}-{os.urandom(4).hex()}"

    def open(self) -> None:
        """Make our socket. Raises ResourceError where it cannot be, ConfigError for a path that is too long."""
        if len(os.fsencode(self.path)) > _MAX_PATH:
            raise ConfigError(
                f"{self.path} is too long for a socket: {len(os.fsencode(self.path))} octets, at most {_MAX_PATH}",
                hint="choose a folder with a shorter path",
            )
        _sweep(self._folder)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.bind(str(self.path))
            self.path.chmod(self._mode)
        except OSError as error:
            made.close()
            self.path.unlink(missing_ok=True)
            hint = "choose a folder that exists and that this user may write to, one that ptp4l sees as well"
            raise ResourceError(f"no socket can be made in {self._folder}: {error.strerror}", hint=hint) from error
        self._socket = made

    def close(self) -> None:
        """Close and remove our socket; a second time does nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._server = None
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Endpoint:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def server(self) -> Path | None:
        """The path of the ptp4l that we are connected to."""
        return self._server[0] if self._server is not None else None

    def fileno(self) -> int:
        """The descriptor; it never changes between open and close."""
        return self._open_socket().fileno()

    def connected(self) -> bool:
        """Whether the socket that we connected to is still that of its path; False after ptp4l ended or restarted."""
        return self._server is not None and _identity(self._server[0]) == self._server[1]

    def connect(self) -> None:
        """Connect to the first path where a ptp4l listens. Raises Unreachable with what was found at each."""
        ours = self._open_socket()
        self._server = None
        found = []
        for path in self._servers:
            identity = _identity(path)
            try:
                ours.connect(str(path))
            except OSError as error:
                found.append((path, error))
                continue
            if identity is not None:
                self._server = (path, identity)
                return
        raise _unreachable(found)

    def send(self, datagram: bytes, deadline_ns: int) -> bool:
        """Send; False when ptp4l's queue stays full until the deadline. Raises Unreachable when it is gone."""
        ours = self._open_socket()
        while True:
            try:
                ours.send(datagram)
            except BlockingIOError:
                if not self._ready(select.POLLOUT, deadline_ns):
                    return False
            except OSError as error:
                path = self.server or self._servers[0]
                self._server = None
                raise _unreachable([(path, error)]) from error
            else:
                return True

    def receive(self) -> bytes | None:
        """Return a datagram that is there, None when none is. Longer ones are cut to one octet over the limit."""
        try:
            return self._open_socket().recv(MAX_MESSAGE + 1)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _GONE:
                self._server = None
                return None
            raise

    def wait(self, deadline_ns: int) -> bool:
        """Wait until a datagram is there or CLOCK_MONOTONIC reaches the deadline; returns whether one is."""
        return self._ready(select.POLLIN, deadline_ns)

    def _ready(self, what: int, deadline_ns: int) -> bool:
        poller = select.poll()
        poller.register(self._open_socket(), what)
        remaining_ns = max(0, deadline_ns - monotonic_ns())
        return bool(poller.poll(min(-(-remaining_ns // _MS_NS), _MAX_POLL_MS)))

    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise ValueError("the management client is closed: use it in a with block")
        return self._socket


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_ctime_ns


def _unreachable(found: Sequence[tuple[Path, OSError]]) -> Unreachable:
    """Say what stands at each path; the hint belongs to the path that came nearest to a ptp4l."""
    hints = (
        (
            errno.EACCES,
            "run as ptp4l's user or in its group, set its uds_file_mode, or use its read-only socket (4.0+)",
        ),
        (errno.EPERM, "that socket is another program's client, not a ptp4l: give ptp4l's uds_address"),
        (errno.EPROTOTYPE, "that is another kind of socket: give ptp4l's uds_address"),
        (errno.ECONNREFUSED, "ptp4l has ended and left its socket behind: start it again"),
    )
    codes = {error.errno for _, error in found}
    hint = next((text for code, text in hints if code in codes), "start ptp4l, or give the uds_address of its config")
    places = ", ".join(f"{path}: {error.strerror or error}" for path, error in found)
    return Unreachable(f"no ptp4l answers ({places})", hint=hint)


def _sweep(folder: Path) -> None:
    """Remove sockets that clients left behind which were killed: their process is gone and nobody listens."""
    for path in folder.glob(f"{PREFIX}*"):
        pid = path.name.removeprefix(PREFIX).split("-")[0]
        if not pid.isdigit() or Path("/proc", pid).exists():
            continue
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                with suppress(OSError):
                    path.unlink()
            except OSError:
                continue
