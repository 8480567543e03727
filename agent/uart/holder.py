"""Who else is on a serial port: a login console (getty) or the kernel's own. Read from /proc, by any user."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from touchline.errors import ResourceError

PROC: Final = Path("/proc")
_TTY_FIELD: Final = 4  # of /proc/PID/stat, after the name's bracket: state, ppid, pgrp, session, tty_nr (proc(5))
_MINOR_LOW, _MINOR_HIGH, _MAJOR = 0xFF, 0xFFF00, 0xFFF


@dataclass(frozen=True, slots=True)
class Holder:
    """A process whose terminal the port is. ``unit``: the systemd unit that it belongs to, empty where none is told."""

    pid: int
    name: str
    unit: str


def holder_of(device: int, proc: Path = PROC) -> Holder | None:
    """Return the first process with this terminal, given as st_rdev; None when there is none.

    A getty makes the port its controlling terminal, which everybody may see; its descriptors only root may.
    """
    for pid in sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()):
        try:
            name, _, rest = (proc / str(pid) / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
            number = int(rest.split()[_TTY_FIELD])
        except (OSError, ValueError, IndexError):
            continue  # it has ended meanwhile
        if number and _device(number) == (os.major(device), os.minor(device)):
            return Holder(pid, name, _unit(proc / str(pid) / "cgroup"))
    return None


def _device(number: int) -> tuple[int, int]:
    """Major and minor of tty_nr: minor in bits 0..7 and 20..31, major in 8..15 (proc(5))."""
    return (number >> 8) & _MAJOR, (number & _MINOR_LOW) | ((number >> 12) & _MINOR_HIGH)


def _unit(path: Path) -> str:
    try:
        groups = path.read_text().splitlines()
    except OSError:
        return ""
    names = [part for line in groups for part in line.split("/") if part.endswith(".service")]
    return names[-1] if names else ""


def check_free(path: Path, device: int, proc: Path = PROC) -> None:
    """Raise ResourceError, with the fix, where a login or the kernel's console would speak in between our lines."""
    held = holder_of(device, proc)
    if held is not None:
        unit = held.unit or f"serial-getty@{path.name}.service"
        raise ResourceError(
            f"{path} is the terminal of {held.name} (process {held.pid}{', ' + held.unit if held.unit else ''})",
            hint=f"systemctl disable --now {unit} && udevadm trigger -c add {path}",  # a login leaves its rights on it
        )
    try:
        consoles = [line.split()[0] for line in (proc / "consoles").read_text().splitlines() if line.strip()]
    except OSError:
        return
    if path.name in consoles:
        raise ResourceError(
            f"{path} is a console of the kernel, whose messages would stand between the lines",
            hint=f"take console={path.name} off the kernel's command line (/boot/extlinux/extlinux.conf)",
        )
