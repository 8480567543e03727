"""Start QEMU so that it cannot be orphaned or mistaken, and end it by its pid."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from hil.virtual.machine.qemu import NODE_MIB
from touchline.errors import HardwareError, InputError, ResourceError, TouchlineError

STDERR_LOG: Final = "qemu.err"
PID_FILE: Final = "qemu.json"
_STATE, _START_TICKS = 0, 19  # fields 3 and 22 of /proc/PID/stat, counted after the name
_TERM_S, _KILL_S = 3.0, 5.0


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A pid that cannot be mistaken: with its start time, in clock ticks since the host's boot."""

    pid: int
    start_ticks: int


def stat_fields(pid: int) -> list[str] | None:
    """Fields 3 and following of /proc/PID/stat; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def identify(pid: int) -> ProcessId:
    """Identity of a process that runs now."""
    fields = stat_fields(pid)
    if fields is None:
        raise HardwareError(f"process {pid} is gone")
    return ProcessId(pid, int(fields[_START_TICKS]))


def alive(who: ProcessId) -> bool:
    """Whether it still runs: a zombie and another process with the same pid do not count."""
    fields = stat_fields(who.pid)
    if fields is None or int(fields[_START_TICKS]) != who.start_ticks:
        return False
    return fields[_STATE] not in "ZX" or not _all_threads_ended(who.pid)


def _all_threads_ended(pid: int) -> bool:
    """A process whose first thread has ended looks dead, but holds its files until the last one has."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], 0)[0])
    finally:
        os.close(pidfd)


def end(who: ProcessId, *, term_s: float = _TERM_S, kill_s: float = _KILL_S) -> None:
    """SIGTERM, then SIGKILL; returns once it is gone. Raises HardwareError if it outlives both."""
    try:
        pidfd = os.pidfd_open(who.pid)
    except ProcessLookupError:
        return
    try:
        for how, wait_s in ((signal.SIGTERM, term_s), (signal.SIGKILL, kill_s)):
            if wait_s > 0 and alive(who):  # checked with the pidfd in hand: it cannot be recycled between the two
                signal.pidfd_send_signal(pidfd, how)
                select.select([pidfd], [], [], wait_s)
        if alive(who):
            raise HardwareError(f"process {who.pid} does not end, not even by SIGKILL", hint="see dmesg of this host")
    finally:
        os.close(pidfd)


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP leave the block as SystemExit, so that what it started is ended; for the main thread.

    Once: a second one changes nothing, the end is under way.
    """
    before = {how: signal.getsignal(how) for how in (signal.SIGTERM, signal.SIGHUP)}

    def leave(number: int, _frame: object) -> None:
        for how in before:
            signal.signal(how, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for how in before:
        signal.signal(how, leave)
    try:
        yield
    finally:
        for how, handler in before.items():
            signal.signal(how, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP wait until the block has ended: what it starts is then on record, to be ended.

    On another thread than the main one nothing is done, since interrupts come in the main one. Children are started
    with the signals' defaults: a handler of ours, unlike a blocked or ignored signal, does not outlive exec.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {how: signal.getsignal(how) for how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    came: list[int] = []
    try:
        for how in before:
            signal.signal(how, lambda number, _frame: came.append(number))
        yield
    finally:
        for how, handler in before.items():
            signal.signal(how, handler)
        if came:
            signal.raise_signal(came[0])


class QemuProcess:
    """A running QEMU, started here or found again by its record in the run folder."""

    def __init__(self, run_dir: Path, who: ProcessId, child: subprocess.Popen[bytes] | None = None) -> None:
        self.run_dir = run_dir
        self.who = who
        self._child = child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.who.pid

    @classmethod
    def start(
        cls, argv: Sequence[str], run_dir: Path, *, pass_fds: Sequence[int] = (), detached: bool = False
    ) -> QemuProcess:
        """Start in ``run_dir``; unless ``detached`` it is killed when the thread that started it ends, however it ends.

        Either way it has a session of its own: Ctrl-C reaches the owner, who ends it in order. An interrupt meanwhile
        counts once it is on record.
        """
        words = list(argv)
        if not detached:
            setpriv = shutil.which("setpriv")
            if setpriv is None:
                raise ResourceError("setpriv is not installed", hint="apt install util-linux")
            words = [setpriv, "--pdeathsig", "KILL", *words]
        with (run_dir / STDERR_LOG).open("wb") as log, uninterrupted():
            child = subprocess.Popen(
                words,
                cwd=run_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
                start_new_session=True,
            )
            who = identify(child.pid)
            (run_dir / PID_FILE).write_text(json.dumps(asdict(who)))
        return cls(run_dir, who, child)

    @classmethod
    def find(cls, run_dir: Path) -> QemuProcess | None:
        """The QEMU recorded in ``run_dir`` if it still runs."""
        try:
            who = ProcessId(**json.loads((run_dir / PID_FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return cls(run_dir, who) if alive(who) else None

    def argv(self) -> list[str]:
        """Its command line, as the kernel has it."""
        return Path(f"/proc/{self.pid}/cmdline").read_bytes().decode(errors="replace").split("\0")

    def running(self) -> bool:
        """Whether it has not ended."""
        if self._child is not None:
            return self._child.poll() is None
        return alive(self.who)

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within ``timeout_s``."""
        try:
            pidfd = os.pidfd_open(self.who.pid)
        except ProcessLookupError:
            return True
        try:
            if self.running():
                select.select([pidfd], [], [], timeout_s)
        finally:
            os.close(pidfd)
        return not self.running()

    def kill(self) -> None:
        """SIGKILL at once: for a power cut."""
        end(self.who, term_s=0.0)
        self._reap()

    def end(self) -> None:
        """SIGTERM (QEMU flushes its disks), then SIGKILL."""
        end(self.who)
        self._reap()

    def why(self) -> TouchlineError:
        """The reason of an unwanted end, from its last words."""
        try:
            said = (self.run_dir / STDERR_LOG).read_text(errors="replace")
        except OSError:
            said = ""
        return explain(said, None if self._child is None else self._child.poll())

    def _reap(self) -> None:
        if self._child is not None:
            self._child.wait(_KILL_S)
        (self.run_dir / PID_FILE).unlink(missing_ok=True)


_REASONS: Final[tuple[tuple[str, type[TouchlineError], str, str], ...]] = (
    (r'Failed to get (?:shared )?"\w+" lock', ResourceError, "a disk of the node is in use",
     "end the QEMU that has it"),
    (r"Cannot allocate memory|cannot set up guest memory|failed to allocate", ResourceError, "no memory for the guest",
     f"free {NODE_MIB:,} MiB of RAM, or destroy a node"),
    (r"No space left on device", ResourceError, "the disk of the run folder is full", "free some space"),
    (r"Address already in use|Failed to bind socket", ResourceError, "a socket of the run folder is taken",
     "destroy the node that runs there"),
    (r"Unknown driver 'blklogwrites'", ResourceError, "this QEMU has no blklogwrites", "use the distribution's build"),
    (r"Unable to query TUNGETIFF|TUNSETIFF|/dev/net/tun", ResourceError, "the tap is taken or gone",
     "destroy the node that holds it"),
    (r"(?:could not|failed to) load|Couldn't open dtb|Could not open .*No such file", InputError,
     "a file of the image is missing", "build the image again"),
    (r"load of migration failed|error while loading state", InputError, "the snapshot does not load", "make it again"),
)  # fmt: skip


def explain(said: str, status: int | None) -> TouchlineError:
    """Turn QEMU's standard error and exit status into one line with its remedy."""
    lines = [re.sub(r"^qemu-system-\w+: ", "", line.strip()) for line in said.splitlines() if line.strip()]
    for pattern, kind, meaning, remedy in _REASONS:
        found = next((line for line in lines if re.search(pattern, line)), None)
        if found is not None:
            return kind(f"{meaning}: {found[:300]}", hint=remedy)
    how = "" if status is None else f" (killed by signal {-status})" if status < 0 else f" (status {status})"
    return HardwareError(f"QEMU ended{how}: {lines[-1][:300] if lines else 'it said nothing'}")
