"""A finished image: four files and the manifest that says what they are."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hil.virtual.image.recipe import SCHEMA, file_sha256
from hil.virtual.image.steps import discard
from touchline.errors import InputError, ResourceError

MANIFEST: Final = "manifest.json"
FILES: Final = ("vmlinuz", "initrd.gz", "orin.dtb", "root.img")
_BUILD: Final = "touchline hil virtual build"


@dataclass(frozen=True, slots=True)
class Image:
    """A folder that holds the kernel, the initrd, the device tree and the root file system (read only)."""

    folder: Path
    image_id: str
    kernel_release: str
    touchline_release: str
    created_utc: str

    @property
    def kernel(self) -> Path:
        """The bootable kernel."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initial RAM disk."""
        return self.folder / "initrd.gz"

    @property
    def dtb(self) -> Path:
        """The device tree."""
        return self.folder / "orin.dtb"

    @property
    def root_img(self) -> Path:
        """The root file system, base of every node's overlay."""
        return self.folder / "root.img"

    @property
    def size_bytes(self) -> int:
        """Disk that it takes; the root file system is sparse."""
        return sum(file.stat().st_blocks * 512 for file in self.folder.iterdir())


def default_cache() -> Path:
    """Where images are kept: ``$XDG_CACHE_HOME/touchline/virtual``, else below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "touchline" / "virtual"


def images_folder(cache: Path) -> Path:
    """Where the images of a cache lie."""
    return cache / "images"


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Describe the files of a folder; written last, so that a folder with a manifest is whole."""
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)} for name in FILES}
    text = json.dumps({"schema": SCHEMA, **facts, "files": files}, indent=1)
    (folder / MANIFEST).write_text(text)


def load_image(cache: Path | None = None, image_id: str | None = None, *, verify: bool = True) -> Image:
    """The newest image of a cache, or the one named; ``verify`` compares every byte with the manifest (about 1 s).

    Raises:
        ResourceError: there is none.
        InputError: a file differs from the manifest, or the manifest is none of ours.
    """
    folder = images_folder(cache or default_cache())
    found = [path for path in _newest_first(folder) if image_id in (None, path.name)]
    if not found:
        which = "virtual node image" if image_id is None else f"image {image_id}"
        raise ResourceError(f"there is no {which} in {folder}", hint=_BUILD)
    return _read(found[0], verify)


def _newest_first(folder: Path) -> list[Path]:
    whole = [path for path in folder.glob(f"*/{MANIFEST}") if not path.parent.name.startswith(".")]
    return [path.parent for path in sorted(whole, key=lambda path: path.stat().st_mtime_ns, reverse=True)]


def _read(folder: Path, verify: bool) -> Image:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["schema"] != SCHEMA:
            raise InputError(f"image {folder.name} is of another version of Touchline", hint=_BUILD)
        files = {name: (manifest["files"][name]["bytes"], manifest["files"][name]["sha256"]) for name in FILES}
        names = ("image_id", "kernel_release", "touchline_release", "created_utc")
        image = Image(folder, **{name: str(manifest[name]) for name in names})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / MANIFEST} is corrupt: {error!r}", hint=f"{_BUILD} --force") from error
    for name, (size, sha256) in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size or (verify and file_sha256(path) != sha256):
            raise InputError(f"image {folder.name}: {name} is not what was built", hint=f"{_BUILD} --force")
    return image


def remember(image: Image) -> None:
    """Make this image the newest, which others take when they name none."""
    (image.folder / MANIFEST).touch()


def sweep_images(cache: Path) -> None:
    """Delete what an interrupted build left half made or half deleted."""
    folder = images_folder(cache)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.startswith("."):
            discard(path)


def drop_old(cache: Path, keep: int) -> list[str]:
    """Delete all but the newest ``keep`` images (at least one), and what an interrupted build left; their names."""
    folder = images_folder(cache)
    kept = _newest_first(folder)[: max(keep, 1)]
    old = sorted(path for path in folder.iterdir() if path not in kept) if folder.is_dir() else []
    for path in old:
        discard(path)
    return [path.name for path in old]
