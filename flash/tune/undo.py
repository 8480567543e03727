"""The undo file: what stood there before the first change of this boot, and what the kernel refused.

It is on disk, synced, before anything is changed. A value that is in it is never overwritten: it is the original. It
counts for one boot only, for a boot sets everything back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from flash.tune.facts import Kind
from flash.tune.rings import interface_of
from touchline.alone import alone
from touchline.errors import InputError

FOLDER: Final = "/var/lib/touchline-tune"
_NAME: Final = "undo.json"
_VERSION: Final = 1
_KINDS: Final = ("cpus", "number")


@dataclass(frozen=True, slots=True)
class Entry:
    """One changed setting: where, and the text that stood there."""

    path: str
    kind: Kind
    original: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A value that the kernel did not take, and its reason."""

    want: str
    why: str


@dataclass(frozen=True, slots=True)
class Undo:
    """The file's content."""

    boot_id: str
    entries: Mapping[str, Entry] = field(default_factory=dict)
    refused: Mapping[str, Refusal] = field(default_factory=dict)

    def with_originals(self, fresh: Mapping[str, Entry]) -> Undo:
        """Add entries; one that is known already stays as it is."""
        return Undo(self.boot_id, {**fresh, **self.entries}, self.refused)


def parse_undo(text: str, name: str) -> Undo:
    """Read the file's text. Raises InputError with the way out for anything but what :func:`render` writes."""
    hint = f"look at {name}, then remove it; a reboot sets everything back"
    try:
        document = json.loads(text)
        if document["version"] != _VERSION:
            raise InputError(f"{name} is of version {document['version']}, this program writes {_VERSION}", hint=hint)
        entries = {str(key): _entry(value) for key, value in document["entries"].items()}
        refused = {str(key): Refusal(_line(one["want"]), _line(one["why"])) for key, one in document["refused"].items()}
        return Undo(_line(document["boot_id"]), entries, refused)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{name} is damaged: {type(error).__name__} {error}", hint=hint) from error


def _line(value: Any) -> str:
    if not isinstance(value, str) or "\n" in value:
        raise ValueError(f"{value!r} is no line of text")
    return value


def _entry(value: Any) -> Entry:
    path, kind = _line(value["path"]), value["kind"]
    file = path.startswith(("/proc/", "/sys/")) and ".." not in path.split("/")
    if kind not in _KINDS or not (file or interface_of(path)):
        raise ValueError(f"{path!r} ({kind}) is no setting of the kernel")
    return Entry(path, kind, _line(value["original"]))


def render(undo: Undo) -> str:
    """The file's text."""
    document = {"version": _VERSION, **asdict(undo)}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True)
class UndoFile:
    """The file in its folder; ``root`` as in :class:`~flash.tune.tree.Tree`."""

    root: Path = Path("/")

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.root / FOLDER.lstrip("/") / _NAME

    def load(self, boot_id: str) -> Undo:
        """What counts for this boot: empty when there is no file, or one of an earlier boot."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return Undo(boot_id)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.path} is damaged: no text", hint="remove it; a reboot sets everything back"
            ) from error
        undo = parse_undo(text, str(self.path))
        return undo if undo.boot_id == boot_id else Undo(boot_id)

    def save(self, undo: Undo) -> None:
        """Write it so that after a power cut there is the old or the new one; with nothing in it, it goes."""
        if not undo.entries and not undo.refused:
            self.path.unlink(missing_ok=True)
            _sync_folder(self.path.parent)
            return
        fresh = self.path.with_name(f".{_NAME}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(render(undo))
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self.path)
        _sync_folder(self.path.parent)

    def alone(self) -> AbstractContextManager[None]:
        """Hold the folder: one run at a time. Raises ResourceError when another is at work, or for want of rights."""
        return alone(self.path.parent, "another touchline node tune is at work")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
