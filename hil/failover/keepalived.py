"""keepalived (Debian's, GPL-2, a program of its own) on the same network: the peer of the benchmark, at its floor.

VRRP version 3 with adverts every 10 ms, its smallest. The backup takes over after three adverts and a skew of
``(256 - priority) / 256`` of one: 30 to 40 ms. It is told to run with real-time priority, to announce at once and
again and again, and not to take back what the other holds. It has no witness: both hold the address when they cannot
hear each other.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from hil.failover.net import ADDRESS, NODES, PREFIX_LENGTH, UPLINK, VIRTUAL_ADDRESS, NodeId, SiteNet
from hil.failover.programs import Program, processes_of, send, wait_for
from touchline.run import need, run

ADVERT_S: Final = 0.01
PRIORITIES: Final[dict[NodeId, int]] = {"a": 200, "b": 150}
REAL_TIME_PRIORITY: Final = 40
_START_S: Final = 30.0

_CONFIG: Final = """\
global_defs {{
    router_id {name}
    vrrp_version 3
    vrrp_garp_master_delay 1
    vrrp_garp_master_repeat 5
    vrrp_garp_interval 0.001
    vrrp_garp_master_refresh 1
    vrrp_rt_priority {real_time}
    vrrp_no_swap
    vrrp_min_garp false
}}
vrrp_instance touchline {{
    state BACKUP
    nopreempt
    interface {interface}
    virtual_router_id 51
    priority {priority}
    advert_int {advert_s}
    unicast_src_ip {ours}
    unicast_peer {{
        {theirs}
    }}
    virtual_ipaddress {{
        {address}/{length} dev {interface}
    }}
}}
"""


class Keepalived:
    """Two keepalived processes on a site's network."""

    def __init__(self, net: SiteNet, folder: Path) -> None:
        self._net, self._folder = net, folder
        self._program = need("keepalived", "keepalived")
        self._running: dict[NodeId, Program] = {}

    def version(self) -> str:
        """As it says: ``v2.2.7``."""
        said = run([self._program, "--version"]).stderr.decode(errors="replace")
        return said.split()[1] if len(said.split()) > 1 else "?"

    def start(self, node: NodeId) -> None:
        """Start the node's; it holds nothing yet."""
        folder = self._folder / f"keepalived-{node}"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "keepalived.conf"
        config.write_text(self.config(node))
        for name in ("pid", "vrrp_pid"):
            (folder / name).unlink(missing_ok=True)  # of one that was killed
        files = [word for name in ("pid", "vrrp_pid") for word in (f"--{name}", str(folder / name))]
        argv = [self._program, "--dont-fork", "--log-console", "--vrrp", "--use-file", str(config), *files]
        program = Program(f"keepalived {node}", argv, folder / "keepalived.log", self._net.spaces[node].inside())
        program.start()
        self._running[node] = program
        program.await_words("Entering BACKUP STATE", _START_S)

    def config(self, node: NodeId) -> str:
        """Its configuration file."""
        other = NODES[1 - NODES.index(node)]
        return _CONFIG.format(
            name=f"node-{node}",
            real_time=REAL_TIME_PRIORITY,
            interface=UPLINK,
            priority=PRIORITIES[node],
            advert_s=ADVERT_S,
            ours=ADDRESS[node],
            theirs=ADDRESS[other],
            address=VIRTUAL_ADDRESS,
            length=PREFIX_LENGTH,
        )

    def pids(self, node: NodeId) -> list[int]:
        """All its processes."""
        return processes_of([self._running[node]])

    def kill(self, node: NodeId, pids: list[int]) -> None:
        """SIGKILL to all of it, found beforehand; what it put on the interface stays."""
        send(signal.SIGKILL, pids)
        self._running.pop(node).reap()

    def holds(self, node: NodeId) -> bool:
        """Whether the node's interface carries the virtual address."""
        words = [need("ip", "iproute2"), "-n", self._net.spaces[node].name, "-o", "addr", "show", "to", VIRTUAL_ADDRESS]
        return bool(run(words).stdout.strip())

    def settle(self, within_s: float = 10.0) -> NodeId:
        """Wait until exactly one node carries the address; which."""
        wait_for(lambda: sum(map(self.holds, NODES)) == 1, within_s, "one master", poll_ns=20_000_000)
        return next(node for node in NODES if self.holds(node))

    def stop(self) -> None:
        """End both, by pid."""
        for program in self._running.values():
            program.stop()
        self._running.clear()
