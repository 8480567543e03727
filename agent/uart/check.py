"""``touchline agent check``: the serial port, without opening it, for the agent itself may speak on it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from agent.uart.holder import PROC, check_free
from agent.uart.port import SYS, find_port
from touchline.config import CameraSection
from touchline.config.uart import UartSection
from touchline.errors import HardwareError, ResourceError


def port_text(section: UartSection, cameras: Sequence[CameraSection], sys: Path = SYS, proc: Path = PROC) -> str:
    """Say which port it is and what of the wire the cameras take; raises what keeps it from being used."""
    path = find_port(section.port, sys)
    try:
        facts = path.stat()
    except OSError as error:
        hint = "plug it in, or mend [uart] port"
        raise HardwareError(f"{path} is not there: {error.strerror}", hint=hint) from error
    if not stat.S_ISCHR(facts.st_mode):
        raise HardwareError(f"{path} is no serial port", hint="name one in [uart] port")
    check_free(path, facts.st_rdev, proc)
    if not os.access(path, os.R_OK | os.W_OK):
        hint = "the user must be in group dialout; ask as the agent's user"
        raise ResourceError(f"{path} may not be opened by this user", hint=hint)
    wanted, most = sum(camera.rate_hz for camera in cameras), section.paced_per_s
    rest = "" if wanted <= most else f"; {wanted - most:.0f} A SECOND ARE DROPPED"
    return f"{path} ({section.port}), {section.baud} baud, {wanted:g} of at most {most:.0f} lines a second{rest}"
