"""A ptp4l of a few lines at a real Unix domain socket: golden answers, and whatever a test wants to go wrong."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from agent.clock.management.values import Action, ErrorCode, PortIdentity
from agent.clock.management.wire import ErrorStatus, Management, Message, decode, encode
from tests.agent.clock.management.golden import BY_NAME, golden

Script = Callable[["FakePtp4l", Message], list[bytes]]
_END = b"end"


class FakePtp4l:
    """Answers each message with what ``script`` returns; ``asked`` keeps them. Runs in a thread of its own."""

    def __init__(self, path: Path, script: Script | None = None) -> None:
        self.path = path
        self.script: Script = script or FakePtp4l.usual
        self.asked: list[Message] = []
        self.client: str | None = None
        self.events_port: PortIdentity | None = None
        self.source = decode(golden("DEFAULT_DATA_SET")).source
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path.unlink(missing_ok=True)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def usual(self, message: Message) -> list[bytes]:
        """The golden answer, or the subscription back."""
        body = message.body
        assert isinstance(body, Management)
        if message.action == Action.SET:
            return [self.reply(message, body)]
        for name, kind in BY_NAME.items():
            if body.management_id == kind.MANAGEMENT_ID:
                return [self.reply(message, decode(golden(name)).body)]
        return [self.reply(message, ErrorStatus(ErrorCode.NO_SUCH_ID, body.management_id))]

    def reply(self, message: Message, body: Management | ErrorStatus, port: int | None = None) -> bytes:
        """An answer to a message."""
        source = self.source if port is None else replace(self.source, port=port)
        return encode(replace(message, action=Action.RESPONSE, source=source, target=message.source, body=body))

    def push(self, name: str, sequence_id: int) -> None:
        """A notification to the subscriber."""
        assert self.events_port is not None
        message = Message(Action.RESPONSE, self.source, self.events_port, sequence_id, decode(golden(name)).body)
        self.send(encode(message))

    def send(self, datagram: bytes) -> None:
        """Anything, to the last client."""
        assert self.client is not None
        self._socket.sendto(datagram, self.client)

    def stop(self) -> None:
        """End, and take the socket away as ptp4l does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(_END, str(self.path))
        self._thread.join()
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> FakePtp4l:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._thread.is_alive():
            self.stop()

    def _run(self) -> None:
        while True:
            datagram, self.client = self._socket.recvfrom(2048)
            if datagram == _END:
                return
            message = decode(datagram)
            self.asked.append(message)
            if message.action == Action.SET:
                self.events_port = message.source
            for answer in self.script(self, message):
                self.send(answer)
