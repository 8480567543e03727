"""What a person's command says to the running service: one JSON document each way over a Unix socket (SEQPACKET).

The socket lies in ``run_dir`` and belongs to the service's user and group, mode 0660: who may write there may switch.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from touchline.errors import InputError, LinkError, ResourceError

MAX_MESSAGE_BYTES: Final = 64 << 10
MAX_CALLERS: Final = 8
ASKS: Final = ("status", "handover", "drill-begin", "drill-end")


def control_file(run_dir: Path) -> Path:
    """Where the service listens."""
    return run_dir / "failover-control.sock"


@dataclass(frozen=True, slots=True)
class Ask:
    """What is wanted, by which connection (for the answer)."""

    what: str
    caller: int


class ControlServer:
    """The service's end. Nothing here waits: callers that cannot take their answer are closed."""

    def __init__(self, run_dir: Path) -> None:
        path = control_file(run_dir)
        self._path = path
        self._listener = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        try:
            path.unlink(missing_ok=True)
            self._listener.bind(str(path))
            path.chmod(0o660)
            self._listener.listen(MAX_CALLERS)
        except OSError as error:
            self._listener.close()
            raise ResourceError(f"control socket {path}: {error.strerror}", hint="correct node.run_dir") from error
        self._callers: dict[int, socket.socket] = {}

    def filenos(self) -> list[int]:
        """Descriptors to wait for."""
        return [self._listener.fileno(), *self._callers]

    def take(self, fd: int) -> Ask | None:
        """What came in at one of the descriptors; None when it was a new caller, a goodbye or nonsense."""
        if fd == self._listener.fileno():
            self._accept()
            return None
        caller = self._callers.get(fd)
        if caller is None:
            return None
        try:
            data = caller.recv(MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        what = _wanted(data)
        if what in ASKS:
            return Ask(what, fd)
        if data:
            self.answer(fd, {"ok": False, "text": f"ask for one of {', '.join(ASKS)}"})
        self._hang_up(fd)
        return None

    def answer(self, caller: int, document: dict[str, Any]) -> None:
        """Answer and hang up."""
        end = self._callers.get(caller)
        if end is not None:
            with suppress(OSError):  # the caller has gone; its answer goes with it
                end.send(json.dumps(document).encode(), socket.MSG_NOSIGNAL)
            self._hang_up(caller)

    def close(self) -> None:
        """Hang up on everybody and remove the socket."""
        for fd in list(self._callers):
            self._hang_up(fd)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            caller, _ = self._listener.accept()
        except OSError:
            return  # gone before we looked
        if len(self._callers) >= MAX_CALLERS:  # the oldest has had its time
            self._hang_up(next(iter(self._callers)))
        caller.setblocking(False)
        self._callers[caller.fileno()] = caller

    def _hang_up(self, fd: int) -> None:
        end = self._callers.pop(fd, None)
        if end is not None:
            end.close()


def _wanted(data: bytes) -> str:
    """What a message asks for; "" when it is none of ours."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):  # the latter: a message of brackets
        return ""
    what = message.get("do") if isinstance(message, dict) else None
    return what if isinstance(what, str) else ""


def ask(run_dir: Path, what: str, timeout_s: float = 3.0) -> dict[str, Any]:
    """Ask the running service; raises LinkError when it does not run or answer, InputError when it refuses."""
    path = control_file(run_dir)
    hint = "start it: systemctl start touchline-failover, or touchline failover run --config FILE"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as end:
        end.settimeout(timeout_s)
        try:
            end.connect(str(path))
            end.send(json.dumps({"do": what}).encode())
            data = end.recv(MAX_MESSAGE_BYTES)
        except PermissionError as error:
            raise ResourceError(
                f"{path} belongs to the service's user", hint=f"run as it, or as root (you are uid {os.getuid()})"
            ) from error
        except OSError as error:
            raise LinkError(f"no failover service answers at {path}: {error.strerror or error}", hint=hint) from error
    try:
        document = json.loads(data) if data else {"ok": False, "text": "it hung up without an answer"}
    except ValueError as error:
        raise LinkError(f"the answer at {path} is none: {error}", hint="is it another version's service?") from error
    if not isinstance(document, dict) or not document.get("ok"):
        raise InputError(f"the failover service refuses: {document.get('text', '')}", hint="touchline failover status")
    return document
