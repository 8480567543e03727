"""From a machine's description to QEMU's command line: pure, the same for a boot and for a restore but `-incoming`."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from touchline.errors import ResourceError
from touchline.run import need, run

PROGRAM: Final = "qemu-system-aarch64"
PACKAGE: Final = "qemu-system-arm"
OLDEST: Final = (7, 2)

RAM_START: Final = 0x4000_0000  # of QEMU's `virt` machine
MEM_MIB: Final = 1536  # the reserved registers below lie at the end of exactly this much
NODE_MIB: Final = 1900  # what a node needs of the host: MEM_MIB and 300 of QEMU's own, measured
REGISTERS_ADDRESS: Final = 0x9FF0_0000
REGISTERS_BYTES: Final = 1 << 20

# everything of one run lies in its run folder, which is QEMU's working directory: short socket names, stable argv
QMP_SOCKET, AGENT_SOCKET, CONSOLE_SOCKET = "qmp.sock", "agent.sock", "console.sock"
SHELL_SOCKET, UART_SOCKET = "shell.sock", "uart.sock"
CARD: Final = "nic0"  # for set_link
_TAP: Final = "tap,id=net0,fd="
CONSOLE_LOG, ROOT_DISK, DATA_DISK, DATA_LOG = "console.log", "root.qcow2", "data.img", "data.log"

_KERNEL_LINE: Final = "console=ttyAMA0 root=/dev/vda rw quiet mitigations=off nokaslr audit=0"


class Accel(str, Enum):
    """Who runs the guest's instructions."""

    TCG = "tcg"
    KVM = "kvm"


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """One virtual node. ``seat``: its name on the rack's network ("a", "b"), given to the guest on the kernel line.

    ``root_img`` is the read-only base; what the guest writes goes into an overlay in ``run_dir``. ``data_img`` is what
    the data disk starts as; None makes an empty ext4. ``dtb`` None is QEMU's own device tree. ``image_id`` names the
    image in snapshots.
    """

    seat: str
    kernel: Path
    initrd: Path
    root_img: Path
    run_dir: Path
    image_id: str
    dtb: Path | None = None
    data_img: Path | None = None
    mac: str = "52:54:00:77:00:0b"
    smp: int = 2
    mem_mib: int = MEM_MIB
    data_mib: int = 512
    tb_mib: int = 512
    accel: Accel = Accel.TCG
    kernel_extra: str = ""


def qemu_argv(
    spec: MachineSpec, *, tap_fd: int | None = None, incoming: str | None = None, program: str = PROGRAM
) -> list[str]:
    """The command line. ``tap_fd``: an open tap that QEMU inherits, None leaves the network card unplugged."""
    argv = [program, *_board(spec), *_kernel(spec), *_disks(), *_serials(), *_network(spec, tap_fd)]
    argv += ["-device", "i6300esb", "-action", "watchdog=reset", "-device", "virtio-rng-pci,romfile="]
    argv += ["-qmp", f"unix:{QMP_SOCKET},server=on,wait=off", "-name", f"touchline-{spec.seat},debug-threads=on"]
    if incoming is not None:
        argv += ["-incoming", incoming]
    return argv


def has_tap(argv: Sequence[str]) -> bool:
    """Whether a command line plugs the network card in."""
    return any(word.startswith(_TAP) for word in argv)


def dump_argv(spec: MachineSpec, dtb_file: Path, *, program: str = PROGRAM) -> list[str]:
    """The same machine writing its device tree to ``dtb_file`` and ending at once; needs no disks and no sockets."""
    return [program, *_board(spec, f",dumpdtb={_escaped(dtb_file)}")]


def fingerprint(spec: MachineSpec, *, plugged: bool) -> str:
    """What must be equal for a snapshot to fit: the machine as its guest sees it, without paths of the host.

    ``plugged``: with a tap behind it the card offers its guest more than without.
    """
    argv = [*_board(spec), *_kernel_line(spec), *_disks(), *_serials(), *_card(spec), "tap" if plugged else "none"]
    return hashlib.sha256("\0".join(argv).encode()).hexdigest()


def machine_id(seat: str) -> str:
    """The seat's /etc/machine-id, always the same: 32 hexadecimal digits in the form of a version 4 UUID."""
    digest = bytearray(hashlib.sha256(f"touchline virtual node {seat}".encode()).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x40, digest[8] & 0x3F | 0x80
    return digest.hex()


def _board(spec: MachineSpec, extra: str = "") -> list[str]:
    if spec.accel is Accel.KVM:
        accel, cpu = "kvm", "host"
    else:
        accel, cpu = f"tcg,thread=multi,tb-size={spec.tb_mib}", "cortex-a76"
    # memfd: the host maps it through /proc/PID/fd, and nothing is left anywhere when QEMU dies
    memory = f"memory-backend-memfd,id=ram,size={spec.mem_mib}M,share=on"
    return [
        *("-M", f"virt,gic-version=3,memory-backend=ram{extra}", "-accel", accel, "-cpu", cpu),
        *("-smp", str(spec.smp), "-m", str(spec.mem_mib), "-object", memory),
        *("-nodefaults", "-no-user-config", "-display", "none"),
    ]


def _kernel_line(spec: MachineSpec) -> list[str]:
    words = [_KERNEL_LINE, f"touchline.seat={spec.seat}", f"systemd.machine_id={machine_id(spec.seat)}"]
    return ["-append", " ".join([*words, *([spec.kernel_extra] if spec.kernel_extra else [])])]


def _kernel(spec: MachineSpec) -> list[str]:
    tree = ["-dtb", str(spec.dtb)] if spec.dtb is not None else []
    return ["-kernel", str(spec.kernel), "-initrd", str(spec.initrd), *_kernel_line(spec), *tree]


def _disks() -> list[str]:
    # no-flush: the host's cache survives QEMU, so a guest's flush need not wait for the host's disk
    return [
        *("-blockdev", f"driver=file,node-name=root-file,filename={ROOT_DISK},cache.no-flush=on"),
        *("-blockdev", "driver=qcow2,node-name=root,file=root-file"),
        *("-device", "virtio-blk-pci,id=vda,drive=root,romfile="),
        *("-blockdev", f"driver=file,node-name=data-file,filename={DATA_DISK},cache.no-flush=on"),
        *("-blockdev", f"driver=file,node-name=data-log,filename={DATA_LOG},cache.no-flush=on"),
        *("-blockdev", "driver=blklogwrites,node-name=data,file=data-file,log=data-log,log-sector-size=512"),
        *("-device", "virtio-blk-pci,id=vdb,drive=data,write-cache=on,discard=off,write-zeroes=off,romfile="),
    ]


def _serials() -> list[str]:
    return [
        *("-chardev", f"socket,id=console,path={CONSOLE_SOCKET},server=on,wait=off,logfile={CONSOLE_LOG},logappend=on"),
        *("-serial", "chardev:console"),
        *("-chardev", f"socket,id=uart,path={UART_SOCKET},server=on,wait=off", "-device", "pci-serial,chardev=uart"),
        *("-device", "virtio-serial-pci,romfile="),
        *("-chardev", f"socket,id=shell,path={SHELL_SOCKET},server=on,wait=off"),
        *("-device", "virtconsole,chardev=shell"),
        *("-chardev", f"socket,id=agent,path={AGENT_SOCKET},server=on,wait=off"),
        *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
    ]


def _card(spec: MachineSpec) -> list[str]:
    return ["-device", f"virtio-net-pci,id={CARD},netdev=net0,mac={spec.mac},romfile="]


def _network(spec: MachineSpec, tap_fd: int | None) -> list[str]:
    back = "hubport,id=net0,hubid=0" if tap_fd is None else f"{_TAP}{tap_fd}"
    return ["-netdev", back, *_card(spec)]


def _escaped(path: Path) -> str:
    """A comma in an option's value is written twice."""
    return str(path).replace(",", ",,")


@dataclass(frozen=True, slots=True)
class QemuVersion:
    """Program found and what it says it is; ``text`` is its whole first line, a snapshot's condition."""

    program: str
    number: tuple[int, int, int]
    text: str


def find_qemu() -> QemuVersion:
    """The installed QEMU; raises ResourceError naming the package, or what was found and what is needed."""
    program = need(PROGRAM, PACKAGE)
    return check_version(program, _version_line(program))


def check_version(program: str, line: str) -> QemuVersion:
    """Judge what ``--version`` printed."""
    found = re.search(r"version (\d+)\.(\d+)(?:\.(\d+))?", line)
    if found is None:
        raise ResourceError(f"{program} does not say its version: {line[:80]!r}", hint=f"apt install {PACKAGE}")
    number = (int(found[1]), int(found[2]), int(found[3] or 0))
    if number[:2] < OLDEST:
        have, want = ".".join(map(str, number)), ".".join(map(str, OLDEST))
        raise ResourceError(f"QEMU {have} is too old, {want} or newer is needed", hint=f"apt install {PACKAGE}")
    return QemuVersion(program, number, line)


@functools.cache
def _version_line(program: str) -> str:
    return run([program, "--version"], timeout_s=20.0).stdout.decode(errors="replace").splitlines()[0].strip()
