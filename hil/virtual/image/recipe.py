"""What the image is made of: data, and the hash that names it. A change here is another image."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

KERNEL_FOLDER: Final = Path(__file__).resolve().parents[1] / "kernel"  # read and compiled, never imported
GUEST_ARCH: Final = "arm64"
GUEST_PYTHON: Final = "3.11"  # of the release
KERNEL_META: Final = "linux-image-arm64"
SCHEMA: Final = "touchline.virtual-image/1"

PACKAGES: Final = (
    *("systemd", "systemd-sysv", "udev", "dbus", "kmod", "procps", "e2fsprogs", "usr-is-merged"),
    *("python3", "libgomp1", "openssl", "ca-certificates"),
    *("iproute2", "iputils-ping", "iputils-arping", "ethtool", "linuxptp"),
    *("v4l-utils", "gpiod", "i2c-tools", "qemu-guest-agent"),
)
INITRD_PACKAGES: Final = ("busybox-static",)

INITRD_MODULES: Final = ("virtio_blk", "crc32c_generic", "ext4")
MODULES: Final = (
    *INITRD_MODULES,
    *("autofs4", "binfmt_misc", "configfs", "overlay", "vfat", "nls_ascii", "nls_cp437"),
    *("virtio_net", "virtio_rng", "virtio_balloon"),
    *("vivid", "pwm-fan", "pwm-tegra", "bcm2711_thermal", "i6300esb", "softdog", "gpio_keys"),
    *("dummy_hcd", "libcomposite", "usb_f_acm", "usb_f_rndis", "usb_f_ncm", "usb_f_ss_lb"),
    *("cdc-acm", "rndis_host", "cdc_ncm"),
    *("sch_netem", "sch_tbf", "sch_ingress", "ifb", "act_mirred", "cls_matchall", "cls_u32"),
    *("macvlan", "bridge", "veth", "macsec", "psample"),
    *("i2c-dev", "st_accel_i2c"),
)
SOURCE_FILES: Final = (
    "drivers/ptp/ptp_mock.c",
    "drivers/net/netdevsim",
    "drivers/gpio/gpio-sim.c",
    "drivers/gpio/gpiolib.h",
    "drivers/hwmon/ina3221.c",
    "kernel/irq/irq_sim.c",
)
"""Taken from Debian's kernel source package, of the running kernel's own version."""

LOOPBACK_PACKAGE: Final = "v4l2loopback-dkms"
"""Sources of the driver behind the camera that all nodes share."""

CUSTOM_MODULES: Final = ("iio_dummy", "iio-trig-sysfs")
"""What only the custom kernel has. Its emulated temperatures are no module: every thermal zone gets ``emul_temp``."""

ROOM_MIB: Final = 384  # free space in the root file system

SPACE_MIB: Final = {"packages": 420, "bundle": 130, "root": 400, "kernel": 650, "image": 1300, "custom-kernel": 4500}
"""Disk that each step takes at most while it works, the image's with its unpacked tree."""

HOST_PROGRAMS: Final = (
    ("apt-get", "apt"),
    ("mmdebstrap", "mmdebstrap"),
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("qemu-img", "qemu-utils"),
    ("mke2fs", "e2fsprogs"),
    ("dtc", "device-tree-compiler"),
    ("depmod", "kmod"),
    ("make", "make"),
    ("xz", "xz-utils"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
)
KERNEL_PROGRAMS: Final = (("flex", "flex"), ("bison", "bison"), ("bc", "bc"), ("gcc", "gcc"), ("perl", "perl"))
"""To compile the custom kernel."""

CROSS_PROGRAMS: Final = (
    ("arch-test", "arch-test"),
    ("qemu-aarch64-static", "qemu-user-static"),
    ("update-binfmts", "binfmt-support"),
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
)
"""On a host of another architecture: to run the guest's maintainer scripts, to compile its modules."""

NATIVE_PROGRAMS: Final = (("gcc", "gcc"),)


_UNREAD: Final = ("README.md", "COPYING", "__pycache__")


def digest(*parts: str | bytes) -> str:
    """SHA-256 over parts, none of which can run into the next."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


def tree_digest(folders: Iterable[Path]) -> str:
    """SHA-256 over names, kinds, x-bits and contents below some folders; documents and caches do not count."""
    lines: list[str | bytes] = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if not set(_UNREAD).isdisjoint(path.relative_to(folder).parts):
                continue
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            if path.is_symlink():
                lines += [name, "link", str(path.readlink())]
            elif path.is_file():
                lines += [name, "x" if path.stat().st_mode & 0o100 else "-", path.read_bytes()]
    return digest(*lines)


def code_digest(*files: Path) -> str:
    """SHA-256 over what Python files do: comments, docstrings and layout do not count."""
    return digest(*(ast.dump(_without_docstrings(ast.parse(file.read_text()))) for file in files))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        total = hashlib.sha256()
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()
