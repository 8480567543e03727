"""The real service process over a mounted fake /sys, with a fake systemctl and a fake supervisor's socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.thermal.faketree import FakeTree
from tests.thermal.fuse import Mount, mounted
from thermal.status import ThermalStatus, Told, read_status, status_path
from touchline.timeline import monotonic_ns, sleep_until

PERIOD_S = 0.1
DEADLINE_S = 3.0  # a busy machine is no fault; tests of a late tick set STRICT_S
STRICT_S = 0.5
CONFIG = f"""
[node]
name = "pitch-a1"
run_dir = "run"

[[camera]]
number = 1
source = "pattern"
calibration = "camera.json"

[publish]
spool_dir = "spool"

[mqtt]
host = "rack.local"
ca_file = "ca.pem"
cert_file = "a.pem"
key_file = "a.key"

[thermal]
period_s = {PERIOD_S}
deadline_s = {DEADLINE_S}
stale_s = 2.0
stall_s = 1.0
"""
ENTRY = """
import sys
from thermal.cli import thermal
from touchline.shell import guarded
sys.exit(guarded(lambda: thermal.main(standalone_mode=False)))
"""
SYSTEMCTL = """#!/bin/sh
cd "$(dirname "$0")" || exit 9
echo "$*" >> calls
case "$*" in
  *is-active*) grep -qx active state ;;
  *is-enabled*) test -e enabled ;;
  *stop*) echo inactive > state ;;
  *start*) test -e broken || echo active > state ;;
esac
"""


class Node:
    """A machine with the service on it."""

    def __init__(self, tree: FakeTree, mount: Mount, folder: Path, root: Path, deadline_s: float) -> None:
        self.tree, self.mount, self.folder, self.root = tree, mount, folder, root
        self.config = folder / "node.toml"
        self.config.write_text(CONFIG.replace(f"deadline_s = {DEADLINE_S}", f"deadline_s = {deadline_s}"))
        self.programs = folder / "bin"
        self.programs.mkdir()
        systemctl = self.programs / "systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        self.supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.supervisor.bind(str(folder / "notify"))
        self.supervisor.setblocking(False)
        self.process: subprocess.Popen[bytes] | None = None

    # --- the vendor's daemon ------------------------------------------------------------------------------------------

    def install_vendor(self, *, running: bool = True) -> None:
        """nvfancontrol is enabled, and runs."""
        (self.programs / "enabled").touch()
        self.vendor_state = "active" if running else "inactive"

    @property
    def vendor_state(self) -> str:
        path = self.programs / "state"
        return path.read_text().strip() if path.exists() else "missing"

    @vendor_state.setter
    def vendor_state(self, state: str) -> None:
        (self.programs / "state").write_text(state + "\n")

    # --- the service --------------------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "NOTIFY_SOCKET": str(self.folder / "notify"),
        }

    def start(self) -> None:
        """Start it and wait for its first ticks."""
        words = ["run", "--config", str(self.config), "--sysfs-root", str(self.root)]
        argv = [sys.executable, "-c", ENTRY, *words, "--history", str(self.folder / "history")]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(argv, env=self.environment, stdout=log, stderr=log)
        log.close()
        began_ns = monotonic_ns()
        self.until(lambda status: status.at_ns > began_ns and status.ticks > 2, "first ticks")

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(60.0)

    def pause(self) -> None:
        """SIGSTOP, and it has stopped."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.process.pid}/stat")
        self.true(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "stop")

    def go_on(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60.0)

    def safe(self) -> subprocess.CompletedProcess[str]:
        """What ExecStopPost runs."""
        argv = [sys.executable, "-m", "thermal.safe", "--sysfs-root", str(self.root)]
        return subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=60, check=False)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.mount.release()
            self.process.kill()
            self.process.wait(60.0)
        self.supervisor.close()

    # --- what it says -------------------------------------------------------------------------------------------------

    def told(self) -> Told:
        return read_status(status_path(self.folder / "run"), monotonic_ns())

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def notified(self) -> list[str]:
        """What the supervisor got since it was asked last."""
        found = []
        while True:
            try:
                found.append(self.supervisor.recv(4096).decode())
            except BlockingIOError:
                return found

    def until(self, holds: Callable[[ThermalStatus], object], what: str, timeout_s: float = 60.0) -> ThermalStatus:
        """Wait until a good status fits; what it says and the log are in the failure."""
        deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
        while True:
            told = self.told()
            if told.good and told.status is not None and holds(told.status):
                return told.status
            assert monotonic_ns() < deadline_ns, f"no {what} in {timeout_s:g} s: {told}\n{self.log()}"
            assert self.process is None or self.process.poll() is None, self.log()
            sleep_until(monotonic_ns() + 20_000_000)

    def true(self, holds: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
        """Wait for anything."""
        deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
        while not holds():
            assert monotonic_ns() < deadline_ns, f"no {what} in {timeout_s:g} s\n{self.log()}"
            sleep_until(monotonic_ns() + 20_000_000)

    def ticks(self, count: int) -> ThermalStatus:
        """Let so many more ticks pass."""
        status = self.told().status
        before = 0 if status is None else status.ticks
        return self.until(lambda now: now.ticks >= before + count, f"{count} ticks")


def codes(status: ThermalStatus) -> set[str]:
    """Codes of the faults."""
    return {fault.code for fault in status.faults}


@contextmanager
def machine(folder: Path, tree: FakeTree | None = None, deadline_s: float = DEADLINE_S) -> Iterator[Node]:
    """A node with its /sys mounted below ``folder``."""
    tree = FakeTree() if tree is None else tree
    root = folder / "root"
    root.mkdir()
    with mounted(tree, root) as mount:
        node = Node(tree, mount, folder, root, deadline_s)
        try:
            yield node
        finally:
            node.close()
