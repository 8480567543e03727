"""The disks of a run: made for a first boot, copied from a snapshot, kept between boots."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hil.virtual.machine.qemu import DATA_DISK, DATA_LOG, ROOT_DISK, MachineSpec
from touchline.errors import InputError, ResourceError
from touchline.run import need, run

DATA_BASE: Final = "data.base.img"  # the data disk as it was when QEMU started; a power cut replays the log over it
DATA_LABEL: Final = "touchline-data"
_COPY_S: Final = 120.0


def prepare(spec: MachineSpec) -> None:
    """Make what a cold boot lacks in the run folder; disks of an earlier boot are kept."""
    for needed in filter(None, (spec.kernel, spec.initrd, spec.dtb, spec.root_img, spec.data_img)):
        if not needed.is_file():
            raise InputError(f"{needed} of the image is missing", hint="build the image again")
    spec.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    root, data = spec.run_dir / ROOT_DISK, spec.run_dir / DATA_DISK
    if not root.exists():
        make_overlay(root, spec.root_img)
    if not data.exists():
        if spec.data_img is not None:
            copy_sparse(spec.data_img, data)
        else:
            make_data_disk(data, spec.data_mib)
    begin_log(spec.run_dir)


def begin_log(run_dir: Path) -> None:
    """Start the log of writes anew: the data disk as it is now becomes its base."""
    copy_sparse(run_dir / DATA_DISK, run_dir / DATA_BASE)
    (run_dir / DATA_LOG).write_bytes(b"")


def make_overlay(path: Path, base: Path) -> None:
    """An empty qcow2 over the read-only base."""
    tool = need("qemu-img", "qemu-utils")
    run([tool, "create", "-q", "-f", "qcow2", "-b", base.resolve(), "-F", "raw", path])


def make_data_disk(path: Path, size_mib: int) -> None:
    """An empty ext4, sparse, labelled :data:`DATA_LABEL`."""
    tool = need("mke2fs", "e2fsprogs")
    beside = path.with_name(path.name + ".part")
    with beside.open("wb") as file:
        file.truncate(size_mib << 20)
    # everything initialised now: a lazy kernel thread would write for minutes after the first mount
    features = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    run([tool, "-q", "-F", "-t", "ext4", "-L", DATA_LABEL, "-m", "0", "-E", features, beside])
    beside.replace(path)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file keeping its holes, sharing its blocks where the file system can; whole or not at all."""
    beside = target.with_name(target.name + ".part")
    try:
        run(["cp", "--reflink=auto", "--sparse=always", "--no-preserve=mode", source, beside], timeout_s=_COPY_S)
    except ResourceError:
        beside.unlink(missing_ok=True)
        raise
    beside.replace(target)
