"""Which ptp4l is here: 3.1.1 (Debian 12, Ubuntu 22.04) and 4.x do not take the same configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from touchline.errors import ResourceError
from touchline.run import need, run

UNIT_PTP4L: Final = Path("/usr/sbin/ptp4l")
"""The program that touchline-ptp4l.service starts; another one in the path does not count while this one is there."""

_NUMBERS: Final = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?![\d.])")
_START_S: Final = 10.0


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A release of linuxptp."""

    major: int
    minor: int
    patch: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}" + (f".{self.patch}" if self.patch else "")


OLDEST: Final = Version(3, 1)
CLIENT_WORDS: Final = Version(4, 0)
"""From here on ``clientOnly`` and ``serverOnly`` (before: ``slaveOnly``, ``masterOnly``), and ``uds_ro_address``."""


@dataclass(frozen=True, slots=True)
class Ptp4l:
    """The program and its version."""

    path: Path
    version: Version


def parse_version(text: str) -> Version:
    """Read what ``ptp4l -v`` prints: ``3.1.1``, ``4.2``, ``4.4-rc1``, ``4.2-00042-gabc``; ValueError for anything else.

    What follows the numbers (a commit, a distribution's mark) is of no interest.
    """
    match = _NUMBERS.match(text.strip())
    if match is None:
        raise ValueError(f"{text.strip()[:80]!r} is no version of linuxptp")
    return Version(int(match[1]), int(match[2]), int(match[3] or 0))


def find_ptp4l(program: Path | None = None) -> Ptp4l:
    """Return the ptp4l that the unit starts, else the one in the path, or the one named.

    Raises :class:`ResourceError` when there is none, or one whose configuration we do not know how to write.
    """
    path = program or (UNIT_PTP4L if UNIT_PTP4L.exists() else Path(need("ptp4l", "linuxptp")))
    said = run([path, "-v"], timeout_s=_START_S).stdout.decode(errors="replace")
    try:
        version = parse_version(said)
    except ValueError as error:
        raise ResourceError(f"{path} -v: {error}", hint="apt install --reinstall linuxptp") from error
    if version < OLDEST:
        raise ResourceError(
            f"{path} is linuxptp {version}, and {OLDEST} is the oldest that works",
            hint="install linuxptp 3.1.1 or newer (Ubuntu 20.04, JetPack 5, brings 1.9.2: build it from source)",
        )
    return Ptp4l(path, version)
