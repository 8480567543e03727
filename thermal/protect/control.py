"""The socket by which a person's command reaches the service: one JSON request, one JSON answer, root only (0600)."""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from touchline.errors import LinkError, ResourceError
from touchline.timeline import monotonic_ns

MAX_BYTES: Final = 4096
_PATIENCE_S: Final = 0.2  # a caller that sends nothing is not waited for longer
_ANSWER_S: Final = 15.0  # the disk may take log_wait_s, twice

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class ControlServer:
    """Listens at ``path``. :meth:`wait` is the service's sleep."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path, self._handler = path, handler
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        if path.is_symlink():
            raise ResourceError(f"{path} is a link", hint="--run-dir names the folder that it leads to")
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(before)
        self._socket.listen(4)

    def wait(self, until_ns: int) -> None:
        """Wait until CLOCK_MONOTONIC reaches ``until_ns``; who calls is answered, one caller even when that is over."""
        rest_ns = max(0, until_ns - monotonic_ns())
        while select.select([self._socket], [], [], rest_ns / 1e9)[0]:
            self._serve()
            rest_ns = until_ns - monotonic_ns()
            if rest_ns <= 0:
                return

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        with suppress(OSError):
            caller, _ = self._socket.accept()
            with caller:
                caller.settimeout(_PATIENCE_S)
                caller.send(json.dumps(self._answer(caller.recv(MAX_BYTES + 1))).encode())

    def _answer(self, raw: bytes) -> dict[str, Any]:
        request = parse_request(raw)
        return {"done": False, "text": "no request"} if request is None else self._handler(request)


def parse_request(raw: bytes) -> dict[str, Any] | None:
    """A request: a JSON object with a text ``do``. None for anything else. Pure."""
    if len(raw) > MAX_BYTES:
        return None
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("do"), str) else None


def ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the service. Raises LinkError when it is not there, ResourceError for want of rights."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as caller:
        caller.settimeout(_ANSWER_S)
        try:
            caller.connect(str(path))
            caller.send(json.dumps(request).encode())
            found = json.loads(caller.recv(MAX_BYTES + 1))
        except PermissionError as error:
            raise ResourceError("only root may ask the protect service", hint="run it with sudo") from error
        except (OSError, ValueError) as error:
            raise LinkError(f"the protect service does not answer at {path}: {error}", hint=HINT) from error
    if not isinstance(found, dict) or not isinstance(found.get("text"), str):
        raise LinkError(f"the protect service said something else: {found!r}", hint=HINT)
    return found


HINT: Final = "systemctl status touchline-protect"
