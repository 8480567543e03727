"""The accelerometer through IIO's files: found by its name, scaled, each read by itself (EAGAIN, EIO, ENXIO).

IIO gives ``(raw + offset) * scale`` in m/s^2 (Documentation/ABI/testing/sysfs-bus-iio). Numbers of devices move: what
was ``iio:device0`` may be another device now, so the name is read with every sample. The stock st_accel driver powers
the chip up for each read and waits for two samples, so its rate is set as high as it goes up to ``MOST_HZ``.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from thermal.protect.shake import Missed, Vector
from thermal.sysfs.files import Files, read_word

FOLDER: Final = "/sys/bus/iio/devices"
PREFIX: Final = "iio:device"  # triggers lie in the same folder
STANDARD_G: Final = 9.80665  # m/s^2, the standard acceleration of gravity (CGPM 1901)
AXES: Final = ("x", "y", "z")
MOST_HZ: Final = 400.0


class Accelerometer:
    """Reads g. Never raises: a sample that cannot be had is :class:`Missed`."""

    def __init__(self, files: Files, name: str) -> None:
        self.name = name
        self.folder = ""
        self.rate = ""  # what was done about the sampling frequency
        self._files = files

    def read(self) -> Vector | Missed:
        """One sample of the three axes, one after the other."""
        if not self.folder or read_word(self._files, f"{self.folder}/name") != self.name:
            self._find()
        if not self.folder:
            return Missed(f"there is no IIO device {self.name!r} below {FOLDER}")
        found: list[float] = []
        for axis in AXES:
            try:
                found.append(self._axis(axis))
            except OSError as error:
                return Missed(f"axis {axis}: {os.strerror(error.errno or errno.EIO)}")
            except ValueError as error:
                return Missed(f"axis {axis}: {error}")
        return found[0], found[1], found[2]

    def _axis(self, axis: str) -> float:
        raw = self._number(f"in_accel_{axis}_raw")
        offset = self._either(axis, "offset", 0.0)
        scale = self._either(axis, "scale", None)
        if scale <= 0.0:
            raise ValueError(f"a scale of {scale:g}")
        return (raw + offset) * scale / STANDARD_G

    def _either(self, axis: str, what: str, absent: float | None) -> float:
        """An attribute of the axis, or of all axes; ``absent`` where the driver has neither."""
        for name in (f"in_accel_{axis}_{what}", f"in_accel_{what}"):
            try:
                return self._number(name)
            except FileNotFoundError:
                continue
        if absent is None:
            raise ValueError(f"no in_accel_{what}")
        return absent

    def _number(self, name: str) -> float:
        text = self._files.read(f"{self.folder}/{name}")
        try:
            return float(text)
        except ValueError as error:
            raise ValueError(f"{name} is no number") from error

    def _find(self) -> None:
        self.folder = ""
        for entry in (name for name in self._files.names(FOLDER) if name.startswith(PREFIX)):
            folder = f"{FOLDER}/{entry}"
            if read_word(self._files, f"{folder}/name") == self.name:
                self.folder = folder
                self._quicken()
                return

    def _quicken(self) -> None:
        """Set the highest rate up to ``MOST_HZ``; a driver that has no such file, or refuses, is used as it is."""
        offered = read_word(self._files, f"{self.folder}/sampling_frequency_available")
        rates = sorted(filter(None, map(_rate, (offered or "").split())))
        wanted = max((rate for rate in rates if rate <= MOST_HZ), default=rates[0] if rates else None)
        if wanted is None:
            self.rate = "the driver's own"
            return
        try:
            self._files.write(f"{self.folder}/sampling_frequency", f"{wanted:g}\n")
        except OSError as error:
            self.rate = f"the driver's own; {wanted:g} Hz refused: {error.strerror}"
        else:
            self.rate = f"{wanted:g} Hz"


def _rate(word: str) -> float | None:
    try:
        rate = float(word)
    except ValueError:
        return None
    return rate if 0.0 < rate < 1e6 else None
