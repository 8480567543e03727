"""Real ptp4l processes in network namespaces of their own: two on a veth pair, more on a bridge.

    with PtpNet(tmp_path, ("gm", "node")) as net:
        net.start_ptp4l("gm")
        node = net.start_ptp4l("node", {"logSyncInterval": -4})
        net.certain("node")                   # free_running: only so does a port become SLAVE
        node.wait_for("to SLAVE")
        net.pmc("node", "GET TIME_STATUS_NP")

Or the fixture ``ptp_net``, which skips with the reason where this cannot be done and makes as many nets as asked for:

    from tests.agent.clock.ptp_net import ptp_net  # noqa: F401  (in a conftest.py)

    def test_it(ptp_net):
        net = ptp_net("gm", "other", "node")

The machine's clock is never touched: time_stamping is software and free_running is 1, whatever else is asked for. The
first node is the grandmaster (priority1 100), the next one its successor (101), and so on. Each has the interface
``eth0`` with 192.0.2.<1..n>/24; ptp4l uses L2 by default. A bridge does not pass on P2P messages (01-80-C2-00-00-0E).
TOUCHLINE_PTP4L and TOUCHLINE_PMC name other programs than the installed ones.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pytest

from touchline.timeline import monotonic_ns, sleep_until

PREFIX = "tlptp-"
_NUMBERS = itertools.count()
_DIE_WITH_US = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
_FORCED = {"time_stamping": "software", "free_running": 1}
_QUICK = {
    "network_transport": "L2",
    "logAnnounceInterval": -2,
    "logSyncInterval": -3,
    "logMinDelayReqInterval": -3,
    "announceReceiptTimeout": 8,  # two seconds: a busy machine must not make anybody a master
    "summary_interval": -2,
}


def ptp4l_program() -> str:
    """The ptp4l under test."""
    return _program("TOUCHLINE_PTP4L", "ptp4l")


def pmc_program() -> str:
    """The pmc to compare with."""
    return _program("TOUCHLINE_PMC", "pmc")


def linuxptp_version() -> tuple[int, ...]:
    """Of the ptp4l under test: (3, 1, 1)."""
    said = subprocess.run([ptp4l_program(), "-v"], capture_output=True, text=True, check=True)
    return tuple(int(part) for part in re.findall(r"\d+", said.stdout + said.stderr)[:3])


def why_not() -> str:
    """Why no PtpNet can be made here; empty if one can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for variable, name in (("", "ip"), ("TOUCHLINE_PTP4L", "ptp4l"), ("TOUCHLINE_PMC", "pmc")):
        if not shutil.which(_program(variable, name)):
            return f"{name} is not installed (apt install iproute2 linuxptp)"
    probe = f"{PREFIX}{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()}"
    veth = ["ip", "-n", probe, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"]
    linked = subprocess.run(veth, capture_output=True, text=True, check=False)
    _ip("netns", "del", probe)
    return f"no veth pair can be made: {linked.stderr.strip()}" if linked.returncode else ""


@pytest.fixture
def ptp_net(tmp_path: Path) -> Iterator[Callable[..., PtpNet]]:
    """Makes nets by the names of their nodes; all are gone after the test."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    nets: list[PtpNet] = []

    def make(*nodes: str) -> PtpNet:
        nets.append(PtpNet(tmp_path / f"n{len(nets)}", nodes).open())
        return nets[-1]

    yield make
    for net in nets:
        net.close()


class Ptp4l:
    """One running ptp4l. ``socket``: its uds_address; ``read_only_socket``: from 4.0 on, else None."""

    def __init__(self, argv: Sequence[str], log: Path, socket: Path, read_only_socket: Path | None) -> None:
        self.socket = socket
        self.read_only_socket = read_only_socket
        self._log = log
        self._began = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self._process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT)
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def log(self) -> str:
        """What it said since it was started."""
        return self._log.read_bytes()[self._began :].decode(errors="replace")

    def wait_for(self, text: str, within_s: float = 60.0) -> None:
        """Wait until its log says so; AssertionError with the log when it does not."""
        wait_until(lambda: text in self.log() or not self.running, within_s, self.log)
        assert text in self.log(), self.log()

    def stop(self) -> None:
        """End it as systemd would; its socket disappears."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once; its socket file stays behind."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Make it hang."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End :meth:`pause`."""
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self.running:
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5)


class PtpNet:
    """Namespaces on one wire. ``folder`` takes sockets, configurations and logs; keep its path short (sun_path)."""

    def __init__(self, folder: Path, nodes: Sequence[str] = ("gm", "node")) -> None:
        if len(nodes) < 2 or len(set(nodes)) != len(nodes):
            raise ValueError("a net has two nodes or more, each with a name of its own")
        self.folder = folder
        self.nodes = tuple(nodes)
        self._stem = f"{PREFIX}{os.getpid()}-{next(_NUMBERS)}"
        self._made: list[str] = []
        self._running: dict[str, Ptp4l] = {}

    def open(self) -> PtpNet:
        """Make the namespaces and the wire; what was made is removed again if something fails."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            for node in self.nodes:
                self._add(node)
            if len(self.nodes) == 2:
                first, second = map(self.namespace, self.nodes)
                _ip("-n", first, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", second)
            else:
                self._bridge()
            for number, node in enumerate(self.nodes, 1):
                self.ip(node, "addr", "add", f"192.0.2.{number}/24", "dev", "eth0")
                self.link(node, up=True)
        except subprocess.CalledProcessError:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End every ptp4l, remove every namespace."""
        for running in self._running.values():
            running.kill()
        self._running.clear()
        while self._made:
            _ip("netns", "del", self._made.pop())

    def __enter__(self) -> PtpNet:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def namespace(self, node: str) -> str:
        """The namespace's name, for ``ip netns exec``."""
        return f"{self._stem}-{node}"

    def inside(self, node: str) -> list[str]:
        """What to put before a command line to run it there."""
        return ["ip", "netns", "exec", self.namespace(node)]

    def ip(self, node: str, *words: str) -> None:
        """``ip -n <node's namespace> ...``"""
        _ip("-n", self.namespace(node), *words)

    def link(self, node: str, *, up: bool) -> None:
        """Plug the node in or pull its cable."""
        self.ip(node, "link", "set", "eth0", "up" if up else "down")

    def start_ptp4l(
        self, node: str, extra_config: Mapping[str, object] | None = None, interfaces: Sequence[str] = ("eth0",)
    ) -> Ptp4l:
        """Start ptp4l there, at the same socket each time, and wait until the socket is there."""
        if node in self._running:
            self._running.pop(node).kill()
        socket = self.folder / f"{node}.sock"
        read_only = self.folder / f"{node}.ro" if linuxptp_version() >= (4,) else None
        options: dict[str, object] = {
            **_QUICK,
            "priority1": 100 + self.nodes.index(node),
            "uds_address": socket,
            **({"uds_ro_address": read_only} if read_only else {}),
            **(extra_config or {}),
        }
        if set(options) & set(_FORCED):
            raise ValueError(f"{', '.join(_FORCED)} cannot be chosen: the machine's clock stays untouched")
        config = self.folder / f"{node}.conf"
        config.write_text("[global]\n" + "".join(f"{key} {value}\n" for key, value in {**options, **_FORCED}.items()))
        ports = [word for interface in interfaces for word in ("-i", interface)]
        argv = [*_DIE_WITH_US, *self.inside(node), ptp4l_program(), "-f", str(config), "-m", "-q", *ports]
        socket.unlink(missing_ok=True)
        started = Ptp4l(argv, self.folder / f"{node}.log", socket, read_only)
        self._running[node] = started
        wait_until(lambda: socket.exists() or not started.running, 60.0, started.log)
        assert started.running, started.log()
        return started

    def stop(self, node: str) -> None:
        """End the node's ptp4l."""
        self._running.pop(node).stop()

    def certain(self, node: str, *, yes: bool = True) -> None:
        """Let a free-running clock call itself locked (UNCALIBRATED to SLAVE), or take that back."""
        self.pmc(node, f"SET SYNCHRONIZATION_UNCERTAIN_NP {0 if yes else 1}")

    def pmc(self, node: str, *commands: str) -> str:
        """What pmc prints for these commands at the node's socket."""
        done = subprocess.run(self.pmc_line(node, *commands), capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    def pmc_line(self, node: str, *commands: str) -> list[str]:
        """The command line of :meth:`pmc`; pmc's own socket lies in this net's folder."""
        own = ["-i", str(self.folder / f"pmc{next(_NUMBERS)}")]
        return [pmc_program(), "-u", "-b", "0", *own, "-s", str(self._running[node].socket), *commands]

    def _add(self, node: str) -> None:
        _ip("netns", "add", self.namespace(node))
        self._made.append(self.namespace(node))
        self.ip(node, "link", "set", "lo", "up")

    def _bridge(self) -> None:
        hub = f"{self._stem}-"  # no node has an empty name
        _ip("netns", "add", hub)
        self._made.append(hub)
        _ip("-n", hub, "link", "add", "br0", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        _ip("-n", hub, "link", "set", "br0", "up")
        for number, node in enumerate(self.nodes):
            peer = f"p{number}"
            place = self.namespace(node)
            _ip("-n", hub, "link", "add", peer, "type", "veth", "peer", "name", "eth0", "netns", place)
            _ip("-n", hub, "link", "set", peer, "master", "br0", "up")


def wait_until(condition: Callable[[], bool], within_s: float, explain: Callable[[], str] = str) -> None:
    """Look every 10 ms until it is so; AssertionError with the explanation when it is not in time."""
    deadline_ns = monotonic_ns() + round(within_s * 1e9)
    while not condition():
        assert monotonic_ns() < deadline_ns, explain()
        sleep_until(monotonic_ns() + 10_000_000)


def _program(variable: str, name: str) -> str:
    chosen = os.environ.get(variable, "") if variable else ""
    return chosen or shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin") or name


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, check=True, timeout=60)
