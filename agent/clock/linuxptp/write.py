"""Put the configuration where the units look for it, and say which of them this node needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from agent.clock.linuxptp.render import phc2sys_args, ptp4l_conf
from agent.clock.linuxptp.version import Ptp4l, find_ptp4l
from touchline.config import ClockSection, NodeConfig
from touchline.errors import ResourceError

PTP4L_CONF: Final = "ptp4l.conf"
PHC2SYS_ENV: Final = "phc2sys.env"
PHC2SYS_VARIABLE: Final = "PHC2SYS_ARGS"

NEEDS: Final[Mapping[str, Callable[[ClockSection], bool]]] = {
    "ptp4l": lambda clock: clock.runs_ptp4l,
    "phc2sys": lambda clock: clock.runs_phc2sys,
    "no-ntp": lambda clock: clock.steers_system_clock,
}
"""What a unit asks before it starts (``touchline clock config --needs``): does this configuration want it?"""


def write_config(config: NodeConfig, folder: Path, ptp4l: Ptp4l | None = None) -> list[Path]:
    """Write ``ptp4l.conf`` and ``phc2sys.env`` into ``folder``, each in one step; return the files written.

    A node that needs one of them no more loses its file; one with ``source = "system"`` gets none at all, and no ptp4l
    is looked for. ``ptp4l``: the one to write for; by default the one found. Raises :class:`ResourceError` when there
    is none, it is too old, or the folder cannot be written.
    """
    clock = config.clock
    texts: dict[str, str | None] = {PTP4L_CONF: None, PHC2SYS_ENV: None}
    if clock.runs_ptp4l:
        texts[PTP4L_CONF] = ptp4l_conf((ptp4l or find_ptp4l()).version, clock)
    if clock.runs_phc2sys:
        texts[PHC2SYS_ENV] = f"{PHC2SYS_VARIABLE}={' '.join(phc2sys_args(clock))}\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [folder / name for name, text in texts.items() if _put(folder / name, text)]
    except OSError as error:
        raise ResourceError(
            f"{error.filename or folder}: {error.strerror}", hint="name a folder that you may write (--out)"
        ) from error


def _put(path: Path, text: str | None) -> bool:
    """Replace a file as a whole, or take it away; return whether it is there now."""
    if text is None:
        path.unlink(missing_ok=True)
        return False
    fresh = path.with_name(f".{path.name}.{os.getpid()}")  # both units may write at the same time
    fresh.write_text(text)
    fresh.replace(path)
    return True
