"""What this machine has: interrupts, idle states, buffers, rings, CPUs. All is read here and nothing is judged."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import Final, Literal

from flash.tune.cpus import parse_cpus
from flash.tune.rings import INTERFACE, rx_path
from flash.tune.tree import Tree

Kind = Literal["cpus", "number"]

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
CPU: Final = "/sys/devices/system/cpu"
RMEM: Final = ("rmem_max", "rmem_default")

# After the counters: chip, then "416 Level" (Arm) or "1-edge" (x86), then the names of the drivers.
_LINE: Final = re.compile(r"\S+\s+(?:\S*-(?:edge|level|fasteoi)\S*|-?\d+\s+(?:Edge|Level|edge|level|None))\s+(.*)")


@dataclass(frozen=True, slots=True)
class Knob:
    """One file of the kernel that may be set. ``raw`` is what stands there; None with ``trouble``: it cannot be read.

    ``key`` names the thing and not only its number: interrupt 45 may be another's after a driver was loaded anew.
    """

    key: str
    path: str
    kind: Kind
    raw: str | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A line of /proc/interrupts with a driver. ``owner``: the network interface whose card it belongs to, or empty."""

    number: int
    name: str
    owner: str
    affinity: Knob
    effective: str  # CPUs that really serve it, as the kernel last chose; empty: not told


@dataclass(frozen=True, slots=True)
class IdleState:
    """One idle state of one CPU: how long its way back takes at worst, and its switch."""

    cpu: int
    name: str
    latency_us: int
    disable: Knob


@dataclass(frozen=True, slots=True)
class CardRing:
    """The receive ring of a network interface's card, in packets; ``most``: what the card takes."""

    interface: str
    rx: Knob
    most: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the plan needs to know."""

    boot_id: str
    online: frozenset[int]
    present: frozenset[int]
    isolated: frozenset[int]
    interrupts: tuple[Interrupt, ...]
    idle: tuple[IdleState, ...]
    buffers: dict[str, Knob]
    irqbalance: int | None  # its process id
    governors: tuple[str, ...]
    rings: tuple[CardRing, ...] = ()

    def knobs(self) -> dict[str, Knob]:
        """Everything that could be set, by key."""
        found = [one.affinity for one in self.interrupts] + [one.disable for one in self.idle]
        found += [one.rx for one in self.rings]
        return {knob.key: knob for knob in [*found, *self.buffers.values()]}


def look(tree: Tree) -> Facts:
    """Read the machine."""
    online = _cpus(tree, f"{CPU}/online")
    return Facts(
        boot_id=(_text(tree, BOOT_ID) or "").strip(),
        online=online,
        present=_cpus(tree, f"{CPU}/present") or online,
        isolated=_cpus(tree, f"{CPU}/isolated"),
        interrupts=_interrupts(tree),
        idle=_idle_states(tree),
        buffers={name: read_knob(tree, f"net.core.{name}", f"/proc/sys/net/core/{name}", "number") for name in RMEM},
        irqbalance=_process(tree, "irqbalance"),
        governors=_governors(tree),
        rings=tuple(_ring(tree, name) for name in tree.names("/sys/class/net") if INTERFACE.fullmatch(name)),
    )


def read_knob(tree: Tree, key: str, path: str, kind: Kind) -> Knob:
    """One knob as it stands."""
    try:
        raw = tree.read(path)
    except OSError as error:
        return Knob(key, path, kind, None, f"cannot be read ({errno_name(error)})")
    if raw is None:
        return Knob(key, path, kind, None, "this kernel has it not")
    return Knob(key, path, kind, raw.strip())


def errno_name(error: OSError) -> str:
    """EIO, EINVAL ..."""
    return errno.errorcode.get(error.errno or 0, str(error))


def _text(tree: Tree, path: str) -> str | None:
    try:
        return tree.read(path)
    except OSError:
        return None


def _cpus(tree: Tree, path: str) -> frozenset[int]:
    try:
        return parse_cpus(_text(tree, path) or "")
    except ValueError:
        return frozenset()


# --- interrupts ---------------------------------------------------------------------------------------------------


def parse_interrupts(text: str) -> dict[int, str]:
    """/proc/interrupts: number to the names of its drivers; architecture lines (NMI, IPI0 ...) are left out."""
    lines = text.splitlines()
    if not lines:
        return {}
    columns = len(lines[0].split())
    found: dict[int, str] = {}
    for line in lines[1:]:
        number, colon, rest = line.partition(":")
        words = rest.split(None, columns)
        if not colon or not number.strip().isdecimal() or len(words) <= columns:
            continue
        match = _LINE.fullmatch(words[-1].strip())
        name = match[1].strip() if match else ""
        if name:
            found[int(number)] = " ".join(name.split())
    return found


def _interrupts(tree: Tree) -> tuple[Interrupt, ...]:
    owners = _owners(tree)
    found = []
    for number, name in sorted(parse_interrupts(_text(tree, "/proc/interrupts") or "").items()):
        folder = f"/proc/irq/{number}"
        knob = read_knob(tree, f"irq/{number} {name}", f"{folder}/smp_affinity_list", "cpus")
        effective = (_text(tree, f"{folder}/effective_affinity_list") or "").strip()
        found.append(Interrupt(number, name, owners.get(number, ""), knob, effective))
    return tuple(found)


def _owners(tree: Tree) -> dict[int, str]:
    """Interrupts of PCI network cards, by number: their drivers may name them otherwise (mlx5_comp0, virtio3-rx)."""
    found: dict[int, str] = {}
    for interface in tree.names("/sys/class/net"):
        device = f"/sys/class/net/{interface}/device"
        for folder in (f"{device}/msi_irqs", f"{device}/../msi_irqs"):  # the card; of a virtio device the card above it
            for name in tree.names(folder):
                if name.isdecimal():
                    found.setdefault(int(name), interface)
    return found


def _ring(tree: Tree, interface: str) -> CardRing:
    key, path = f"ring/{interface} rx", rx_path(interface)
    try:
        ring = tree.ring(interface)
    except OSError as error:
        driver = (tree.target(f"/sys/class/net/{interface}/device/driver") or "").rpartition("/")[2]
        named = f" ({driver})" if driver else ""
        unsupported = f"not supported by the driver of {interface}{named}: nothing to set"
        trouble = unsupported if error.errno == errno.EOPNOTSUPP else f"cannot be read ({errno_name(error)})"
        return CardRing(interface, Knob(key, path, "number", None, trouble), 0)
    return CardRing(interface, Knob(key, path, "number", str(ring.rx)), ring.rx_most)


# --- CPUs ---------------------------------------------------------------------------------------------------------


def _idle_states(tree: Tree) -> tuple[IdleState, ...]:
    found = []
    for cpu in sorted(int(name[3:]) for name in tree.names(CPU) if re.fullmatch(r"cpu\d+", name)):
        states = tree.names(f"{CPU}/cpu{cpu}/cpuidle")
        for index in sorted(int(name[5:]) for name in states if re.fullmatch(r"state\d+", name)):
            folder = f"{CPU}/cpu{cpu}/cpuidle/state{index}"
            name, latency = _text(tree, f"{folder}/name"), _text(tree, f"{folder}/latency")
            if name is None or latency is None or not latency.strip().isdecimal():
                continue
            key = f"idle/cpu{cpu}/state{index} {name.strip()}"
            knob = read_knob(tree, key, f"{folder}/disable", "number")
            found.append(IdleState(cpu, name.strip(), int(latency), knob))
    return tuple(found)


def _governors(tree: Tree) -> tuple[str, ...]:
    policies = tree.names(f"{CPU}/cpufreq")
    texts = [_text(tree, f"{CPU}/cpufreq/{name}/scaling_governor") for name in policies if name.startswith("policy")]
    return tuple(sorted({text.strip() for text in texts if text}))


def _process(tree: Tree, name: str) -> int | None:
    for entry in tree.names("/proc"):
        if entry.isdecimal() and (_text(tree, f"/proc/{entry}/comm") or "").strip() == name:
            return int(entry)
    return None
