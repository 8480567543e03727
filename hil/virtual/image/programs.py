"""Run the programs of a build so that none outlives it: each is known by its pid and ended with the build."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from touchline.errors import ResourceError, TouchlineError

Argv = Sequence[str | Path]

_LAST_LINES: Final = 4
_LAST_BYTES: Final = 64 << 10
_GRACE_S: Final = 5.0
_SYSTEM_PATH: Final = "/usr/sbin:/sbin:/usr/local/sbin"
_FULL: Final = b"No space left on device"


class Interrupted(TouchlineError):
    """The build was stopped while this program ran."""


class DiskFull(ResourceError):
    """A program found no space left."""


class Programs:
    """Starts programs for several threads; :meth:`stop` ends those that run and refuses new ones.

    Each program leads a process group of its own, so that what it started ends with it. The kernel kills it when the
    thread that started it dies, however that comes about.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, argv: Argv, *, timeout_s: float = 120.0, cwd: Path | None = None, log: Path | None = None) -> bytes:
        """Run to the end and return standard output; with ``log`` both streams go to the end of that file instead.

        Raises :class:`ResourceError` for a program that is missing or too slow, :class:`DiskFull`,
        :class:`Interrupted` after :meth:`stop`, and :class:`TouchlineError` with its last lines for one that fails.
        """
        words = [str(word) for word in argv]
        if log is None:
            code, out, err = self._finish(words, cwd, subprocess.PIPE, subprocess.PIPE, timeout_s=timeout_s)
            self._judge(words, code, err or out)
            return out
        with log.open("ab") as stream:
            stream.write(f"$ {' '.join(words)}\n".encode())
            stream.flush()
            began = stream.tell()
            code, _, _ = self._finish(words, cwd, stream.fileno(), subprocess.STDOUT, timeout_s=timeout_s, log=log)
        self._judge(words, code, b"" if code == 0 else _tail(log, began), log)
        return b""

    def _finish(
        self, words: list[str], cwd: Path | None, out: int, err: int, *, timeout_s: float, log: Path | None = None
    ) -> tuple[int, bytes, bytes]:
        process = self._start(words, cwd, out, err)
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ResourceError(f"{_name(words)} did not finish within {timeout_s:g} s", hint=_see(log)) from error
        finally:
            _end([process], _GRACE_S)
            with self._lock:
                self._running.discard(process)
        return process.returncode, stdout or b"", stderr or b""

    def _judge(self, words: list[str], code: int, said: bytes, log: Path | None = None) -> None:
        if code == 0:
            return
        if self._stopped:
            raise _interrupted()
        if _FULL in said:
            raise DiskFull(f"{_name(words)} found the disk full", hint="free some space, or use --cache-dir")
        raise TouchlineError(f"{_name(words)} failed ({code}): {_last(said)}", hint=_see(log))

    def _start(self, words: list[str], cwd: Path | None, out: int, err: int) -> subprocess.Popen[bytes]:
        setpriv = shutil.which("setpriv")
        # KILL: unshare blocks TERM while its child runs, and its own --kill-child then takes the namespace along
        guard = [] if setpriv is None else [setpriv, "--pdeathsig", "KILL", "--"]
        env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        with self._lock:
            if self._stopped:
                raise _interrupted()
            process = subprocess.Popen(
                [*guard, _found(words[0]), *words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
            self._running.add(process)
        return process

    def stop(self, grace_s: float = _GRACE_S) -> None:
        """End every running program, at the latest after ``grace_s``; their :meth:`run` raises `Interrupted`."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        _end(running, grace_s)


@dataclass(frozen=True, slots=True)
class Job:
    """The programs of one piece of work, and the file that keeps what they say."""

    programs: Programs
    log: Path

    def run(self, argv: Argv, *, timeout_s: float = 120.0, cwd: Path | None = None) -> None:
        """Run to the end; everything said goes to the log."""
        self.programs.run(argv, timeout_s=timeout_s, cwd=cwd, log=self.log)

    def read(self, argv: Argv, *, timeout_s: float = 120.0) -> bytes:
        """Run to the end and return standard output."""
        return self.programs.run(argv, timeout_s=timeout_s)


def _end(processes: Sequence[subprocess.Popen[bytes]], grace_s: float) -> None:
    """End process groups that we lead: asked first, together, then killed."""
    alive = [process for process in processes if process.poll() is None]
    for process in alive:
        _signal(process, signal.SIGTERM)
    for process in alive:
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:  # it ended by itself just now
            return


def _found(program: str) -> str:
    path = shutil.which(program) or shutil.which(program, path=_SYSTEM_PATH)
    if path is None:
        raise ResourceError(f"{program} is not installed")
    return path


def _interrupted() -> Interrupted:
    return Interrupted("the build was stopped", hint="run it again: it goes on where it was")


def _name(words: Sequence[str]) -> str:
    return Path(words[0]).name


def _see(log: Path | None) -> str:
    return f"see {log}" if log is not None else ""


def _tail(log: Path, began: int) -> bytes:
    """The end of what was written to ``log`` since ``began``."""
    with log.open("rb") as file:
        file.seek(max(began, file.seek(0, os.SEEK_END) - _LAST_BYTES))
        return file.read()


def _last(said: bytes) -> str:
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith(("E:", "error", "Error")) or "rror:" in line]
    return " | ".join((wrong or lines)[-_LAST_LINES:])[-600:]
