"""What runs, and where: the record by which another process finds, uses and ends a site's nodes."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from hil.virtual.machine.network import PREFIX, Network, namespaces
from hil.virtual.machine.process import ProcessId, QemuProcess, alive, end
from hil.virtual.machine.qemu import Accel, MachineSpec
from touchline.errors import ConfigError, InputError, ResourceError

SITE_FILE, LOCK_FILE, SPEC_FILE = "site.json", "lock", "node.json"
_NAME: Final = re.compile(r"[a-z0-9-]{1,24}")
_PATHS: Final = frozenset({"kernel", "initrd", "root_img", "run_dir", "dtb", "data_img"})
_LOCK_TRIES: Final = 5
_PROCESS_TERM_S: Final = 25.0  # the rack ends its aggregator and its broker in order


@dataclass(frozen=True, slots=True)
class Site:
    """One or two nodes and what belongs to them. ``processes``: others that run for it (broker), by name."""

    name: str
    image_id: str
    seats: tuple[str, ...]
    started_utc: str
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, ProcessId] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SiteStatus:
    """A site and what of it is alive: QEMU's pid for each seat, None for a dead one."""

    site: Site
    pids: dict[str, int | None]
    processes: dict[str, bool]

    @property
    def running(self) -> bool:
        """Whether anything of it is alive."""
        return any(self.processes.values()) or any(pid is not None for pid in self.pids.values())


class Sites:
    """The sites below ``folder``; each has a folder with one run folder for each seat."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Folder of a site, which need not exist."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"'{name}' is no name for a site", hint="use 1 to 24 of a-z, 0-9 and -")
        return self.folder / name

    def run_dir(self, name: str, seat: str) -> Path:
        """Run folder of one of its nodes."""
        return self.path(name) / seat

    @contextmanager
    def claim(self, name: str) -> Iterator[Path]:
        """Own a site while the block runs; ResourceError when another process does. Gives its folder, made if need be.

        The lock ends with the process that holds it, however it ends.
        """
        folder = self.path(name)
        lock = _lock(folder)
        try:
            yield folder
        finally:
            os.close(lock)

    def save(self, site: Site) -> None:
        """Write down what runs; call it with the site claimed, again whenever that changes."""
        folder = self.path(site.name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = folder / f"{SITE_FILE}.part"
        beside.write_text(json.dumps(asdict(site), indent=1))
        beside.replace(folder / SITE_FILE)

    def load(self, name: str) -> Site:
        """Read a site's record; InputError when there is none."""
        path = self.path(name) / SITE_FILE
        try:
            raw: dict[str, Any] = json.loads(path.read_text())
            processes = {key: ProcessId(**who) for key, who in raw.pop("processes").items()}
            return Site(**{**raw, "seats": tuple(raw["seats"]), "processes": processes})
        except FileNotFoundError as error:
            raise InputError(f"no virtual node '{name}' here", hint="boot it first") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{path} is corrupt: {error}", hint="destroy the node") from error

    def names(self) -> list[str]:
        """Sites with a record, dead ones included."""
        return sorted(path.parent.name for path in self.folder.glob(f"*/{SITE_FILE}"))

    def status(self, name: str) -> SiteStatus:
        """What of a site is alive."""
        site = self.load(name)
        found = {seat: QemuProcess.find(self.run_dir(name, seat)) for seat in site.seats}
        pids = {seat: process.pid if process else None for seat, process in found.items()}
        return SiteStatus(site, pids, {key: alive(who) for key, who in site.processes.items()})

    def destroy(self, name: str) -> None:
        """End everything of a site and remove its folder. Raises ResourceError while another process owns it."""
        folder = self.path(name)
        if not folder.is_dir():
            raise InputError(f"no virtual node '{name}' here", hint="see what runs: `touchline hil virtual status`")
        with self.claim(name):
            for run_dir in sorted(path for path in folder.iterdir() if path.is_dir()):
                process = QemuProcess.find(run_dir)
                if process is not None:
                    process.end()
            try:
                for who in self.load(name).processes.values():
                    if alive(who):
                        end(who, term_s=_PROCESS_TERM_S)
            except InputError:
                pass  # no record, or a corrupt one: the run folders' own records were enough for QEMU
            if f"{PREFIX}{name}" in namespaces():
                Network(name).close()
            shutil.rmtree(folder)


def save_spec(spec: MachineSpec) -> None:
    """Keep a machine's description in its run folder, for a later process."""
    raw = {one.name: getattr(spec, one.name) for one in fields(spec)}
    text = {key: str(value) if isinstance(value, Path) else value for key, value in raw.items()}
    (spec.run_dir / SPEC_FILE).write_text(json.dumps(text, indent=1))


def load_spec(run_dir: Path) -> MachineSpec:
    """The description that :func:`save_spec` kept; InputError when there is none."""
    try:
        raw: dict[str, Any] = json.loads((run_dir / SPEC_FILE).read_text())
        raw["accel"] = Accel(raw["accel"])
        typed: dict[str, Any] = {key: Path(value) if key in _PATHS and value else value for key, value in raw.items()}
        return MachineSpec(**typed)
    except FileNotFoundError as error:
        raise InputError(f"no node was ever started in {run_dir}", hint="boot it first") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{run_dir / SPEC_FILE} is corrupt: {error}", hint="destroy the node") from error


def _lock(folder: Path) -> int:
    path = folder / LOCK_FILE
    for _ in range(_LOCK_TRIES):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # removed between the two lines
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(fd, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise ResourceError(
                f"the virtual node '{folder.name}' belongs to process {owner}", hint="end that, or choose another name"
            ) from error
        if path.exists() and path.stat().st_ino == os.fstat(fd).st_ino:
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
            return fd
        os.close(fd)  # its last owner removed the folder
    raise ResourceError(f"cannot lock {path}")
