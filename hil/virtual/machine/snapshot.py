"""A node frozen in a folder: memory, both disks, and what must be equal for it to run again.

Restoring copies the disks and starts a new QEMU on them, so any number of nodes and tests can start from one snapshot.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hil.virtual.machine.disks import copy_sparse
from hil.virtual.machine.qemu import DATA_DISK, ROOT_DISK, MachineSpec, fingerprint
from hil.virtual.ports import Monitor
from touchline.errors import HardwareError, InputError, ResourceError
from touchline.timeline import monotonic_ns, sleep_until

SCHEMA: Final = "touchline.virtual-snapshot/1"
STATE_FILE, META_FILE = "memory.state", "snapshot.json"
_MIGRATE_S: Final = 120.0
_POLL_NS: Final = 20_000_000
_FAST_BYTES_PER_S: Final = 1 << 40
_REMEDY: Final = "make the snapshot again"
_MAKE: Final = "make it with `touchline hil virtual snapshot`"


@dataclass(frozen=True, slots=True)
class FrozenFile:
    """A file of the snapshot as it was written."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A folder made by :func:`freeze`; ``qemu`` is the first line of its ``--version``."""

    folder: Path
    seat: str
    qemu: str
    image_id: str
    plugged: bool
    fingerprint: str
    created_utc: str
    files: dict[str, FrozenFile]

    @property
    def state_file(self) -> Path:
        """The guest's memory and devices."""
        return self.folder / STATE_FILE

    def check(self, spec: MachineSpec, *, qemu: str, plugged: bool) -> None:
        """Raise InputError unless this snapshot runs on ``spec`` under the QEMU that says ``qemu``."""
        for what, here, there in (
            ("QEMU", qemu, self.qemu),
            ("image", spec.image_id, self.image_id),
            ("seat", spec.seat, self.seat),
        ):
            if here != there:
                raise InputError(
                    f"snapshot {self.folder.name} was made with {what} '{there}', this is '{here}'", hint=_REMEDY
                )
        if plugged != self.plugged:
            made = "with" if self.plugged else "without"
            raise InputError(f"snapshot {self.folder.name} was made {made} a network", hint=f"restore it {made} one")
        if fingerprint(spec, plugged=plugged) != self.fingerprint:
            raise InputError(f"snapshot {self.folder.name} is of a machine with other devices", hint=_REMEDY)
        for name, file in self.files.items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != file.size_bytes:
                raise InputError(f"snapshot {self.folder.name}: {name} is missing or cut short", hint=_REMEDY)

    def verify(self) -> None:
        """Compare every byte with the hashes; about 1 s. Raises InputError."""
        for name, file in self.files.items():
            if _sha256(self.folder / name) != file.sha256:
                raise InputError(f"snapshot {self.folder.name}: {name} is corrupt", hint=_REMEDY)


def load_snapshot(folder: Path) -> Snapshot:
    """Read a snapshot's description; raises InputError when it is none of ours."""
    try:
        meta: dict[str, Any] = json.loads((folder / META_FILE).read_text())
        if meta.pop("schema", None) != SCHEMA:
            raise InputError(f"{folder} is not a snapshot of this version", hint=_REMEDY)
        files = {name: FrozenFile(**file) for name, file in meta.pop("files").items()}
        return Snapshot(folder=folder, files=files, **meta)
    except FileNotFoundError as error:
        raise InputError(f"there is no snapshot in {folder}", hint=_MAKE) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{folder / META_FILE} is corrupt: {error}", hint=_REMEDY) from error


def freeze(
    monitor: Monitor,
    spec: MachineSpec,
    folder: Path,
    *,
    plugged: bool,
    qemu: str,
    created_utc: str,
    running: Callable[[], bool],
) -> Snapshot:
    """Write the stopped machine into ``folder``: whole or not at all. The caller stops and continues it.

    The migration puts every block of both disks where a copy finds it.
    """
    if folder.exists():
        raise ResourceError(f"snapshot {folder} exists", hint="choose another name or remove it")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    try:
        _save_memory(monitor, part / STATE_FILE, running)
        for disk in (ROOT_DISK, DATA_DISK):
            copy_sparse(spec.run_dir / disk, part / disk)
        names = (STATE_FILE, ROOT_DISK, DATA_DISK)
        files = {name: FrozenFile((part / name).stat().st_size, _sha256(part / name)) for name in names}
        same = fingerprint(spec, plugged=plugged)
        snapshot = Snapshot(folder, spec.seat, qemu, spec.image_id, plugged, same, created_utc, files)
        meta = {key: value for key, value in asdict(snapshot).items() if key != "folder"}
        (part / META_FILE).write_text(json.dumps({"schema": SCHEMA, **meta}, indent=1))
        part.rename(folder)
    except BaseException:  # an interrupt too: half a snapshot is none
        shutil.rmtree(part, ignore_errors=True)
        raise
    return snapshot


def thaw(snapshot: Snapshot, spec: MachineSpec) -> str:
    """Put the frozen disks into the run folder; returns QEMU's ``-incoming``."""
    spec.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for disk in (ROOT_DISK, DATA_DISK):
        copy_sparse(snapshot.folder / disk, spec.run_dir / disk)
    return f"exec:cat {shlex.quote(str(snapshot.state_file.resolve()))}"


def _save_memory(monitor: Monitor, path: Path, running: Callable[[], bool]) -> None:
    monitor("migrate-set-parameters", **{"max-bandwidth": _FAST_BYTES_PER_S})
    monitor("migrate", uri=f"exec:cat > {shlex.quote(str(path.resolve()))}")
    deadline_ns = monotonic_ns() + int(_MIGRATE_S * 1e9)
    while (state := monitor("query-migrate")).get("status") != "completed":
        if state.get("status") == "failed":
            raise HardwareError(f"QEMU could not write the snapshot: {state.get('error-desc', 'it gives no reason')}")
        if not running() or monotonic_ns() > deadline_ns:
            raise HardwareError(f"the snapshot was not written within {_MIGRATE_S:g} s")
        sleep_until(monotonic_ns() + _POLL_NS)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
