"""A network of two namespaces and a veth pair, and programs started in them. The machine's clock is never touched."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from agent.clock.linuxptp import find_ptp4l, ptp4l_conf
from tests.agent.clock.linuxptp.sections import clock
from touchline.timeline import monotonic_ns

PTP4L = Path(os.environ.get("TOUCHLINE_PTP4L") or shutil.which("ptp4l") or "/usr/sbin/ptp4l")
"""The one under test; pmc and phc2sys are taken from the same folder."""

HARMLESS = {"time_stamping": "software", "free_running": True}
INTERFACE = "port0"


class Program:
    """A process whose lines are waited for."""

    def __init__(self, argv: list[str]) -> None:
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self._process.stdout is not None
        self._pipe = self._process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        self.said = ""

    def wait_for(self, pattern: str, seconds: float = 60.0) -> str:
        """Return the first line that matches; AssertionError with all that was said if none comes."""
        deadline_ns = monotonic_ns() + int(seconds * 1e9)
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while monotonic_ns() < deadline_ns:
                if found := re.search(rf"^.*{pattern}.*$", self.said, re.M):
                    return found[0]
                if selector.select(0.2):
                    more = self._pipe.read()
                    if not more and self._process.poll() is not None:
                        break
                    self.said += (more or b"").decode(errors="replace")
        raise AssertionError(f"no {pattern!r} in:\n{self.said}")

    def end(self) -> int:
        """Stop it and return its exit code."""
        self._process.terminate()
        try:
            self.said += self._process.communicate(timeout=60)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        return self._process.returncode


class Network:
    """Two namespaces, ``port0`` in each, joined; a folder for sockets that is short enough for them."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tl-lp-"))
        self.names = [f"tl-lp-{os.getpid()}-{side}" for side in "ab"]
        self.programs: list[Program] = []

    def __enter__(self) -> Network:
        for name in self.names:
            self._ip("netns", "add", name)
        first, second = self.names
        self._ip("link", "add", INTERFACE, "netns", first, "type", "veth", "peer", "name", INTERFACE, "netns", second)
        for number, name in enumerate(self.names, 1):
            self._ip("-n", name, "address", "add", f"10.88.0.{number}/24", "dev", INTERFACE)
            self._ip("-n", name, "address", "add", f"fd88::{number}/64", "dev", INTERFACE, "nodad")
            for link in ("lo", INTERFACE):
                self._ip("-n", name, "link", "set", link, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for program in self.programs:
            program.end()
        for name in self.names:
            self._ip("netns", "delete", name, check=False)
        shutil.rmtree(self.folder)

    def ptp4l(self, side: int = 0, **ptp: Any) -> Program:
        """Start ptp4l with this ``[clock.ptp]`` and what keeps it from the machine's clock."""
        path = self.folder / f"{len(self.programs)}.conf"
        section = clock(interface=INTERFACE, uds_path=str(path.with_suffix(".uds")), **HARMLESS, **ptp)
        path.write_text(ptp4l_conf(find_ptp4l(PTP4L).version, section))
        return self.start(side, str(PTP4L), "-f", str(path))

    def start(self, side: int, *argv: str) -> Program:
        """Start a program in a namespace; it ends with the network."""
        program = Program(["ip", "netns", "exec", self.names[side], *argv])
        self.programs.append(program)
        return program

    def stop(self, program: Program) -> int:
        """End one program now."""
        self.programs.remove(program)
        return program.end()

    def pmc(self, what: str, side: int, domain: int, transport_specific: int, uds: Path) -> dict[str, str]:
        """Ask ``GET what`` with linuxptp's own client: the fields of its answer."""
        argv = ["ip", "netns", "exec", self.names[side], str(PTP4L.parent / "pmc"), "-u", "-b", "0"]
        argv += ["-d", str(domain), "-t", hex(transport_specific), "-s", str(uds), "-i", str(self.folder / "pmc")]
        done = subprocess.run([*argv, f"GET {what}"], capture_output=True, text=True, timeout=60, check=True)
        return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if len(line.split()) == 2)

    @staticmethod
    def _ip(*words: str, check: bool = True) -> None:
        subprocess.run(["ip", *words], check=check, capture_output=True)
