"""The package files at hand: which are whole, which are missing. A file is hashed once, then known by size and time."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hil.virtual.image.packages import Package
from hil.virtual.image.recipe import file_sha256
from touchline.errors import LinkError

_KNOWN: Final = "hashed.json"


class Archives:
    """A folder of ``.deb`` files; asked by the threads of one build."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._lock = threading.Lock()
        self._known = self._load()

    def path(self, package: Package) -> Path:
        """Where a package's file lies, or would."""
        return self.folder / package.file

    def missing(self, packages: Iterable[Package]) -> list[Package]:
        """Those whose file is not there, or is not what the signed list says."""
        with self._lock:
            found = [one for one in packages if not self._whole(one)]
            self._save()
        return found

    def require(self, packages: Iterable[Package]) -> None:
        """Raise LinkError naming the first file that is not at hand."""
        if missing := self.missing(packages):
            raise LinkError(
                f"{len(missing)} package files are not at hand, the first is {missing[0].file}",
                hint=f"build once where the mirror can be reached; they are kept in {self.folder}",
            )

    def tidy(self, kept: Iterable[Package]) -> None:
        """Delete the files of other packages."""
        names = {one.file for one in kept}
        for file in self.folder.glob("*.deb"):
            if file.name not in names:
                file.unlink()

    def _whole(self, package: Package) -> bool:
        file = self.path(package)
        try:
            state = file.stat()
        except FileNotFoundError:
            return False
        if state.st_size != package.size_bytes:
            return False
        mark = [state.st_size, state.st_mtime_ns]
        known = self._known.get(file.name)
        if known is None or known[:2] != mark:
            known = self._known[file.name] = [*mark, file_sha256(file)]
        return bool(known[2] == package.sha256)

    def _load(self) -> dict[str, list[int | str]]:
        try:
            known = json.loads((self.folder / _KNOWN).read_text())
        except (OSError, ValueError):  # none yet, or cut off: everything is hashed again
            return {}
        return known if isinstance(known, dict) and all(len(one) == 3 for one in known.values()) else {}

    def _save(self) -> None:
        if self.folder.is_dir():
            part = self.folder / f".{_KNOWN}.part"
            part.write_text(json.dumps(self._known))
            part.replace(self.folder / _KNOWN)
