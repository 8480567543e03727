"""Devices by what they say they are, never by number. Looked at anew in each sample, found anew when they moved.

Numbers of hwmon devices and zones move between boots and when a driver is bound again. What was ``hwmon3`` may be
another device now, with a ``pwm1`` of its own: so a folder's label is read before each use.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from thermal.sysfs.files import Files, read_word
from thermal.sysfs.table import HWMON_FOLDER, THERMAL_FOLDER, ZONES, Row


@dataclass(slots=True)
class Finder:
    """Folders of hwmon devices and thermal zones. Remembers where they were and believes it only while they are."""

    files: Files
    _known: dict[str, list[str]] = field(default_factory=dict)
    _listed: list[str] = field(default_factory=list)

    def zones(self) -> dict[str, str]:
        """Folder by canonical name, of those that are there now; of two of a type the one with the lower number."""
        return self._zones(ZONES)

    def zone(self, row: Row) -> str | None:
        """Folder of one zone."""
        return self._zones((row,)).get(row.ours)

    def hwmon(self, row: Row) -> str | None:
        """Folder of a hwmon device; None where there is none of that name."""
        return next(iter(self.hwmons(row)), None)

    def hwmons(self, row: Row) -> list[str]:
        """Folders of all hwmon devices of a name."""
        listed = self._folders(HWMON_FOLDER, "hwmon")
        if listed != self._listed:  # one came or went
            self._known.clear()
            self._listed = listed
        known = self._known.get(row.ours)
        if not known or not all(self._says(f"{folder}/name", row) for folder in known):
            known = [folder for folder in listed if self._says(f"{folder}/name", row)]
            self._known[row.ours] = known
        return known

    def _zones(self, rows: tuple[Row, ...]) -> dict[str, str]:
        found: dict[str, str] = {}
        for folder in self._folders(THERMAL_FOLDER, "thermal_zone"):
            kind = read_word(self.files, f"{folder}/type")
            ours = next((row.ours for row in rows if kind is not None and kind.lower() in row.names), None)
            if ours is not None:
                found.setdefault(ours, folder)
        return found

    def _folders(self, folder: str, prefix: str) -> list[str]:
        return [f"{folder}/{name}" for name in self.files.names(folder) if name.startswith(prefix)]

    def _says(self, path: str, row: Row) -> bool:
        word = read_word(self.files, path)
        return word is not None and word.lower() in row.names
