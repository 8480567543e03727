"""The network: who reaches whom, what a relay does to real frames, and that nothing stays behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from functools import partial
from itertools import groupby
from pathlib import Path

import pytest

from hil.failover.configs import node_name
from hil.failover.impair import Impairment
from hil.failover.namespace import PREFIX, sweep
from hil.failover.net import ADDRESS, DIRECT_ADDRESS, NODES, OBSERVER, RACK, UPLINK, SiteNet
from hil.failover.probe import Observer
from hil.failover.programs import wait_for
from touchline.errors import ResourceError
from touchline.timeline import monotonic_ns, sleep_until

pytestmark = pytest.mark.system
CUT = Impairment(cut=True)
DEADLINE_S = 30.0


def mine() -> list[str]:
    """Namespaces that this process made."""
    return [path.name for path in Path("/run/netns").glob(f"{PREFIX}{os.getpid()}-*")]


class Line:
    """UDP from one place to another and back: which of some datagrams came; ``copies`` of each are waited for."""

    def __init__(self, net: SiteNet, place: str, to: str, address: str) -> None:
        self.far = net.spaces[to].socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.far.bind((address, 7000))
        self.near = net.spaces[place].socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.near.connect((address, 7000))
        for end in (self.far, self.near):
            end.settimeout(DEADLINE_S)
        self.near.send(b"hello")  # the neighbour tables are filled
        self.back = self.far.recvfrom(10)[1]
        self.far.sendto(b"hello", self.back)
        self.near.recv(10)

    def close(self) -> None:
        self.far.close()
        self.near.close()

    def out(self, count: int, copies: int = 1) -> list[int]:
        return self._pass(count, copies, self.near.send, self.far)

    def into(self, count: int, copies: int = 1) -> list[int]:
        return self._pass(count, copies, lambda data: self.far.sendto(data, self.back), self.near)

    @staticmethod
    def _pass(count, copies, send, end) -> list[int]:
        for number in range(count):
            send(number.to_bytes(4, "little"))
        came: list[int] = []
        try:
            while True:
                end.settimeout(DEADLINE_S if len(came) < copies * count else 0.3)
                came.append(int.from_bytes(end.recv(10), "little"))
        except TimeoutError:
            return came


def test_everybody_reaches_everybody_and_the_direct_path_is_another(net: SiteNet):
    for place, to in (("a", RACK), ("b", RACK), (OBSERVER, "a")):
        line = Line(net, place, to, ADDRESS[to])
        assert line.out(50) == line.into(50) == list(range(50))
        line.close()
    direct = Line(net, "a", "b", DIRECT_ADDRESS["b"])
    uplink = Line(net, "a", "b", ADDRESS["b"])
    net.uplink["a"].plug(up=False)
    assert uplink.out(5, copies=0) == []
    assert direct.out(5) == list(range(5))


def test_each_direction_of_a_relay_is_impaired_alone(net: SiteNet):
    cable = net.uplink["a"]
    cable.insert(seed=5)
    line = Line(net, "a", RACK, ADDRESS[RACK])
    assert line.out(100) == line.into(100) == list(range(100))
    cable.impair(out=CUT)
    assert line.out(10, copies=0) == [] and line.into(10) == list(range(10))
    cable.impair(out=Impairment(), into=CUT)
    assert line.out(10) == list(range(10)) and line.into(10, copies=0) == []
    cable.impair(into=Impairment(duplicate_pct=100))
    assert line.into(10, copies=2) == [number for number in range(10) for _ in range(2)]
    assert cable.counters()["in"]["lost"] >= 10
    cable.remove()
    assert not cable.impaired
    assert line.out(100) == line.into(100) == list(range(100))


def test_a_relay_can_cut_one_peer_off_and_keep_the_other(net: SiteNet):
    to_rack, to_twin = Line(net, "a", RACK, ADDRESS[RACK]), Line(net, "a", "b", ADDRESS["b"])
    cable = net.uplink["a"]
    cable.insert()
    twin = Impairment(cut=True, peer=net.mac("b"))
    cable.impair(out=twin, into=twin)
    assert to_twin.out(5, copies=0) == [] and to_twin.into(5, copies=0) == []
    assert to_rack.out(5) == to_rack.into(5) == list(range(5))


def test_a_relay_delays_and_says_what_it_refuses(net: SiteNet):
    cable = net.uplink["a"]
    cable.insert()
    line = Line(net, "a", RACK, ADDRESS[RACK])
    cable.impair(out=Impairment(delay_ms=50))
    began_ns = monotonic_ns()
    line.near.send(b"1")
    line.far.recv(10)
    assert monotonic_ns() - began_ns >= 50_000_000
    with pytest.raises(ValueError, match="not between 0 and 100"):
        cable.impair(out=Impairment(loss_pct=5.0, duplicate_pct=5.0), into=_bad())
    with pytest.raises(ResourceError, match="no relay"):
        net.uplink["b"].counters()


def _bad() -> Impairment:
    made = Impairment()
    object.__setattr__(made, "loss_pct", 200.0)  # what a foreign control message could say
    return made


def _answers(observer: Observer, mac: str) -> bool:
    return observer.who() == mac


def test_the_observer_hears_an_address_move_and_the_kernels_that_carry_it(net: SiteNet, tmp_path: Path):
    named = {node_name(node): net.spaces[node] for node in NODES}
    observer = Observer(net.spaces[OBSERVER], tmp_path, "198.51.100.100", named)
    observer.start()
    try:
        for node in NODES:
            net.spaces[node].ip("addr", "add", "198.51.100.100/24", "dev", UPLINK)
            mac = net.mac(node)
            wait_for(partial(_answers, observer, mac), DEADLINE_S, f"{node} to answer")
            net.spaces[node].ip("addr", "del", "198.51.100.100/24", "dev", UPLINK)
            net.spaces[OBSERVER].ip("neigh", "flush", "dev", UPLINK)
    finally:
        observer.stop()
    heard = observer.read()
    assert [(one.node, one.on) for one in heard.carrying] == [
        (node_name(node), on) for node in NODES for on in (True, False)
    ]
    macs = [mac for mac, _ in groupby(span.mac for span in heard.spans)]  # a pause of the observer ends a span
    assert macs == [net.mac(node) for node in NODES]
    assert all(span.count > 0 for span in heard.spans)


def test_everything_is_removed_after_an_exception(namespaces: None, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), SiteNet(tmp_path / "net") as net:
        net.uplink["a"].insert()
        relay = net.uplink["a"].relay_pid
        assert mine()
        raise KeyboardInterrupt
    assert mine() == []
    assert relay is not None and not Path(f"/proc/{relay}").exists()


HOLD = """
import sys
from functools import partial
from pathlib import Path
from hil.failover.net import SiteNet
from touchline.timeline import monotonic_ns, sleep_until
with SiteNet(Path(sys.argv[1])) as net:
    net.uplink["a"].insert()
    print(net.uplink["a"].relay_pid, flush=True)
    sleep_until(monotonic_ns() + 60_000_000_000)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_everything_is_removed_after_a_signal(namespaces: None, tmp_path: Path, repo: Path, how: signal.Signals):
    argv = [sys.executable, "-c", HOLD, str(tmp_path / "net")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=repo) as holder:
        assert holder.stdout is not None
        relay = int(holder.stdout.readline())
        holder.send_signal(how)
        holder.wait(60)
    left = f"{PREFIX}{holder.pid}-"
    if how is signal.SIGKILL:  # nobody could tidy up: the next rig does
        assert any(name.startswith(left) for name in sweep())
    assert not list(Path("/run/netns").glob(f"{left}*"))
    deadline_ns = monotonic_ns() + int(DEADLINE_S * 1e9)
    while Path(f"/proc/{relay}").exists() and monotonic_ns() < deadline_ns:
        sleep_until(monotonic_ns() + 10_000_000)
    assert not Path(f"/proc/{relay}").exists()
