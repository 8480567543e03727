"""The site's network: nodes a and b, the rack and an observer on a switch, and a second cable between the nodes.

    rack  .1 ----+            +---- a .11 --+
                 |  br0 (sw)  |             |  br1 (sw): 192.0.2.0/30, the direct path
    obs  .50 ----+            +---- b .12 --+

Every cable is a veth pair whose far end is a port of a bridge in the namespace ``sw``. :meth:`SiteNet.impair` puts a
relay process between one port and its bridge; without it frames never leave the kernel. Addresses are those of
RFC 5737 and exist in these namespaces only.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import sys
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

from hil.failover.impair import Impairment
from hil.failover.namespace import PREFIX, Namespace, sweep
from hil.failover.programs import Program, wait_for
from touchline.errors import ResourceError

NodeId = Literal["a", "b"]
NODES: Final[tuple[NodeId, NodeId]] = ("a", "b")
UPLINK, DIRECT = "eth0", "eth1"
RACK, OBSERVER, SWITCH = "rack", "obs", "sw"
ADDRESS: Final = {"rack": "198.51.100.1", "a": "198.51.100.11", "b": "198.51.100.12", "obs": "198.51.100.50"}
DIRECT_ADDRESS: Final = {"a": "192.0.2.1", "b": "192.0.2.2"}
VIRTUAL_ADDRESS: Final = "198.51.100.100"
PREFIX_LENGTH: Final = 24
BRIDGES: Final = {UPLINK: "br0", DIRECT: "br1"}

_COUNT: Final = itertools.count()
_READY_S: Final = 30.0


class Cable:
    """One cable as the switch sees it: a port of a bridge, or a relay and then a port."""

    def __init__(self, net: SiteNet, place: str, interface: str) -> None:
        self.place, self.interface = place, interface
        self.bridge = BRIDGES[interface]
        self.port = f"{'p' if interface == UPLINK else 'x'}-{place}"
        self._net = net
        self._relay: Program | None = None
        self._control: socket.socket | None = None

    @property
    def impaired(self) -> bool:
        """Whether a relay is in the way."""
        return self._relay is not None

    def plug(self, *, up: bool) -> None:
        """Plug it in, or pull it: the other end loses its carrier."""
        self._net.switch.set_link(self.port, up=up)

    def insert(self, seed: int = 0) -> None:
        """Put a relay in the way, which changes nothing yet; the swap takes microseconds."""
        if self._relay is not None:
            return
        inner, outer = f"r{self.port}", f"s{self.port}"
        switch = self._net.switch
        switch.ip("link", "add", inner, "type", "veth", "peer", "name", outer)
        for interface in (inner, outer):
            switch.no_offload(interface)
            switch.set_link(interface, up=True)
        path = self._net.folder / f"{self.port}.sock"
        path.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "hil.failover.relay", self.port, inner, str(path), str(seed)]
        log = self._net.folder / f"relay-{self.port}.log"
        relay = Program(f"relay {self.port}", argv, log, before=switch.inside())
        relay.start()
        try:
            self._control = _dial(relay, path)
        except BaseException:  # also Ctrl-C: a relay that nobody knows would stay
            relay.stop()
            switch.ip("link", "del", inner)
            raise
        self._relay = relay
        switch.set_port(self.bridge, self.port, on=False)
        self._say({"forward": True})
        switch.set_port(self.bridge, outer, on=True)

    def remove(self) -> None:
        """Take the relay out again."""
        if self._relay is None:
            return
        relay, control, self._relay, self._control = self._relay, self._control, None, None
        switch = self._net.switch
        switch.set_port(self.bridge, f"s{self.port}", on=False)  # from here on the relay's frames end in the dark
        switch.set_port(self.bridge, self.port, on=True)
        relay.stop()
        if control is not None:
            control.close()
        switch.ip("link", "del", f"r{self.port}")

    def impair(self, *, out: Impairment | None = None, into: Impairment | None = None) -> int:
        """Change what leaves the place (``out``) and what comes to it (``into``); when it took effect, monotonic ns."""
        message: dict[str, Any] = {}
        for name, wanted in (("out", out), ("in", into)):
            if wanted is not None:
                message[name] = asdict(wanted)
        return int(self._say(message)["at_ns"])

    def counters(self) -> dict[str, dict[str, int]]:
        """Frames seen, lost, ... of both directions."""
        answer = self._say({})
        return {name: answer[name] for name in ("out", "in")}

    @property
    def relay_pid(self) -> int | None:
        """The relay's process."""
        return None if self._relay is None else self._relay.pid

    def _say(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._control is None:
            raise ResourceError(f"cable {self.port} has no relay", hint="insert() comes first")
        self._control.send(json.dumps(message).encode())
        answer: dict[str, Any] = json.loads(self._control.recv(65_536))
        if "error" in answer:
            raise ValueError(f"{self.port}: {answer['error']}")
        return answer


class SiteNet:
    """The network; a context manager that removes everything that it made. ``folder`` takes sockets and logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spaces: dict[str, Namespace] = {}
        self.uplink: dict[str, Cable] = {}
        self.direct: dict[NodeId, Cable] = {}
        self._close = ExitStack()

    @property
    def switch(self) -> Namespace:
        """Where the bridges and relays are."""
        return self.spaces[SWITCH]

    def __enter__(self) -> SiteNet:
        sweep()
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = f"{PREFIX}{os.getpid()}-{next(_COUNT)}-"
        try:
            for place in (SWITCH, RACK, OBSERVER, *NODES):
                space = self.spaces[place] = Namespace(stem + place)
                self._close.callback(space.close)
            self._wire()
        except BaseException:  # also Ctrl-C: what was made is removed, then the reason goes on
            self._close.close()
            raise
        self._close.callback(self.remove_relays)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._close.close()

    def cables(self) -> list[Cable]:
        """All of them."""
        return [*self.uplink.values(), *self.direct.values()]

    def cables_of(self, node: NodeId) -> list[Cable]:
        """Uplink and direct path of a node."""
        return [self.uplink[node], self.direct[node]]

    def mac(self, place: str) -> str:
        """Hardware address of its uplink."""
        return self.spaces[place].mac(UPLINK)

    def flush(self, node: NodeId) -> None:
        """Give the node's interfaces the addresses of its boot: a virtual address that a dead node held is gone."""
        space = self.spaces[node]
        for interface, address in ((UPLINK, ADDRESS[node]), (DIRECT, DIRECT_ADDRESS[node])):
            space.ip("addr", "flush", "dev", interface)
            length = PREFIX_LENGTH if interface == UPLINK else 30
            space.ip("addr", "add", f"{address}/{length}", "dev", interface)

    def heal(self) -> None:
        """Every cable in, every relay harmless."""
        for cable in self.cables():
            cable.plug(up=True)
            if cable.impaired:
                cable.impair(out=Impairment(), into=Impairment())
        for node in NODES:
            for interface in (UPLINK, DIRECT):
                self.spaces[node].set_link(interface, up=True)

    def remove_relays(self) -> None:
        """Every cable as it was made."""
        for cable in self.cables():
            cable.remove()

    def _wire(self) -> None:
        switch = self.switch
        for key in ("default", "all"):
            switch.sysctl(f"net.ipv6.conf.{key}.disable_ipv6", "1")
        for bridge in BRIDGES.values():
            switch.ip("link", "add", bridge, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
            switch.set_link(bridge, up=True)
        for place, address in ADDRESS.items():
            self.uplink[place] = self._cable(place, UPLINK, f"{address}/{PREFIX_LENGTH}")
        for node in NODES:
            self.direct[node] = self._cable(node, DIRECT, f"{DIRECT_ADDRESS[node]}/30")

    def _cable(self, place: str, interface: str, address: str) -> Cable:
        cable = Cable(self, place, interface)
        space = self.spaces[place]
        space.ip(
            *("link", "add", interface, "type", "veth", "peer", "name", cable.port, "netns", self.switch.name),
        )
        space.no_offload(interface)
        self.switch.no_offload(cable.port)
        space.ip("addr", "add", address, "dev", interface)
        space.set_link(interface, up=True)
        self.switch.set_port(cable.bridge, cable.port, on=True)
        self.switch.set_link(cable.port, up=True)
        return cable


def _dial(relay: Program, path: Path) -> socket.socket:
    """The control socket of a relay that has just been started."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def connected() -> bool:
        if relay.pid is None:
            raise ResourceError(f"{relay.name} ended: {relay.said()}")
        with suppress(OSError):
            made.connect(str(path))
            return True
        return False

    wait_for(connected, _READY_S, f"{relay.name} to listen", relay.said)
    made.settimeout(5.0)
    return made
