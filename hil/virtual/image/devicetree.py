"""The guest's device tree: QEMU's own for exactly this machine, and the devices on RAM-backed registers after it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hil.virtual.image.modules import KERNEL_FOLDER
from hil.virtual.image.programs import Programs
from hil.virtual.machine.qemu import MachineSpec, dump_argv, find_qemu

PARTS: Final = (KERNEL_FOLDER / "orin-registers.dtsi", KERNEL_FOLDER / "devices.dtsi")


def make_device_tree(programs: Programs, spec: MachineSpec, out: Path, log: Path) -> Path:
    """Write ``orin.dts`` and ``orin.dtb`` into ``out``; returns the latter. ``spec``: any machine of the image."""
    raw, text, blob = out / "virt.dtb", out / "orin.dts", out / "orin.dtb"
    programs.run(dump_argv(spec, raw, program=find_qemu().program), timeout_s=30.0, log=log)
    stock = programs.run(["dtc", "-q", "-I", "dtb", "-O", "dts", raw]).decode()
    text.write_text("\n".join([stock, *(part.read_text() for part in PARTS)]))
    programs.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", blob, text], log=log)
    raw.unlink()
    return blob
