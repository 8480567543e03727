"""Sites that outlive the command that boots them: what the command line starts, finds again and ends.

QEMU runs detached, broker and aggregator in a process of their own; every one is in the site's record with its pid and
start time, so that ``destroy`` ends exactly these.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from hil.rack.pki import LocalCa
from hil.virtual.image import Image, default_cache, load_image
from hil.virtual.machine.console import Console
from hil.virtual.machine.machine import Machine
from hil.virtual.machine.network import Network
from hil.virtual.machine.process import identify, uninterrupted
from hil.virtual.machine.qemu import CONSOLE_LOG, find_qemu
from hil.virtual.machine.snapshot import load_snapshot
from hil.virtual.machine.state import Site, Sites
from hil.virtual.node import ADDRESSES, VirtualNode, machine_spec
from hil.virtual.passenger.provision import provision, start_agent
from hil.virtual.passenger.seat import BROKER_PORT, SEATS, Passenger, crew
from hil.virtual.rack import PAGE_PORT, UP_MARK, RackIdentities
from touchline.errors import HardwareError, InputError, ResourceError
from touchline.timeline import monotonic_ns, sleep_until, utc_text

STATE_FOLDER: Final = Path("/var/lib/touchline-virtual")
"""On a disk, since the nodes' disks lie in it, and short, since Unix sockets do.

Records outlive a reboot, what they name does not: a process counts only with its start time, so the sites show as dead.
"""

SNAPSHOT_FILE: Final = "snapshot.json"
_RACK: Final = "rack"
_VALID_DAYS: Final = 90.0  # a named snapshot is of use for as long
_RACK_UP_S: Final = 40.0
_POLL_NS: Final = 100_000_000

Say = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Frozen:
    """A site's snapshot on disk: its image and seats; beside it a folder per seat and the rack's identities."""

    image_id: str
    seats: tuple[str, ...]
    created_utc: str


def snapshots_folder(cache: Path | None = None) -> Path:
    """Where named snapshots are kept: beside the images they belong to."""
    return (cache or default_cache()) / "snapshots"


class Background:
    """The sites of one state folder."""

    def __init__(self, state: Path = STATE_FOLDER, cache: Path | None = None) -> None:
        self.sites, self.cache = Sites(state), cache or default_cache()

    # --- start ---

    def boot(self, name: str, image: Image, seats: tuple[str, ...], *, agent: bool, say: Say) -> Site:
        """Boot a site from nothing and leave it running; ``say`` is told each step and its seconds."""
        with self._starting(name, image, seats) as (bare, network):
            ca = LocalCa(self.sites.path(name) / "ca", valid_days=_VALID_DAYS)
            site = self._start_rack(bare, RackIdentities.issue(ca), say)
            nodes = [self._node(site, image, passenger, network) for passenger in crew(seats)]
            began_ns = monotonic_ns()
            for node in nodes:
                node.power_on()
            for node in nodes:
                node.machine.wait_guest()
                say(f"{node.name} boots", _since_s(began_ns))
                if agent:
                    provision(node.guest, ca, node.passenger)
                    start_agent(node.guest)
            for node in nodes:
                if agent:
                    node.await_agent()
                    say(f"{node.name} agent ready", _since_s(began_ns))
                node.machine.leave()
        return site

    def restore(self, name: str, snapshot: str, *, say: Say) -> Site:
        """Bring a named snapshot back as a running site."""
        folder = snapshots_folder(self.cache) / snapshot
        frozen = load_frozen(folder)
        image = self._image_of(snapshot, frozen)
        with self._starting(name, image, frozen.seats) as (bare, network):
            site = self._start_rack(bare, RackIdentities.kept_in(folder / "pki"), say)
            for seat in frozen.seats:
                began_ns = monotonic_ns()
                node = self._node(site, image, Passenger(seat), network)
                node.restore(load_snapshot(folder / seat))
                node.machine.leave()
                say(f"{node.name} restored", _since_s(began_ns))
        return site

    def _image_of(self, snapshot: str, frozen: Frozen) -> Image:
        try:
            return load_image(self.cache, frozen.image_id, verify=False)
        except ResourceError as error:
            raise InputError(
                f"the image {frozen.image_id} of snapshot '{snapshot}' is gone: newer builds took its place",
                hint="boot afresh and make the snapshot again",
            ) from error

    @contextmanager
    def _starting(self, name: str, image: Image, seats: tuple[str, ...]) -> Iterator[tuple[Site, Network]]:
        """A new site with its network; whatever goes wrong in the block, nothing of it stays behind."""
        find_qemu()  # missing or too old: said before anything is started
        if name in self.sites.names() and self.sites.status(name).running:
            raise ResourceError(
                f"virtual node '{name}' runs already",
                hint=f"touchline hil virtual destroy --name {name}, or another --name",
            )
        ours = False
        try:
            with self.sites.claim(name) as folder:
                ours = True
                for old in folder.iterdir():
                    if old.is_dir():
                        shutil.rmtree(old)
                site = Site(name, image.image_id, seats, started_utc=utc_text())
                self.sites.save(site)
                yield site, Network(name).open()
        except BaseException:  # also Ctrl-C: end what was started, then pass the reason on
            if ours:
                self.sites.destroy(name)
            raise

    def _start_rack(self, site: Site, identities: RackIdentities, say: Say) -> Site:
        began_ns = monotonic_ns()
        folder = self.sites.path(site.name) / _RACK
        identities.copy_to(folder / "pki")
        words = [sys.executable, "-m", "hil.virtual.rack", str(folder), Network(site.name).namespace]
        ports = {"broker": BROKER_PORT, "page": PAGE_PORT}
        with (folder / "rack.log").open("wb") as log, uninterrupted():
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            site = replace(site, ports=ports, processes={_RACK: identify(process.pid)})
            self.sites.save(site)
        while not (folder / UP_MARK).exists():
            if process.poll() is not None or _since_s(began_ns) > _RACK_UP_S:
                said = (folder / "rack.log").read_text(errors="replace").strip().splitlines()[-3:]
                raise ResourceError("the virtual rack did not come up: " + " | ".join(said or ["it said nothing"]))
            sleep_until(monotonic_ns() + _POLL_NS)
        say("rack up", _since_s(began_ns))
        return site

    def _node(self, site: Site, image: Image, passenger: Passenger, network: Network) -> VirtualNode:
        spec = machine_spec(image, passenger.seat, self.sites.run_dir(site.name, passenger.seat))
        return VirtualNode(Machine(spec, network=network, detached=True), passenger)

    # --- use ---

    def network(self, name: str) -> str:
        """The network namespace of a site."""
        return Network(name).namespace

    def document(self, name: str) -> dict[str, Any]:
        """A site as ``status --json`` shows it."""
        found = self.sites.status(name)
        site = found.site
        nodes = [
            {
                "name": f"orin-{seat}",
                "seat": seat,
                "pid": found.pids[seat],
                "address": ADDRESSES[seat],
                "run_dir": str(self.sites.run_dir(name, seat)),
            }
            for seat in site.seats
        ]
        return {
            "name": name,
            "image_id": site.image_id,
            "started_utc": site.started_utc,
            "network": self.network(name),
            "running": found.running,
            "nodes": nodes,
            "processes": found.processes,
            "ports": site.ports,
        }

    def running(self, name: str, seat: str) -> Path:
        """Run folder of a running node. Raises InputError or HardwareError that names what is there."""
        site = self.sites.load(name)
        if seat not in site.seats:
            raise InputError(f"'{name}' has no seat {seat}", hint=f"its seats: {', '.join(site.seats)}")
        if self.sites.status(name).pids[seat] is None:
            raise HardwareError(
                f"orin-{seat} of '{name}' is dead; its console said last:\n  "
                + "\n  ".join(Console(self.sites.run_dir(name, seat) / CONSOLE_LOG).last_lines()),
                hint=f"touchline hil virtual destroy --name {name}, then boot again",
            )
        return self.sites.run_dir(name, seat)

    @contextmanager
    def node(self, name: str, seat: str) -> Iterator[VirtualNode]:
        """A running node of another process; let go of at the end, it runs on."""
        machine = Machine.attach(self.running(name, seat), network=Network(name))
        try:
            machine.wait_guest()
            yield VirtualNode(machine, Passenger(seat))
        finally:
            machine.leave()

    def snapshot(self, name: str, snapshot: str, *, say: Say) -> Path:
        """Freeze every node of a running site under a name; they go on running."""
        folder = snapshots_folder(self.cache) / snapshot
        if folder.exists():
            raise ResourceError(f"snapshot '{snapshot}' exists", hint=f"choose another name, or remove {folder}")
        site = self.sites.load(name)
        part = folder.with_name(f".{snapshot}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, mode=0o700)
        try:
            for seat in site.seats:
                began_ns = monotonic_ns()
                with self.node(name, seat) as node:
                    node.machine.snapshot(part / seat)
                say(f"orin-{seat} frozen", _since_s(began_ns))
            RackIdentities.kept_in(self.sites.path(name) / _RACK / "pki").copy_to(part / "pki")
            frozen = Frozen(site.image_id, site.seats, utc_text())
            (part / SNAPSHOT_FILE).write_text(json.dumps(asdict(frozen), indent=1))
            part.rename(folder)
        except BaseException:  # also Ctrl-C: a half snapshot is none
            shutil.rmtree(part, ignore_errors=True)
            raise
        return folder


def load_frozen(folder: Path) -> Frozen:
    """A named snapshot's description; InputError when there is none, or it is damaged."""
    try:
        raw = json.loads((folder / SNAPSHOT_FILE).read_text())
        seats = tuple(str(seat) for seat in raw["seats"])
        if not seats or any(seat not in SEATS for seat in seats):
            raise InputError(f"snapshot '{folder.name}' names seats that do not exist: {seats}", hint="make it again")
        return Frozen(str(raw["image_id"]), seats, str(raw["created_utc"]))
    except FileNotFoundError as error:
        there = sorted(path.parent.name for path in folder.parent.glob(f"*/{SNAPSHOT_FILE}"))
        raise InputError(
            f"there is no snapshot '{folder.name}'", hint=f"there are: {', '.join(there) or 'none yet'}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"snapshot '{folder.name}' is damaged: {error!r}", hint="make it again") from error


def _since_s(began_ns: int) -> float:
    return (monotonic_ns() - began_ns) / 1e9
