"""The other end of the sockets: a monitor with scripted answers, a guest agent that serves this host."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from touchline.timeline import monotonic_ns, sleep_until


def until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Wait for something that another process does."""
    deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
    while not condition():
        assert monotonic_ns() < deadline_ns, f"no {what} within {timeout_s:g} s"
        sleep_until(monotonic_ns() + 10_000_000)


class LineServer:
    """Serves one connection after another; ``talk`` gets the connection and returns when it is over."""

    def __init__(self, path: Path, talk: Callable[[socket.socket], None]) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(2)
        self._talk = talk
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._talk(connection)
                except OSError:
                    continue

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


class FakeAgent:
    """qemu-guest-agent on this host: runs what it is asked to run here. ``junk`` is sent before the first answer."""

    def __init__(self, junk: bytes = b"", deaf_to: frozenset[str] = frozenset()) -> None:
        self.junk = junk
        self.deaf_to = deaf_to
        self.asked: list[str] = []
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._files: dict[int, Any] = {}

    def talk(self, connection: socket.socket) -> None:
        if self.junk:
            connection.sendall(self.junk)
        with connection.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line.rpartition(b"\xff")[2])
                self.asked.append(request["execute"])
                if request["execute"] in self.deaf_to:
                    continue
                try:
                    answer = {"return": self._do(request["execute"], request.get("arguments", {}))}
                except OSError as error:
                    answer = {"error": {"desc": str(error)}}
                prefix = b"\xff" if request["execute"] == "guest-sync-delimited" else b""
                connection.sendall(prefix + json.dumps(answer).encode() + b"\n")

    def _do(self, command: str, arguments: dict[str, Any]) -> Any:
        return getattr(self, command.removeprefix("guest-").replace("-", "_"))(**{
            key.replace("-", "_"): value for key, value in arguments.items()
        })  # fmt: skip

    def sync_delimited(self, id: int) -> int:  # noqa: A002  the protocol's own name
        return id

    def get_time(self) -> int:
        return 1_700_000_000_000_000_000

    def exec(self, path: str, arg: list[str], capture_output: bool, input_data: str = "") -> dict[str, int]:
        assert capture_output
        process = subprocess.Popen(
            [path, *arg], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        assert process.stdin is not None
        process.stdin.write(base64.b64decode(input_data))
        process.stdin.close()
        process.stdin = None
        self._processes[process.pid] = process
        return {"pid": process.pid}

    def exec_status(self, pid: int) -> dict[str, Any]:
        process = self._processes[pid]
        if process.poll() is None:
            return {"exited": False}
        out, err = process.communicate()
        result: dict[str, Any] = {"exited": True, "out-data": base64.b64encode(out).decode()}
        result["err-data"] = base64.b64encode(err).decode()
        code = process.returncode
        return {**result, "signal": -code} if code < 0 else {**result, "exitcode": code}

    def file_open(self, path: str, mode: str) -> int:
        file = Path(path).open(mode + "b")  # noqa: SIM115  it stays open between two questions
        self._files[file.fileno()] = file
        return file.fileno()

    def file_read(self, handle: int, count: int) -> dict[str, Any]:
        data = self._files[handle].read(min(count, 1000))  # short reads, as the agent may give
        return {"count": len(data), "buf-b64": base64.b64encode(data).decode(), "eof": not data}

    def file_write(self, handle: int, buf_b64: str) -> dict[str, Any]:
        data = base64.b64decode(buf_b64)[:300_000]  # short writes too
        return {"count": self._files[handle].write(data), "eof": False}

    def file_close(self, handle: int) -> dict[str, Any]:
        self._files.pop(handle).close()
        return {}
