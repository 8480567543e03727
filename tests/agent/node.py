"""A node for system tests: pattern or video camera, a model that always sees the same people, real calibration."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.parent.status import last_status
from hil.failover.people import SIZE_PX, people_model
from hil.rack.pki import Identity
from hil.venue.optics import site_camera
from touchline.timeline import monotonic_ns, sleep_until

NAME = "node-t"


class Node:
    """One agent under test: writes its configuration, runs the real program, ends it by pid."""

    def __init__(self, folder: Path, broker_port: int, identity: Identity, cameras: int = 1) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        site_camera("left", SIZE_PX).save(folder / "left.json")
        self.text = _configuration(folder, people_model(folder / "people.onnx"), broker_port, identity, cameras)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        """Its configuration file, as the text stands now."""
        path = self.folder / "node.toml"
        path.write_text(self.text)
        return path

    def edit(self, old: str, new: str) -> None:
        """Change the configuration."""
        assert old in self.text, old
        self.text = self.text.replace(old, new)

    def start(self) -> None:
        """Run it."""
        argv = [sys.executable, "-m", "touchline.cli", "agent", "run", "--config", str(self.config)]
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        """All it said."""
        return (self.folder / "agent.log").read_text()

    def status(self) -> dict[str, Any]:
        """Its status file; empty before the first."""
        return last_status(self.folder / "run")

    def child_pid(self, name: str) -> int:
        """Process id of a child that runs now."""
        pid = self.status()["children"][name]["pid"]
        assert isinstance(pid, int)
        return pid

    def kill(self) -> None:
        """SIGKILL the parent."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self, timeout_s: float = 60.0) -> int:
        """SIGTERM and its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Its exit code once it has ended by itself."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """Make sure that it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def wait_for(condition: Callable[[], bool], what: str, node: Node, timeout_s: float = 60.0) -> None:
    """Wait for a condition with a deadline; the agent's log is in the failure."""
    deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
    while not condition():
        assert monotonic_ns() < deadline_ns, f"timed out waiting for {what}; log:\n{node.log}\nstatus: {node.status()}"
        sleep_until(monotonic_ns() + 20_000_000)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _configuration(folder: Path, model: Path, broker_port: int, identity: Identity, cameras: int) -> str:
    camera = """
[[camera]]
number = {number}
source = "pattern"
width_px = {width}
height_px = {height}
pixel_format = "gray8"
rate_hz = 50.0
calibration = "left.json"
[camera.options]
"""
    width, height = SIZE_PX
    parts = [f'[node]\nname = "{NAME}"\nrun_dir = "run"\n']
    parts += [camera.format(number=number, width=width, height=height) for number in range(1, cameras + 1)]
    parts.append(
        f"""
[ring]
slots = 16
lock = "off"
[detect]
model = "{model}"
[publish]
spool_dir = "spool"
spool_max = "64MiB"
wait_for_sink = false
[mqtt]
host = "127.0.0.1"
port = {broker_port}
ca_file = "{identity.ca_file}"
cert_file = "{identity.cert_file}"
key_file = "{identity.key_file}"
[metrics]
port = 0
[process]
drain_s = 20.0
"""
    )
    return "".join(parts)
