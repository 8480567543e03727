"""Where things go: paths as the installed system sees them, and where they lie now (below ``--root``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from touchline.errors import InputError

PREFIX: Final = PurePosixPath("/opt/touchline")
COMMAND: Final = PurePosixPath("/usr/local/bin/touchline")
CONFIG: Final = PurePosixPath("/etc/touchline/node.toml")
ENABLED: Final = {
    "touchline.target": "multi-user.target",
    "touchline-agent.service": "touchline.target",
    "touchline-ptp4l.service": "touchline.target",
    "touchline-phc2sys.service": "touchline.target",
    "touchline-tune.service": "touchline.target",
    "touchline-tune.timer": "touchline.target",
    "touchline-failover.service": "touchline.target",
    "touchline-thermal.service": "touchline.target",
    "touchline-drill.timer": "touchline.target",
    "touchline-witness.service": "touchline.target",
    "touchline-protect.service": "touchline.target",
    "touchline-flush.timer": "touchline.target",
    "touchline-trace.service": "touchline-agent.service",
}

# /usr/local/lib, not /etc: what an administrator writes to /etc/systemd/system then wins over ours, and
# "systemctl edit" and "systemctl revert" work as with a package's units.
SYSTEM_FOLDERS: Final = {
    "system": PurePosixPath("/usr/local/lib/systemd/system"),
    "sysusers.d": PurePosixPath("/usr/local/lib/sysusers.d"),
    "tmpfiles.d": PurePosixPath("/usr/local/lib/tmpfiles.d"),
}

_SETTLED: Final = PREFIX / ".settled"
_MOST_LINKS: Final = 40


@dataclass(frozen=True)
class Place:
    """The system that is installed into; ``root`` is ``/`` or the folder where its tree lies."""

    root: Path = Path("/")

    def here(self, path: PurePosixPath) -> Path:
        """Where ``path`` of that system lies now."""
        return self.root / path.relative_to("/")

    @property
    def is_live(self) -> bool:
        """Whether this is the running system itself."""
        return self.root == Path("/")

    @property
    def releases(self) -> PurePosixPath:
        """Folder of all releases."""
        return PREFIX / "releases"

    def release(self, name: str) -> PurePosixPath:
        """Folder of one release."""
        return self.releases / name

    def pointed(self, link: str) -> str | None:
        """Name of the release that ``current`` or ``previous`` points to; None where there is no such link."""
        path = self.here(PREFIX / link)
        return path.readlink().name if path.is_symlink() else None

    def follow(self, path: PurePosixPath) -> PurePosixPath:
        """``path`` with its last part's links followed as the installed system would, absolute ones from ``root``."""
        for _ in range(_MOST_LINKS):
            lies = self.here(path)
            if not lies.is_symlink():
                return path
            path = PurePosixPath(os.path.normpath(path.parent / lies.readlink()))
        raise InputError(f"{path} is a circle of links", hint="repair the root tree")


def settled(place: Place) -> str | None:
    """The release whose installation reached its end last; None while one is under way or was killed."""
    path = place.here(_SETTLED)
    return path.read_text().strip() if path.is_file() else None


def settle(place: Place, name: str) -> None:
    """Note that everything is done for a release."""
    write_file(place.here(_SETTLED), f"{name}\n".encode())


def unsettle(place: Place) -> None:
    """Note that an installation begins."""
    place.here(_SETTLED).unlink(missing_ok=True)


def replace_link(link: Path, points_to: PurePosixPath | str) -> None:
    """Let ``link`` point elsewhere in one step: nobody ever sees it missing or half made."""
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(points_to)
    fresh.replace(link)
    sync_folder(link.parent)


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a whole file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fchmod(stream.fileno(), mode)
        os.fsync(stream.fileno())
    fresh.replace(path)


def sync_folder(folder: Path) -> None:
    """Bring a folder's own entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
