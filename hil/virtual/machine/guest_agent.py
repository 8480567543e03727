"""Commands and files in the guest through qemu-guest-agent: a channel that no network fault can cut."""

from __future__ import annotations

import base64
import json
import secrets
import shlex
import threading
from pathlib import Path, PurePosixPath
from typing import Any, Final

from hil.virtual.machine.link import JsonLink, LinkClosed
from hil.virtual.ports import GuestResult
from touchline.errors import HardwareError
from touchline.timeline import monotonic_ns, sleep_until

_SENTINEL: Final = b"\xff"  # makes the agent drop what it had half read; it starts its answer with the same byte
_ANSWER_S: Final = 30.0  # milliseconds alone
_ASK_AGAIN_NS: Final = 3_000_000_000
_FILE_CHUNK_BYTES: Final = 512 << 10
_INLINE_BYTES: Final = 512 << 10
_FIRST_PAUSE_NS, _LONGEST_PAUSE_NS = 5_000_000, 100_000_000
_GRACE_S: Final = 5.0  # for starting and ending a process in the guest, beyond the command's own limit
_NOT_RENAMED: Final = ("/sys/", "/proc/", "/dev/", "/run/configfs/")  # a file there is a door, not a file
_MESSAGE_CHARS: Final = 400


class GuestAgent:
    """One connection to the agent. Methods may be called from several threads; long commands do not block others."""

    def __init__(self, path: Path, *, answer_s: float = _ANSWER_S) -> None:
        self.path = path
        self._answer_s = answer_s
        self._lock = threading.RLock()
        self._link: JsonLink | None = None
        self._synced = False
        self._sync_number: int | None = None
        self._sync_sent_ns = 0

    def try_sync(self, timeout_s: float) -> bool:
        """Whether the agent answered within ``timeout_s``; drops whatever was left of an earlier conversation.

        A question put before the agent runs waits in its port, so this may be called over and over while it boots.
        """
        with self._lock:
            link = self._connect()
            now_ns = monotonic_ns()
            if self._sync_number is None or now_ns - self._sync_sent_ns > _ASK_AGAIN_NS:  # a reset drops a question
                self._sync_number, self._sync_sent_ns = secrets.randbits(31), now_ns
                question = {"execute": "guest-sync-delimited", "arguments": {"id": self._sync_number}}
                link.send(question, prefix=_SENTINEL)
            deadline_ns = now_ns + int(timeout_s * 1e9)
            while (line := link.receive(max((deadline_ns - monotonic_ns()) / 1e9, 0.0))) is not None:
                if _synchronised(line) == self._sync_number:  # the newest: no answer to an older one can follow
                    self._synced, self._sync_number = True, None
                    return True
            return False

    def run(self, command: str, *, timeout_s: float = 30.0, check: bool = True) -> GuestResult:
        """Run ``command`` with ``sh -c`` as root; it is killed in the guest when ``timeout_s`` is over."""
        return self._run_shell(command, b"", timeout_s, check)

    def read_file(self, path: str) -> bytes:
        """Whole content of a file in the guest."""
        if path.startswith(_NOT_RENAMED):  # their size is unknown and their reads want one go
            return self._shell_bytes(f"cat {shlex.quote(path)}", path)
        try:
            handle = self._ask("guest-file-open", {"path": path, "mode": "r"})
        except HardwareError as error:
            raise HardwareError(f"cannot read {path} in the guest: {error.message}") from error
        parts: list[bytes] = []
        try:
            while True:
                got = self._ask("guest-file-read", {"handle": handle, "count": _FILE_CHUNK_BYTES}, timeout_s=30.0)
                parts.append(base64.b64decode(got["buf-b64"]))
                if got["eof"] or not got["count"]:
                    return b"".join(parts)
        finally:
            self._ask("guest-file-close", {"handle": handle})

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file whole: beside it first, then renamed, except in /sys, /proc and /dev; folders are made."""
        target = shlex.quote(path)
        if path.startswith(_NOT_RENAMED):
            self._run_shell(f"cat > {target}", data, 30.0, check=True)
            return
        beside = f"{path}.{secrets.token_hex(4)}.part"
        part, folder = shlex.quote(beside), shlex.quote(str(PurePosixPath(path).parent))
        finish = f"chmod {mode:o} {part} && mv -f {part} {target} || {{ rm -f {part}; exit 1; }}"
        if len(data) <= _INLINE_BYTES:
            self._run_shell(f"mkdir -p {folder} && cat > {part} && {finish}", data, 30.0, check=True)
            return
        self.run(f"mkdir -p {folder}")
        self._write_chunks(beside, data)
        self.run(finish)

    def step_time(self, step_ns: int) -> None:
        """Move the guest's CLOCK_REALTIME by this much at once. Relative, so it does not matter when it gets there.

        Not by guest-set-time: that runs hwclock for most of a second.
        """
        sign, amount = ("-" if step_ns < 0 else ""), abs(step_ns)
        words = ["/usr/sbin/phc_ctl", "CLOCK_REALTIME", "--", "adj", f"{sign}{amount // 10**9}.{amount % 10**9:09d}"]
        asked_ns = monotonic_ns()
        done = self._finish(self._exec(words), asked_ns, " ".join(words), self._answer_s)
        if _exit_code(done) != 0:
            said = _decoded(done, "err-data") + _decoded(done, "out-data")
            raise HardwareError(f"the guest's clock cannot be moved: {said.decode(errors='replace').strip()}")

    def time_ns(self) -> int:
        """The guest's CLOCK_REALTIME, ns since 1970 UTC."""
        return int(self._ask("guest-get-time", {}))

    def shutdown(self) -> None:
        """Ask the guest to power off and do not wait. Not by guest-shutdown: it schedules, which takes a logind."""
        self._start("systemctl --no-block poweroff", b"", self._answer_s)

    def close(self) -> None:
        """Hang up; the agent goes on."""
        with self._lock:
            if self._link is not None:
                self._link.close()
            self._link, self._synced, self._sync_number = None, False, None

    def _write_chunks(self, path: str, data: bytes) -> None:
        handle = self._ask("guest-file-open", {"path": path, "mode": "w"})
        try:
            for start in range(0, len(data), _FILE_CHUNK_BYTES):
                chunk = data[start : start + _FILE_CHUNK_BYTES]
                sent = 0
                while sent < len(chunk):
                    text = base64.b64encode(chunk[sent:]).decode()
                    sent += self._ask("guest-file-write", {"handle": handle, "buf-b64": text}, timeout_s=30.0)["count"]
        finally:
            self._ask("guest-file-close", {"handle": handle})

    def _shell_bytes(self, command: str, path: str) -> bytes:
        asked_ns = monotonic_ns()
        done = self._finish(self._start(command, b"", 30.0), asked_ns, command, 30.0)
        if _exit_code(done) != 0:
            said = _decoded(done, "err-data").decode(errors="replace").strip()
            raise HardwareError(f"cannot read {path} in the guest: {said}")
        return _decoded(done, "out-data")

    def _run_shell(self, command: str, stdin: bytes, timeout_s: float, check: bool) -> GuestResult:
        asked_ns = monotonic_ns()
        done = self._finish(self._start(command, stdin, timeout_s), asked_ns, command, timeout_s)
        result = GuestResult(
            _exit_code(done),
            _decoded(done, "out-data").decode(errors="replace"),
            _decoded(done, "err-data").decode(errors="replace"),
        )
        if check and result.exit_code != 0:
            said = (result.err.strip() or result.out.strip() or "it said nothing")[-_MESSAGE_CHARS:]
            raise HardwareError(f"guest: {_shown(command)} failed with status {result.exit_code}: {said}")
        return result

    def _start(self, command: str, stdin: bytes, timeout_s: float) -> int:
        words = ["/usr/bin/timeout", "-s", "KILL", f"{timeout_s:g}", "/bin/sh", "-c", command]
        return self._exec(words, stdin)

    def _exec(self, words: list[str], stdin: bytes = b"") -> int:
        arguments: dict[str, Any] = {"path": words[0], "arg": words[1:], "capture-output": True}
        if stdin:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        return int(self._ask("guest-exec", arguments, timeout_s=self._answer_s + len(stdin) / 1e6)["pid"])

    def _finish(self, pid: int, asked_ns: int, command: str, timeout_s: float) -> dict[str, Any]:
        """Wait for the end of what was asked for at ``asked_ns``: the guest's timeout(1) runs from then or later."""
        began_ns, pause_ns = monotonic_ns(), _FIRST_PAUSE_NS
        limit_ns = int(timeout_s * 1e9)
        while True:
            done: dict[str, Any] = self._ask("guest-exec-status", {"pid": pid})
            now_ns = monotonic_ns()
            if done["exited"]:
                if _exit_code(done) == 128 + 9 and now_ns - asked_ns >= limit_ns:  # killed by timeout(1)
                    raise HardwareError(f"guest: {_shown(command)} did not finish within {timeout_s:g} s")
                return done
            if now_ns - began_ns > limit_ns + int(_GRACE_S * 1e9):
                raise HardwareError(f"guest: {_shown(command)} is still there after {timeout_s:g} s")
            sleep_until(monotonic_ns() + pause_ns)
            pause_ns = min(pause_ns * 2, _LONGEST_PAUSE_NS)

    def _ask(self, command: str, arguments: dict[str, Any], *, timeout_s: float | None = None) -> Any:
        timeout_s = timeout_s or self._answer_s
        with self._lock:
            link = self._synced_link()
            try:
                link.send({"execute": command, "arguments": arguments})
                line = link.receive(timeout_s)
            except LinkClosed:
                self.close()
                raise
            if line is None:
                self.close()  # a late answer would be taken for the next question's
                raise HardwareError(f"the guest agent did not answer {command} within {timeout_s:g} s")
            answer: dict[str, Any] = json.loads(line.lstrip(_SENTINEL))
        if "error" in answer:
            raise HardwareError(f"the guest agent refused {command}: {answer['error'].get('desc', answer['error'])}")
        return answer["return"]

    def _synced_link(self) -> JsonLink:
        if self._link is not None and self._synced:
            return self._link
        if not self.try_sync(self._answer_s) or self._link is None:
            raise HardwareError(
                f"the guest agent does not answer at {self.path.name}",
                hint="the guest hangs, or another program holds its agent",
            )
        return self._link

    def _connect(self) -> JsonLink:
        if self._link is None:
            self._link = JsonLink(self.path)
        return self._link


def _synchronised(line: bytes) -> int | None:
    """The number of a sync answer, None for anything else left in the pipe."""
    try:
        answer = json.loads(line.rpartition(_SENTINEL)[2])
    except ValueError:
        return None
    number = answer.get("return") if isinstance(answer, dict) else None
    return number if isinstance(number, int) else None


def _exit_code(done: dict[str, Any]) -> int:
    """Exit status, or 128 + signal as a shell would say."""
    return 128 + int(done["signal"]) if "signal" in done else int(done.get("exitcode", 0))


def _decoded(done: dict[str, Any], key: str) -> bytes:
    return base64.b64decode(done.get(key, ""))


def _shown(command: str) -> str:
    line = " ".join(command.split())
    return f"'{line if len(line) <= 100 else line[:97] + '...'}'"
