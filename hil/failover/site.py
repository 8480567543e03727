"""A simulated site: the rack as it is (Mosquitto, aggregator, witness), two nodes as they are (agent, service).

    with Site(folder, SiteSettings()) as site:
        site.start()
        active = site.settle()

Everything runs as the programs that a technician starts, each in its own network namespace, and is ended by pid.
"""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from agent.camera.grid import Trigger
from agent.parent.status import last_status
from failover.history import read_history
from failover.service.control import ask
from hil.failover.clockstep import SteppedClock
from hil.failover.configs import BROKER_PORT, SiteSettings, node_name, node_toml, other, rack_toml
from hil.failover.namespace import Namespace
from hil.failover.net import ADDRESS, NODES, OBSERVER, RACK, VIRTUAL_ADDRESS, NodeId, SiteNet
from hil.failover.people import SIZE_PX, people_model
from hil.failover.probe import Observer
from hil.failover.programs import Program, last_lines, processes_of, send, wait_for
from hil.failover.tap import Tap
from hil.rack.broker import Broker, BrokerSpec
from hil.rack.pki import LocalCa
from hil.venue.optics import site_camera
from touchline.errors import LinkError, ResourceError
from touchline.mqtt import AGGREGATOR
from touchline.run import need, run

START_S: Final = 90.0
SETTLE_S: Final = 60.0
_TOUCHLINE: Final = (sys.executable, "-m", "touchline.cli")


class SiteNode:
    """One node: its two programs, its files, its spool on a small disk of its own."""

    def __init__(self, site: Site, node: NodeId) -> None:
        self.node, self.name = node, node_name(node)
        self.folder = site.folder / node
        self.folder.mkdir(parents=True)
        self.spool = self.folder / "spool"
        self.spool.mkdir()
        self.run_dir = self.folder / "run"
        self._site = site
        self._identity = site.ca.client(self.name)
        space = site.net.spaces[node]
        before = self._before = space.inside()
        config = self._config = str(self.folder / "node.toml")
        self.clock = SteppedClock(self.folder / "clock")
        self.service, self.agent = (
            Program(
                f"{what} {node}",
                [*_TOUCHLINE, what, "run", "--config", config],
                self.folder / f"{what}.log",
                before,
                self.clock.env,
            )
            for what in ("failover", "agent")
        )

    def write(self, settings: SiteSettings) -> None:
        """Write its configuration."""
        text = node_toml(self.node, settings, self._identity, self._site.failover)
        (self.folder / "node.toml").write_text(text)

    def boot(self) -> None:
        """As after power: an empty run folder, no virtual address; the service first, then the agent."""
        shutil.rmtree(self.run_dir, ignore_errors=True)
        self.run_dir.mkdir(parents=True)
        self._site.net.flush(self.node)
        if self._site.failover:
            self.service.start()
        self.agent.start()

    def programs(self) -> list[Program]:
        """Those that were started."""
        return [program for program in (self.service, self.agent) if program.process is not None]

    def pids(self) -> list[int]:
        """All its processes."""
        return processes_of(self.programs())

    def kill(self, pids: list[int] | None = None) -> None:
        """SIGKILL to all of it; ``pids``: found beforehand, so that nothing comes between the fault and its moment."""
        send(signal.SIGKILL, self.pids() if pids is None else pids)
        send(signal.SIGKILL, self.pids())  # what was started meanwhile
        for program in self.programs():
            program.reap()

    def stop(self) -> None:
        """End it in good order."""
        self.agent.stop()
        self.service.stop()

    def drop_address(self) -> None:
        """What systemd runs when the service has ended; not on the twin's cores, so here it goes behind everybody."""
        run([*self._before, "nice", "-n", "19", *_TOUCHLINE, "failover", "drop", "--config", self._config])

    def hand_over(self) -> str:
        """Ask the service to hand over; its answer."""
        return str(ask(self.run_dir, "handover")["text"])

    def said(self) -> dict[str, Any]:
        """The failover service's status; empty when it does not answer."""
        if self.service.pid is None:
            return {}
        try:
            found: dict[str, Any] = ask(self.run_dir, "status", 1.0)["status"]
        except LinkError:
            return {}
        return found

    def history(self) -> list[dict[str, Any]]:
        """What the service wrote down."""
        return read_history(self.folder / "failover").entries

    def explain(self) -> str:
        """The last words of its programs."""
        return " || ".join(f"{p.name}: {last_lines(p.said(), 6)}" for p in (self.service, self.agent))

    def status(self) -> dict[str, Any]:
        """The agent's status file; empty before the first."""
        return last_status(self.run_dir)


class Site:
    """See the module's text. ``failover=False``: agents alone, both publish."""

    def __init__(self, folder: Path, settings: SiteSettings | None = None, *, failover: bool = True) -> None:
        self.folder = folder.resolve()
        self.settings = settings or SiteSettings()
        self.failover = failover
        self.net = SiteNet(self.folder / "net")
        self.nodes: dict[NodeId, SiteNode] = {}
        self.database = self.folder / "match.sqlite"
        self._close = ExitStack()

    def __enter__(self) -> Site:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._close.enter_context(self.net)
            self._prepare()
        except BaseException:  # also Ctrl-C: what was made is removed, then the reason goes on
            self._close.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._close.close()

    @property
    def grid(self) -> Trigger:
        """The instants at which node a's camera exposes."""
        return Trigger(self.settings.rate_hz)

    def start(self) -> None:
        """Start the rack, the observer and both nodes; return when frames of a node arrive."""
        self.broker.start()
        self.start_witness()
        self.start_aggregator()
        self.observer.start()
        self.tap.start()
        for node in self.nodes.values():
            node.write(self.settings)
            node.boot()
        self.await_running()

    def stop_nodes(self) -> None:
        """End both in good order, side by side."""
        for node in self.nodes.values():
            node.agent.ask()
        for node in self.nodes.values():
            node.stop()

    def start_aggregator(self) -> None:
        """Start it and return when it serves."""
        self.aggregator.start()
        self.aggregator.await_words("Page: ", START_S)

    def start_witness(self) -> None:
        """Start it."""
        if self.failover:
            self.witness.start()
            self.witness.await_words("witness at ", START_S)

    def await_running(self, nodes: tuple[NodeId, ...] = NODES) -> None:
        """Return when frames flow on the nodes."""
        for name in nodes:
            node = self.nodes[name]
            wait_for(self._runs(node), START_S, f"frames on {node.name}", node.explain, 50_000_000)

    def settled(self) -> NodeId | None:
        """The active node, when all is well: one active that holds everything, a fit standby, one who answers."""
        said = {name: node.said() for name, node in self.nodes.items()}
        active = [name for name, one in said.items() if one.get("role") == "active" and one.get("exclusive")]
        if len(active) != 1 or not all(one and one["health"]["fit"] and one["twin"]["fit"] for one in said.values()):
            return None
        name = active[0]
        if any(one["twin"]["suspected"] or one["handing_over"] or not one["witness"]["ok"] for one in said.values()):
            return None
        if not all(self._linked(node) and self._whole(node) for node in NODES):
            return None
        well = said[other(name)]["role"] == "standby" and said[name]["records"] and said[name]["holds_address"]
        return name if well and self.holders() == [name] and self.who_answers() == name else None

    def _linked(self, node: NodeId) -> bool:
        """Whether it is connected to the broker and TCP waits for nothing: after a cut it tries ever more rarely."""
        links = [one for one in self.net.spaces[node].connections() if one.port == BROKER_PORT]
        return bool(links) and not any(one.retransmits for one in links)

    def _whole(self, node: NodeId) -> bool:
        """Whether all its processes are at work, recorders too: they come after the frames."""
        children = self.nodes[node].status().get("children", {})
        return bool(children) and all(child["running"] and child["ready"] for child in children.values())

    def settle(self, within_s: float = SETTLE_S) -> NodeId:
        """Wait until all is well and has been so for a moment; the active node."""
        found: list[NodeId | None] = [None]

        def well() -> bool:
            found.append(self.settled())
            return found[-1] is not None and found[-1] == found[-2]

        wait_for(well, within_s, "one active and one fit standby", self.explain, poll_ns=100_000_000)
        active = found[-1]
        assert active is not None
        return active

    def explain(self) -> str:
        """Where everybody stands, in a line."""
        words = [f"carried by {self.holders()}, answered by {self.who_answers()}"]
        for node in self.nodes.values():
            said = node.said()
            told = {key: said.get(key) for key in ("role", "epoch", "reason", "trouble", "holds_address", "twin")}
            words.append(f"{node.name}: {told}")
        return "; ".join(words)

    def holders(self) -> list[NodeId]:
        """Nodes whose interface carries the virtual address."""
        found: list[NodeId] = []
        for name in NODES:
            words = ["-n", self.net.spaces[name].name, "-o", "addr", "show", "to", VIRTUAL_ADDRESS]
            if run([need("ip", "iproute2"), *words]).stdout.strip():
                found.append(name)
        return found

    def who_answers(self) -> NodeId | None:
        """The node that answers for the virtual address now."""
        mac = self.observer.who()
        return next((name for name in NODES if self.net.mac(name) == mac), None)

    def _runs(self, node: SiteNode) -> Callable[[], bool]:
        def runs() -> bool:
            for program in node.programs():
                if program.pid is None:
                    raise ResourceError(f"{program.name} ended: {last_lines(program.said(), 6)}")
            return node.status().get("state") == "running"

        return runs

    def _prepare(self) -> None:
        self.ca = LocalCa(self.folder / "pki")
        rack = self.net.spaces[RACK]
        host = ADDRESS[RACK]
        spec = BrokerSpec(
            self.folder / "broker", self.ca.server((host,)), port=BROKER_PORT, host=host, namespace=rack.name
        )
        self.broker = Broker(spec)
        self._close.callback(self.broker.stop)
        config = self.folder / "rack.toml"
        config.write_text(rack_toml(self.settings, self.ca.client(AGGREGATOR), self.failover))
        words = [*_TOUCHLINE, "aggregator", "run", "--config", str(config)]
        self.aggregator = self._program("aggregator", words, rack.inside())
        words = [*_TOUCHLINE, "failover", "witness", "--config", str(config)]
        self.witness = self._program("witness", words, rack.inside())
        named: dict[str, Namespace] = {node_name(name): self.net.spaces[name] for name in NODES}
        self.observer = Observer(self.net.spaces[OBSERVER], self.folder, VIRTUAL_ADDRESS, named)
        self._close.callback(self.observer.stop)
        addresses = {ADDRESS[name]: node_name(name) for name in NODES}
        self.tap = Tap(self.folder, rack, named, addresses)
        self._close.callback(self.tap.stop)
        model = people_model(self.folder / "people.onnx")
        for name in NODES:
            node = self.nodes[name] = SiteNode(self, name)
            self._mount(node.spool)
            site_camera("left", SIZE_PX).save(node.folder / "left.json")
            shutil.copy(model, node.folder / "people.onnx")
            self._close.callback(node.clock.close)
            self._close.callback(node.kill)

    def _program(self, name: str, argv: list[str], before: list[str]) -> Program:
        program = Program(name, argv, self.folder / f"{name}.log", before)
        self._close.callback(program.stop)
        return program

    def _mount(self, folder: Path) -> None:
        """A disk of its own, so that one can be filled."""
        size = f"size={self.settings.spool_mib}m"
        run([need("mount", "mount"), "-t", "tmpfs", "-o", size, "touchline-spool", folder])
        self._close.callback(run, [need("umount", "mount"), "--lazy", folder])
