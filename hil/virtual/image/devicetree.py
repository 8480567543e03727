"""The guest's device tree: QEMU's own for exactly this machine, and the devices on RAM-backed registers after it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hil.virtual.image.programs import Job
from hil.virtual.image.recipe import KERNEL_FOLDER
from hil.virtual.machine.qemu import MachineSpec, dump_argv, find_qemu

PARTS: Final = (KERNEL_FOLDER / "orin-registers.dtsi", KERNEL_FOLDER / "devices.dtsi")


def make_device_tree(job: Job, spec: MachineSpec, out: Path) -> Path:
    """Write ``orin.dts`` and ``orin.dtb`` into ``out``; returns the latter. ``spec``: any machine of the image."""
    raw, text, blob = out / "virt.dtb", out / "orin.dts", out / "orin.dtb"
    job.run(dump_argv(spec, raw, program=find_qemu().program), timeout_s=30.0)
    stock = job.read(["dtc", "-q", "-I", "dtb", "-O", "dts", raw]).decode()
    text.write_text("\n".join([stock, *(part.read_text() for part in PARTS)]))
    job.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", blob, text])
    raw.unlink()
    return blob
