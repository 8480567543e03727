"""What this host can do for a virtual node: facts probed at the edge, judged by pure functions, each with its fix."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hil.virtual.background import STATE_FOLDER
from hil.virtual.image.apt import host_mirror
from hil.virtual.image.host import BINFMT, free_bytes, missing_packages, needed_programs
from hil.virtual.image.image import default_cache, load_image
from hil.virtual.image.programs import Programs
from hil.virtual.image.recipe import SPACE_MIB
from hil.virtual.image.sources import without_password
from hil.virtual.machine.network import PREFIX, inspect, namespaces
from hil.virtual.machine.qemu import NODE_MIB, OLDEST, find_qemu
from hil.virtual.machine.state import Sites
from touchline.errors import InputError, ResourceError, TouchlineError
from touchline.run import need, run
from touchline.shell import emit, json_option
from touchline.timeline import utc_s

if TYPE_CHECKING:
    from rich.table import Table

RUN_PROGRAMS: Final = (
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("qemu-img", "qemu-utils"),
    ("mke2fs", "e2fsprogs"),
    ("ip", "iproute2"),
    ("setpriv", "util-linux"),
    ("mosquitto", "mosquitto"),
)
RACK_MIB: Final = 200
BUILD_MIB: Final = sum(space for step, space in SPACE_MIB.items() if step != "custom-kernel")
RUN_MIB: Final = 1000
CORES: Final = 2
OLD_DAYS: Final = 30.0
_ARM: Final = ("aarch64", "arm64")


class Level(str, Enum):
    """``missing``: without it there is no node. ``warn``: it works, or would, but look at it."""

    OK = "ok"
    WARN = "warn"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    level: Level
    what: str
    found: str
    needed: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found; or ``trouble`` and, where it is known, the fix."""

    found: str = ""
    trouble: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """A folder, and what is free on its disk."""

    folder: str
    free_mib: int


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Everything that is judged. ``image_age_days`` None: there is no image that could be used."""

    machine: str
    cores: int
    root: bool
    ram_free_mib: int
    cache: Room  # where images are built and kept
    state: Room  # where nodes that run have their disks
    kvm: Probe
    qemu: Probe
    tun: Probe
    network: Probe
    emulation: Probe
    mirror: Probe
    image: Probe
    image_age_days: float | None
    missing_to_build: tuple[str, ...] = ()
    missing_to_run: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()

    @property
    def arm(self) -> bool:
        """Whether this host's processor is the guest's."""
        return self.machine in _ARM

    @property
    def to_build(self) -> Level:
        """How bad it is when something is missing that only the build needs."""
        return Level.MISSING if self.image_age_days is None else Level.WARN


# --- judged: pure ---


def evaluate(facts: HostFacts) -> list[Finding]:
    """Every finding, in the order in which one would mend them."""
    found = [_processor(facts), _kvm(facts), _root(facts), _packages(facts)]
    found += [
        _probed("QEMU", facts.qemu, f"{'.'.join(map(str, OLDEST))} or newer", Level.MISSING),
        _memory(facts),
        _disk("disk to build", facts.cache, BUILD_MIB, facts.to_build, "free some space, or use another --cache-dir"),
        _disk("disk to run", facts.state, RUN_MIB, Level.MISSING, "free some space"),
        _probed("/dev/net/tun", facts.tun, "one tap for each node", Level.MISSING),
        _probed("network namespaces", facts.network, "a bridge in a namespace", Level.MISSING),
    ]
    if not facts.arm:
        found.append(_probed("arm64 programs", facts.emulation, "to build: binfmt_misc, qemu-user", facts.to_build))
    found.append(_probed("Debian mirror", facts.mirror, "to build: in apt's configuration", facts.to_build))
    return [*found, _image(facts), *_running(facts)]


def lacking(findings: Sequence[Finding]) -> list[Finding]:
    """What has to be mended before a node can be built or run."""
    return [one for one in findings if one.level is Level.MISSING]


def _probed(what: str, probe: Probe, needed: str, otherwise: Level) -> Finding:
    if probe.trouble:
        return Finding(otherwise, what, probe.trouble, needed, probe.fix)
    return Finding(Level.OK, what, probe.found, needed)


def _processor(facts: HostFacts) -> Finding:
    found = f"{facts.machine}, {facts.cores} cores: the arm64 guest is emulated (TCG)"
    if not facts.arm and facts.machine != "x86_64":
        return Finding(facts.to_build, "processor", found, "to build: x86_64 or aarch64", "build on one of them")
    if facts.cores < CORES:
        return Finding(Level.WARN, "processor", found, f"{CORES} cores", "give it more cores; everything takes longer")
    return Finding(Level.OK, "processor", found, f"{CORES} cores")


def _kvm(facts: HostFacts) -> Finding:
    needed = "nothing: nodes run under TCG everywhere"
    if not facts.arm:
        found = f"no help: KVM of {facts.machine} cannot run an arm64 guest"
    else:
        found = f"not usable: {facts.kvm.trouble}" if facts.kvm.trouble else facts.kvm.found
    return Finding(Level.OK, "KVM", found, needed)


def _root(facts: HostFacts) -> Finding:
    needed = "root: files of the guest, taps, namespaces"
    if facts.root:
        return Finding(Level.OK, "user", "root", needed)
    return Finding(Level.MISSING, "user", "not root", needed, "run it with sudo")


def _packages(facts: HostFacts) -> Finding:
    parts = [
        f"missing to {purpose}: {', '.join(names)}"
        for purpose, names in (("run", facts.missing_to_run), ("build", facts.missing_to_build))
        if names
    ]
    needed = "programs of the host, to build and to run"
    if not parts:
        return Finding(Level.OK, "packages", "all there", needed)
    level = Level.MISSING if facts.missing_to_run else facts.to_build
    names = sorted({*facts.missing_to_run, *facts.missing_to_build})
    return Finding(level, "packages", "; ".join(parts), needed, f"apt-get install {' '.join(names)}")


def _memory(facts: HostFacts) -> Finding:
    one, two = RACK_MIB + NODE_MIB, RACK_MIB + 2 * NODE_MIB
    found, needed = f"{facts.ram_free_mib:,} MiB free", f"{one:,} MiB for one node, {two:,} for twins"
    if facts.ram_free_mib >= two:
        return Finding(Level.OK, "memory", found, needed)
    if facts.ram_free_mib >= one:
        return Finding(Level.WARN, "memory", f"{found}: one node, no twins", needed, _free(two, facts.ram_free_mib))
    return Finding(Level.MISSING, "memory", found, needed, _free(one, facts.ram_free_mib))


def _free(needed_mib: int, free_mib: int) -> str:
    return f"free {needed_mib - free_mib:,} MiB, or destroy a node"


def _disk(what: str, room: Room, needed_mib: int, otherwise: Level, fix: str) -> Finding:
    found, needed = f"{room.free_mib:,} MiB free in {room.folder}", f"{needed_mib:,} MiB"
    if room.free_mib >= needed_mib:
        return Finding(Level.OK, what, found, needed)
    return Finding(otherwise, what, found, needed, fix)


def _image(facts: HostFacts) -> Finding:
    needed = "one that is whole"
    if facts.image_age_days is None:
        return Finding(Level.WARN, "image", facts.image.trouble, needed, facts.image.fix)
    found = f"{facts.image.found}, {facts.image_age_days:.0f} days old"
    if facts.image_age_days > OLD_DAYS:
        return Finding(Level.WARN, "image", found, needed, "touchline hil virtual build")
    return Finding(Level.OK, "image", found, needed)


def _running(facts: HostFacts) -> list[Finding]:
    found = [Finding(Level.OK, "nodes running", ", ".join(facts.running) or "none", "")]
    if facts.dead:
        fix = f"touchline hil virtual destroy --name {facts.dead[0]}"
        found.append(Finding(Level.WARN, "dead nodes", ", ".join(facts.dead), "none", fix))
    if facts.stale:
        fix = "nothing to do: the next node's start removes them"
        found.append(Finding(Level.WARN, "stale namespaces", ", ".join(facts.stale), "none", fix))
    return found


# --- probed: the edge ---


def probe(cache: Path, state: Path = STATE_FOLDER) -> HostFacts:
    """Look at this host; nothing is changed. ``state``: where the sites that run have their folders."""
    image, age_days = _probe_image(cache)
    running, dead, stale = _probe_nodes(state)
    return HostFacts(
        machine=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        root=os.geteuid() == 0,
        ram_free_mib=_ram_free_mib(),
        cache=Room(str(cache), free_bytes(cache.absolute()) >> 20),
        state=Room(str(state), free_bytes(state.absolute()) >> 20),
        kvm=_probe_device(Path("/dev/kvm"), "give this machine nested virtualisation"),
        qemu=_tried(lambda: ".".join(map(str, find_qemu().number))),
        tun=_probe_device(Path("/dev/net/tun"), "modprobe tun, or give the container that device"),
        network=_probe_network(),
        emulation=_probe_emulation(),
        mirror=_tried(lambda: without_password(host_mirror(Programs()).uri)),
        image=image,
        image_age_days=age_days,
        missing_to_build=tuple(missing_packages(needed_programs())),
        missing_to_run=tuple(missing_packages(RUN_PROGRAMS)),
        running=running,
        dead=dead,
        stale=stale,
    )


def _tried(look: Callable[[], str]) -> Probe:
    try:
        return Probe(look())
    except TouchlineError as error:
        return Probe(trouble=error.message, fix=error.hint)


def _ram_free_mib() -> int:
    """What is available here: of the machine, or less where a control group says so."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free_mib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) >> 10
    try:
        limit_mib = int(Path("/sys/fs/cgroup/memory.max").read_text()) >> 20
    except (OSError, ValueError):  # no such group, or "max"
        return free_mib
    return min(free_mib, limit_mib)


def _probe_device(path: Path, fix: str) -> Probe:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        mend = "run it with sudo" if error.errno in (errno.EACCES, errno.EPERM) else fix
        return Probe(trouble=f"{path}: {error.strerror}", fix=mend)
    return Probe("usable")


def _probe_network() -> Probe:
    """Make a bridge in a namespace that ends with the program that made it."""
    if os.geteuid() != 0:
        return Probe(trouble="not tried without root", fix="run it with sudo")
    try:
        words = [need("unshare", "util-linux"), "--net", need("ip", "iproute2")]
        run([*words, "link", "add", "rack0", "type", "bridge"], timeout_s=10.0)
    except ResourceError as error:
        return Probe(trouble=error.message, fix=error.hint)
    except TouchlineError as error:
        return Probe(trouble=error.message, fix="modprobe bridge; a container needs CAP_SYS_ADMIN and CAP_NET_ADMIN")
    return Probe("usable, with a bridge")


def _probe_emulation() -> Probe:
    if (BINFMT / "qemu-aarch64").exists():
        return Probe("registered with binfmt_misc")
    if (BINFMT / "register").exists() or "binfmt_misc" in Path("/proc/filesystems").read_text():
        return Probe("not registered; the build does it")
    return Probe(trouble="this kernel has no binfmt_misc", fix="modprobe binfmt_misc")


def _probe_image(cache: Path) -> tuple[Probe, float | None]:
    try:
        image = load_image(cache)
        made = datetime.strptime(image.created_utc, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except (InputError, ResourceError) as error:
        return Probe(trouble=error.message, fix=error.hint), None
    except ValueError as error:
        return Probe(trouble=f"its manifest has no date: {error}", fix="touchline hil virtual build --force"), None
    found = f"{image.image_id}, Linux {image.kernel_release}, Touchline {image.touchline_release}, verified"
    return Probe(found), max(0.0, (utc_s() - made.timestamp()) / 86400)


def _probe_nodes(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Nodes that run (recorded, then those that only their network shows), sites that are dead, stale namespaces."""
    sites = Sites(folder)
    running, dead, stale = [], [], []
    for name in sites.names():
        try:
            status = sites.status(name)
        except InputError:  # a corrupt record: nothing of it can be used
            dead.append(name)
            continue
        if status.running:
            seats = ", ".join(f"{seat}: pid {pid}" for seat, pid in status.pids.items() if pid is not None)
            running.append(f"{name} ({seats})")
        else:
            dead.append(name)
    for namespace in sorted(name for name in namespaces() if name.startswith(PREFIX)):
        try:
            state = inspect(namespace)
        except TouchlineError:  # no right to look, or gone meanwhile
            continue
        if state.stale:
            stale.append(namespace)
        elif state.taps and namespace.removeprefix(PREFIX) not in sites.names():
            running.append(f"{namespace} ({state.taps} nodes, of a test or a program)")
    return tuple(running), tuple(dead), tuple(stale)


# --- shown ---


def report(findings: Sequence[Finding]) -> Table:
    """The findings for a person."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    colours = {Level.OK: "green", Level.WARN: "yellow", Level.MISSING: "bold red"}
    table = Table("", "what", "found", "needed", "fix", box=box.SIMPLE_HEAD)
    for one in findings:
        words = (one.what, one.found, one.needed, one.fix)
        table.add_row(Text(one.level.value, style=colours[one.level]), *(Text(word) for word in words))
    return table


@click.command()
@click.option(
    "--cache-dir",
    "cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Where images are kept; by default touchline/virtual in your cache folder.",
)
@json_option
def doctor(cache: Path | None, as_json: bool) -> None:
    """Say what this host can do for a virtual node, with the fix beside everything that it lacks.

    Changes nothing. Exits with 5 when something is missing without which no node can be built or run.

    \b
    Examples:
      touchline hil virtual doctor
      touchline hil virtual doctor --json
    """
    findings = evaluate(probe(cache or default_cache()))
    missing = lacking(findings)
    if as_json:
        emit({"ready": not missing, "findings": [asdict(one) for one in findings]}, True, "")
    else:
        from rich.console import Console

        console = Console()
        (console if console.is_terminal else Console(width=140)).print(report(findings))
    if missing:
        names = ", ".join(one.what for one in missing)
        raise ResourceError(f"this host cannot run a virtual node: {names}", hint=missing[0].fix)
