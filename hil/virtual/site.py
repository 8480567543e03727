"""A virtual site: one network, the rack on it, and one or two nodes (seat a and its twin b)."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from hil.rack.pki import LocalCa
from hil.virtual.devices.optics import Optics
from hil.virtual.image import Image
from hil.virtual.machine.network import Network
from hil.virtual.machine.snapshot import Snapshot
from hil.virtual.node import VirtualNode, plugged
from hil.virtual.passenger.provision import provision, start_agent
from hil.virtual.passenger.seat import Passenger
from hil.virtual.rack import RackIdentities, VirtualRack
from touchline.timeline import monotonic_ns


@dataclass(frozen=True, slots=True)
class Golden:
    """A site frozen when everything worked: a snapshot of each seat and the rack identities that its nodes trust.

    ``ready_s``: seconds from power-on to the agent's READY, per seat; ``snapshot_s``: seconds for all snapshots.
    """

    image: Image
    passengers: tuple[Passenger, ...]
    snapshots: dict[str, Snapshot]
    identities: RackIdentities
    ready_s: dict[str, float] = field(default_factory=dict)
    snapshot_s: float = 0.0


class VirtualSite:
    """Network, rack and nodes in one folder; a context manager whose end ends every process, by pid."""

    def __init__(self, image: Image, folder: Path, passengers: tuple[Passenger, ...], name: str | None = None) -> None:
        self.image, self.folder, self.passengers = image, folder, passengers
        self.name = name or f"{os.getpid()}"
        self.network = Network(self.name)
        self.nodes: dict[str, VirtualNode] = {}
        self.identities: RackIdentities | None = None
        self.optics = Optics(lambda: [node.guest for node in self.nodes.values() if node.machine.pid is not None])
        """The scene before the cameras of every node whose passenger looks through it."""

        self._rack: VirtualRack | None = None
        self._stack = ExitStack()

    @property
    def rack(self) -> VirtualRack:
        """Broker and aggregator."""
        assert self._rack is not None, "enter the site first"
        return self._rack

    def node(self, seat: str) -> VirtualNode:
        """The node of a seat."""
        return self.nodes[seat]

    def boot(self) -> dict[str, float]:
        """Boot every node from nothing, give it its identity, start its agent; seconds to READY per seat.

        The nodes boot side by side, so each one's time contains the others' share of this machine.
        """
        ca = LocalCa(self.folder / "pki")
        self._begin_rack(RackIdentities.issue(ca))
        began_ns = {seat: self._power_on(node) for seat, node in self.nodes.items()}
        for node in self.nodes.values():
            node.machine.wait_guest()
            provision(node.guest, ca, node.passenger)
            start_agent(node.guest)
        self.rack.await_up()
        return {seat: self._ready_s(self.nodes[seat], at_ns) for seat, at_ns in began_ns.items()}

    def restore(self, golden: Golden) -> None:
        """Bring every node back as it was frozen, with a rack that it trusts; all of them come up side by side."""
        self._begin_rack(golden.identities.copy_to(self.folder / "pki"))
        for seat, node in self.nodes.items():
            node.begin_restore(golden.snapshots[seat])
        for node in self.nodes.values():
            node.finish_restore()
        self.rack.await_up()

    def freeze(self, folder: Path, ready_s: dict[str, float]) -> Golden:
        """Snapshot every node; they go on running."""
        assert self.identities is not None, "boot the site first"
        began_ns = monotonic_ns()
        snapshots = {seat: node.machine.snapshot(folder / seat) for seat, node in self.nodes.items()}
        took_s = (monotonic_ns() - began_ns) / 1e9
        kept = self.identities.copy_to(folder / "pki")
        return Golden(self.image, self.passengers, snapshots, kept, ready_s, took_s)

    def close(self) -> None:
        """End nodes, rack and network."""
        self._stack.close()

    def __enter__(self) -> VirtualSite:
        try:
            self._stack.enter_context(self.network)
            for passenger in self.passengers:
                node = plugged(self.image, passenger, self.folder, self.network)
                self._stack.callback(node.close)
                node.site = self
                self.nodes[passenger.seat] = node
        except BaseException:  # also Ctrl-C: nothing stays behind, then the reason goes on
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def serve(self, identities: RackIdentities) -> None:
        """Start the rack with these identities."""
        self._begin_rack(identities)
        self.rack.await_up()

    def _begin_rack(self, identities: RackIdentities) -> None:
        """The broker serves; the aggregator is coming up. A witness is started by who needs one."""
        self.identities = identities
        self._rack = VirtualRack(self.folder / "rack", self.network.namespace, identities)
        self._stack.callback(self._rack.stop)
        self._rack.begin()

    @staticmethod
    def _power_on(node: VirtualNode) -> int:
        at_ns = monotonic_ns()
        node.power_on()
        return at_ns

    @staticmethod
    def _ready_s(node: VirtualNode, began_ns: int) -> float:
        node.await_agent()
        return (monotonic_ns() - began_ns) / 1e9
