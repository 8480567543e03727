"""The same faults against keepalived, on the same network with the same observer; only the address can be compared.

keepalived moves an address and knows nothing of records, pipelines or a witness.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hil.failover.configs import node_name, other
from hil.failover.evidence import both_ms
from hil.failover.impair import Impairment
from hil.failover.judge import NS_PER_MS
from hil.failover.keepalived import Keepalived
from hil.failover.namespace import Namespace
from hil.failover.net import NODES, OBSERVER, VIRTUAL_ADDRESS, NodeId, SiteNet
from hil.failover.probe import Observer
from hil.failover.programs import wait_for
from touchline.timeline import monotonic_ns, sleep_until

FAULTS: Final = ("power-cut", "uplink-down")
CALM_NS: Final = 300 * NS_PER_MS
SPREAD_NS: Final = 160 * NS_PER_MS
APART_S: Final = 1.5
_SWITCH_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class PeerTrial:
    """How long until the observer heard the other node, ms after the fault."""

    fault: str
    address_ms: float


class PeerSite:
    """Two nodes that run keepalived and nothing else. A context manager."""

    def __init__(self, folder: Path) -> None:
        self.net = SiteNet(folder / "net")
        self.keepalived = Keepalived(self.net, folder)
        self._folder = folder
        self._observer: Observer | None = None

    def __enter__(self) -> PeerSite:
        self.net.__enter__()
        try:
            nodes: dict[str, Namespace] = {node_name(node): self.net.spaces[node] for node in NODES}
            self._observer = Observer(self.net.spaces[OBSERVER], self._folder, VIRTUAL_ADDRESS, nodes)
            for node in NODES:
                self.keepalived.start(node)
            self.observer.start()
        except BaseException:  # also Ctrl-C: what was made is removed, then the reason goes on
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def observer(self) -> Observer:
        """The probe of the address."""
        assert self._observer is not None
        return self._observer

    def trial(self, fault: str, seed: int) -> PeerTrial:
        """One of ``FAULTS``, and back to a pair."""
        master = self._settle()
        sleep_until(monotonic_ns() + CALM_NS + random.Random(seed).randrange(SPREAD_NS))
        began_ns = self._begin(fault, master)
        twin_mac = self.net.mac(other(master))
        self._wait(lambda: self.observer.who() == twin_mac, f"the address at the other node after {fault}")
        first_ns = next(span.first_ns for span in reversed(self.observer.read().spans) if span.mac == twin_mac)
        self._end(fault, master)
        return PeerTrial(fault, (first_ns - began_ns) / NS_PER_MS)

    def apart_ms(self, seed: int) -> float:
        """Cut the nodes off from each other, not from the rest: for how long do both carry the address?"""
        master = self._settle()
        cable = self.net.uplink[master]
        cable.insert(seed)
        began_ns = cable.impair(out=(cut := Impairment(cut=True, peer=self.net.mac(other(master)))), into=cut)
        sleep_until(began_ns + round(APART_S * 1e9))
        cable.impair(out=Impairment(), into=Impairment())
        cable.remove()
        self._settle()
        return both_ms(self.observer.read(), ())

    def switches(self, span_s: float) -> int:
        """Leave it alone; how often the address moved."""
        self._settle()
        before = len(self.observer.read().carrying)
        sleep_until(monotonic_ns() + round(span_s * 1e9))
        return sum(one.on for one in self.observer.read().carrying[before:])

    def _settle(self) -> NodeId:
        master = self.keepalived.settle()
        mac = self.net.mac(master)
        self._wait(lambda: self.observer.who() == mac, "the master to answer")
        return master

    def _begin(self, fault: str, master: NodeId) -> int:
        pids = self.keepalived.pids(master)
        began_ns = monotonic_ns()
        self.net.uplink[master].plug(up=False)
        if fault == "power-cut":
            self.net.direct[master].plug(up=False)
            self.keepalived.kill(master, pids)
        return began_ns

    def _end(self, fault: str, master: NodeId) -> None:
        if fault == "power-cut":
            self.net.flush(master)
        self.net.heal()
        if fault == "power-cut":
            self.keepalived.start(master)
        sleep_until(monotonic_ns() + CALM_NS)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        wait_for(condition, _SWITCH_S, what)

    def _close(self) -> None:
        if self._observer is not None:
            self._observer.stop()
        self.keepalived.stop()
        self.net.__exit__(None, None, None)
