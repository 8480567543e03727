"""A machine in a folder: proc and sys of an Orin-like node, and the kernel's manners when something is written."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from flash.tune.cpus import format_cpus, parse_cpus
from flash.tune.rings import Ring
from flash.tune.tree import Tree

BOOT = "6cb29d52-4841-47ed-964f-ffdf8b9e4ee8"
CPUS = 12

# number -> (chip and trigger, driver): what an Orin shows, with a PCIe card beside
INTERRUPTS = {
    14: ("GICv3 30 Level", "arch_timer"),
    50: ("GICv3 233 Level", "host1x_syncpt"),
    51: ("GICv3 240 Level", "15c00000.vi"),
    60: ("GICv3 416 Level", "6800000.ethernet.vm0"),
    61: ("GICv3 417 Level", "eth0.vm1"),
    70: ("PCI-MSI 524288 Edge", "nvme0q0"),
    71: ("PCI-MSI 1048576 Edge", "mlx5_comp0@pci:0000:01:00.0"),
    80: ("tegra-gpio 48 Edge", "force-recovery"),
}
PCI_CARD = {71: "eth1"}


def put(root: Path, path: str, text: str) -> None:
    """A file of the kernel."""
    there = root / path.lstrip("/")
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text(text + "\n")


def interrupts_text(cpus: int, table: dict[int, tuple[str, str]]) -> str:
    """/proc/interrupts."""
    lines = ["     " + "".join(f"{f'CPU{cpu}':>11}" for cpu in range(cpus))]
    for number, (chip, name) in table.items():
        counts = "".join(f"{number * cpu:>11}" for cpu in range(cpus))
        lines.append(f"{number:>3}: {counts}     {chip}     {name}")
    lines.append("IPI0:" + f"{7:>11}" * cpus + "       Rescheduling interrupts")
    lines.append("Err:          0")
    return "\n".join(lines)


def machine(root: Path, cpus: int = CPUS, online: str = "") -> Path:
    """Write the machine's files below ``root`` and return it."""
    everywhere = format_cpus(range(cpus))
    put(root, "/proc/sys/kernel/random/boot_id", BOOT)
    put(root, "/sys/devices/system/cpu/online", online or everywhere)
    put(root, "/sys/devices/system/cpu/present", everywhere)
    put(root, "/sys/devices/system/cpu/isolated", "")
    put(root, "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "schedutil")
    put(root, "/proc/interrupts", interrupts_text(cpus, INTERRUPTS))
    for number in INTERRUPTS:
        put(root, f"/proc/irq/{number}/smp_affinity_list", everywhere)
        put(root, f"/proc/irq/{number}/effective_affinity_list", "0")
    for number, interface in PCI_CARD.items():
        put(root, f"/sys/class/net/{interface}/device/msi_irqs/{number}", "msix")
    for cpu in range(cpus):
        for index, (name, latency) in enumerate((("WFI", 1), ("c7", 5000))):
            folder = f"/sys/devices/system/cpu/cpu{cpu}/cpuidle/state{index}"
            put(root, f"{folder}/name", name)
            put(root, f"{folder}/latency", str(latency))
            put(root, f"{folder}/disable", "0")
    put(root, "/proc/sys/net/core/rmem_max", "212992")
    put(root, "/proc/sys/net/core/rmem_default", "212992")
    put(root, "/proc/1/comm", "systemd")
    return root


@dataclass
class Cards:
    """Network cards: rings by interface; ``says``: interface to errno, for those that refuse to be set.

    ``step``: sizes are rounded up to a multiple of it, as many drivers do. Every setting is noted: it costs the link.
    """

    rings: dict[str, Ring] = field(default_factory=lambda: {"eth0": Ring(512, 1024, (0, 0, 512), (0, 0, 1024))})
    says: dict[str, int] = field(default_factory=dict)
    step: int = 1
    keeps: bool = False
    written: list[tuple[str, int]] = field(default_factory=list)

    def look(self, interface: str) -> Ring:
        """As the kernel answers: EOPNOTSUPP from a driver without rings."""
        if interface not in self.rings:
            raise OSError(errno.EOPNOTSUPP, "as a veth answers", interface)
        return self.rings[interface]

    def set_rx(self, interface: str, packets: int) -> None:
        """Take it, or refuse as the kernel does."""
        self.written.append((interface, packets))
        ring = self.look(interface)
        if interface in self.says:
            raise OSError(self.says[interface], "as the test wants it")
        if packets > ring.rx_most:
            raise OSError(errno.EINVAL, "beyond the card")
        if not self.keeps:
            self.rings[interface] = replace(ring, rx=-(-packets // self.step) * self.step)


@dataclass(frozen=True)
class Kernel(Tree):
    """The tree, with what the kernel does to a value that is written, and every write noted.

    ``says``: path to errno, for files that refuse. ``keeps``: paths that take a value and go on as before.
    """

    says: dict[str, int] = field(default_factory=dict)
    keeps: set[str] = field(default_factory=set)
    written: list[tuple[str, str]] = field(default_factory=list)

    def write(self, path: str, text: str) -> None:
        """Take, normalise or refuse the value as the kernel would."""
        self.written.append((path, text))
        if path.startswith("ethtool:"):
            super().write(path, text)
            return
        if path in self.says:
            raise OSError(self.says[path], "as the test wants it")
        value = self._taken(path, text)
        if path not in self.keeps:
            self.here(path).write_text(value + "\n")

    def _taken(self, path: str, text: str) -> str:
        if path.endswith("smp_affinity_list"):
            online = parse_cpus(self.read("/sys/devices/system/cpu/online") or "")
            if not parse_cpus(text) & online:
                raise OSError(errno.EINVAL, "no such CPU is online")
            return format_cpus(parse_cpus(text))
        if not re.fullmatch(r"\d+", text):
            raise OSError(errno.EINVAL, "no number")
        if "/net/core/" in path and int(text) < 2304:
            raise OSError(errno.EINVAL, "below SOCK_MIN_RCVBUF")
        return "1" if path.endswith("/disable") and text != "0" else str(int(text))


def snapshot(root: Path) -> dict[str, str]:
    """All files below proc and sys."""
    return {
        str(path.relative_to(root)): path.read_text()
        for top in ("proc", "sys")
        for path in sorted((root / top).rglob("*"))
        if path.is_file()
    }
