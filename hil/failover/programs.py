"""Programs of the rig: started in a namespace, each with its log, found with all their children, ended by pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from touchline.errors import ResourceError
from touchline.timeline import monotonic_ns, sleep_until

_POLL_NS: Final = 5_000_000


@dataclass
class Program:
    """One program and everything it starts; ``argv`` runs behind ``before`` (``ip netns exec ...``)."""

    name: str
    argv: Sequence[str]
    log_file: Path
    before: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    _offset: int = 0

    def start(self) -> None:
        """Start it; it is killed when the thread that started it ends."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        self._offset = self.log_file.stat().st_size if self.log_file.exists() else 0
        setpriv = shutil.which("setpriv")
        dies_with_us = [] if setpriv is None else [setpriv, "--pdeathsig", "KILL"]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*dies_with_us, *self.before, *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def said(self) -> str:
        """What it wrote since its last start."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(self._offset)
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def await_words(self, words: str, within_s: float) -> None:
        """Wait until its log says so. Raises ResourceError with its last lines when it does not."""
        wait_for(lambda: words in self.said() or self.pid is None, within_s, f"{self.name} to say '{words}'", self.said)
        if words not in self.said():
            raise ResourceError(f"{self.name} ended: {last_lines(self.said())}", hint=f"see {self.log_file}")

    def ask(self) -> None:
        """SIGTERM; several that are asked end side by side."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()

    def stop(self, within_s: float = 10.0) -> None:
        """SIGTERM, then SIGKILL to it and its children."""
        if self.process is None:
            return
        pids = processes_of([self])
        self.ask()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(within_s)
        send(signal.SIGKILL, pids)
        self.process.wait()
        self.process = None

    def reap(self) -> None:
        """Collect it after it was killed."""
        if self.process is not None:
            self.process.wait()
            self.process = None


def processes_of(programs: Collection[Program]) -> list[int]:
    """Pids of programs and of all that they started, also what was left by a parent that died."""
    roots = {program.process.pid for program in programs if program.process is not None}
    table = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                words = (path / "stat").read_text().rpartition(")")[2].split()
                if words[0] != "Z":
                    table[int(path.name)] = int(words[1]), int(words[3])
    found = {pid for pid, (_, session) in table.items() if pid in roots or session in roots}
    while more := {pid for pid, (parent, _) in table.items() if parent in found} - found:
        found |= more
    return sorted(found)


def send(number: signal.Signals, pids: Collection[int]) -> None:
    """A signal to each; who has ended is passed over."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_for(
    condition: Callable[[], bool], within_s: float, what: str, explain: Callable[[], str] = str, poll_ns: int = _POLL_NS
) -> int:
    """Look every few ms until it is so; the moment, monotonic ns. Raises ResourceError when it is not in time."""
    deadline_ns = monotonic_ns() + round(within_s * 1e9)
    while not condition():
        if monotonic_ns() > deadline_ns:
            raise ResourceError(f"waited {within_s:g} s for {what}: {last_lines(explain())}")
        sleep_until(monotonic_ns() + poll_ns)
    return monotonic_ns()


def last_lines(text: str, count: int = 3) -> str:
    """The end of a log in one line."""
    return " | ".join(text.strip().splitlines()[-count:]) or "it said nothing"
