"""The release's place in the operating system: unit files, user, folders, enabling, starting."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from flash.bundle.node.place import COMMAND, ENABLED, PREFIX, SYSTEM_FOLDERS, Place, replace_link, write_file
from touchline.errors import ResourceError, TouchlineError

USER = "touchline"
_LAST_WORDS = 300


def system_files(folder: Path) -> dict[PurePosixPath, Path]:
    """Files of a ``system`` folder, by where they go."""
    return {
        SYSTEM_FOLDERS[kind] / path.name: path
        for kind in SYSTEM_FOLDERS
        if (folder / kind).is_dir()
        for path in sorted((folder / kind).iterdir())
    }


def changed_files(place: Place, files: dict[PurePosixPath, Path]) -> list[PurePosixPath]:
    """Those that are missing or different in the system."""
    return [path for path, source in files.items() if not _same(place.here(path), source)]


def _same(there: Path, source: Path) -> bool:
    return there.is_file() and there.read_bytes() == source.read_bytes()


def stale_files(place: Place, old: Iterable[PurePosixPath], new: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """What the replaced release put into the system and the new one does not have."""
    return sorted(path for path in set(old) - set(new) if place.here(path).exists())


def put_files(place: Place, files: dict[PurePosixPath, Path], changed: Iterable[PurePosixPath]) -> None:
    """Write the changed ones."""
    for path in changed:
        write_file(place.here(path), files[path].read_bytes())


def has_command(place: Place) -> bool:
    """Whether ``touchline`` on the path is ours."""
    link = place.here(COMMAND)
    return link.is_symlink() and str(link.readlink()) == str(PREFIX / "current/bin/touchline")


def check_command(place: Place) -> None:
    """Raise when somebody else's ``touchline`` is in the way."""
    link = place.here(COMMAND)
    if link.exists() and not link.is_symlink():
        raise ResourceError(f"{COMMAND} is there and is not a link", hint="move it away: the installer deletes no file")


def put_command(place: Place) -> None:
    """Link ``touchline`` onto the path."""
    replace_link(place.here(COMMAND), PREFIX / "current/bin/touchline")


def has_user(place: Place) -> bool:
    """Whether the system's own table has the service's user."""
    table = place.here(PurePosixPath("/etc/passwd"))
    return table.is_file() and any(line.startswith(f"{USER}:") for line in table.read_text().splitlines())


def not_enabled(place: Place) -> list[str]:
    """Our units that the next boot would not start."""
    wants = place.here(PurePosixPath("/etc/systemd/system"))
    return [unit for unit, by in ENABLED.items() if not (wants / f"{by}.wants" / unit).is_symlink()]


def tool(place: Place, program: str, *words: str) -> tuple[str, ...]:
    """The command line for one of systemd's programs; they all work on a tree without a running systemd."""
    if shutil.which(program):
        return (program, f"--root={place.root}", *words)
    if not place.is_live:
        return ("chroot", str(place.root), program, *words)
    return (program, *words)


def systemd_runs(place: Place) -> bool:
    """Whether this is the running system and systemd is its first process."""
    return place.is_live and Path("/run/systemd/system").is_dir()


def is_active(unit: str) -> bool:
    """Whether the running systemd has started the unit."""
    try:
        done = subprocess.run(["systemctl", "is-active", "--quiet", unit], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def call(argv: Sequence[str]) -> None:
    """Run one of the commands of the plan; its last words are the error."""
    try:
        done = subprocess.run(argv, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"})
    except OSError as error:
        raise ResourceError(f"{argv[0]} cannot be started: {error.strerror}", hint="is systemd installed?") from error
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip()[-_LAST_WORDS:]
        raise TouchlineError(
            f"{' '.join(argv)} failed with status {done.returncode}: {last}",
            hint="mend that and run it again: it goes on",
        )
