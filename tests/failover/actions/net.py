"""Three machines on one switch, as network namespaces: A and B, the twins, and C, who talks to their address.

    with ThreeHosts() as net:
        net.inside("a", lambda: VirtualAddress(...).hold())
        net.neighbour("c", "192.0.2.10")

Each has ``eth0`` with 192.0.2.<1..3>/24 and 2001:db8::<1..3>/64. Everything is removed at the end.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from touchline.timeline import monotonic_ns, sleep_until

T = TypeVar("T")
HOSTS = ("a", "b", "c")
_NUMBERS = itertools.count()
_CLONE_NEWNET = 0x40000000
_REPO = Path(__file__).resolve().parents[3]


def why_not() -> str:
    """Why this cannot be done here; empty if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "ip is not installed (apt install iproute2)"
    probe = f"tlfa-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()}"
    kinds = (["type", "veth", "peer", "name", "x1"], ["type", "bridge"])
    tried = [
        subprocess.run(["ip", "-n", probe, "link", "add", f"x{n}0", *kind], capture_output=True, text=True, check=False)
        for n, kind in enumerate(kinds)
    ]
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return next((one.stderr.strip() for one in tried if one.returncode), "")


def wait_until(condition: Callable[[], bool], within_s: float, what: str = "") -> float:
    """Wait; returns how long it took, s. AssertionError when it never came."""
    begun_ns = monotonic_ns()
    while not condition():
        now_ns = monotonic_ns()
        assert now_ns - begun_ns < within_s * 1e9, f"not within {within_s} s: {what}"
        sleep_until(now_ns + 2_000_000)
    return (monotonic_ns() - begun_ns) * 1e-9


class ThreeHosts:
    """See the module."""

    def __init__(self) -> None:
        stem = f"tlfa-{os.getpid()}-{next(_NUMBERS)}"
        self.names = {host: f"{stem}-{host}" for host in HOSTS}
        self.switch = f"{stem}-s"
        self.processes: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> ThreeHosts:
        try:
            self._build()
        except BaseException:  # an interrupt too: no namespace stays
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _build(self) -> None:
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        ip("-n", self.switch, "link", "set", "br0", "up")
        for number, (host, name) in enumerate(self.names.items(), 1):
            ip("netns", "add", name)
            peer = ["peer", "name", f"to-{host}", "netns", self.switch]
            ip("link", "add", "eth0", "netns", name, "type", "veth", *peer)
            ip("-n", self.switch, "link", "set", f"to-{host}", "master", "br0", "up")
            ip("-n", name, "address", "add", f"192.0.2.{number}/24", "dev", "eth0")
            ip("-n", name, "address", "add", f"2001:db8::{number}/64", "dev", "eth0", "nodad")
            for link in ("lo", "eth0"):
                ip("-n", name, "link", "set", link, "up")

    def _remove(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for name in (*self.names.values(), self.switch):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def inside(self, host: str, job: Callable[[], T]) -> T:
        """Run ``job`` in a thread that lives in this host's network; its error is raised here."""
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                enter(self.names[host])
                results.append(job())
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def start(self, host: str, *arguments: str, **options: Any) -> subprocess.Popen[Any]:
        """Start Python with these arguments on this host."""
        argv = ["ip", "netns", "exec", self.names[host], sys.executable, *arguments]
        process = subprocess.Popen(argv, cwd=_REPO, **options)
        self.processes.append(process)
        return process

    def ip(self, host: str, *words: str) -> str:
        """``ip`` on this host."""
        return ip("-n", self.names[host], *words)

    def mac(self, host: str) -> str:
        """MAC address of this host's eth0."""
        words = self.ip(host, "link", "show", "eth0").split()
        return words[words.index("link/ether") + 1]

    def neighbour(self, host: str, address: str) -> str:
        """The MAC address that this host has for ``address``; empty if none."""
        words = self.ip(host, "neighbour", "show", address).split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else ""

    def has(self, host: str, address: str) -> bool:
        """Whether the kernel of this host has the address."""
        return f" {address} " in self.ip(host, "address", "show", "dev", "eth0")


def enter(name: str) -> None:
    """Move the calling thread into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/var/run/netns/{name}").open("rb") as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {name}")


def ip(*words: str) -> str:
    """Run ip(8)."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout
